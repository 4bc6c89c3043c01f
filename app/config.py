"""Settings: read once from the environment, immutable, with one error for all variables that cannot be used."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from app import upstream_settings
from app.attachment_settings import AttachmentSettings
from app.credential_settings import CredentialSettings
from app.domain.breaker import BreakerRules
from app.domain.upstreams import Upstream
from app.file_settings import FileSettings
from app.own_data_settings import OwnDataSettings
from app.rate_limit_settings import BudgetSettings, RateLimitSettings
from app.setting_errors import complaints
from app.sign_in_settings import SignInSettings
from app.telemetry_settings import TelemetrySettings
from app.upstream_settings import CONTINUATION, Continuation, UpstreamSettings, some_server, without_secrets
from app.webhook_settings import WebhookSettings

# Other characters have a meaning of their own where origins are compared.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]+(:[0-9]{1,5})?")

InterruptionPolicy = Literal["continue", "restart", "error"]


def _words(value: Any) -> Any:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


class InvalidSettings(Exception):
    """Some variables cannot be used; the message has a line for each."""


class Settings(
    CredentialSettings,
    SignInSettings,
    OwnDataSettings,
    WebhookSettings,
    TelemetrySettings,
    FileSettings,
    AttachmentSettings,
    BudgetSettings,
    RateLimitSettings,
):
    """Every variable of the service. Times are in seconds unless the name has another unit."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    # Stores. Both addresses are required; `make run` starts servers of its own and sets them.
    database_url: str = Field(pattern=r"^postgresql(\+psycopg2)?://")
    redis_url: str = Field(pattern=r"^(rediss?|unix)://")
    celery_broker_url: str | None = Field(None, pattern=r"^[a-z][a-z0-9+]*://")
    broker_queue_type: Literal["classic", "quorum"] = "classic"
    redis_namespace: str = Field("unbroken", pattern=r"^[A-Za-z0-9_.-]{1,40}$")
    database_logins: Literal["separate", "one"] = "separate"
    database_pool: int = Field(10, ge=1, le=500)
    database_timeout_seconds: float = Field(3, ge=1, le=60)

    # Models.
    openai_base_url: str | None = Field(None, pattern=r"^https?://")
    openai_continuation: Continuation = CONTINUATION
    upstreams: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    default_model: str | None = None
    titles: Literal["model", "words", "nobody"] = "model"

    # The life of a generation.
    worker_concurrency: int = Field(200, ge=1, le=5000)
    lease_seconds: float = Field(30, gt=0)
    heartbeat_seconds: float = Field(5, gt=0, validate_default=True)
    sweep_seconds: float = Field(2, gt=0)
    tick_ms: float = Field(20, ge=1, le=1000)
    checkpoint_events: int = Field(25, ge=1)
    checkpoint_seconds: float = Field(0.5, gt=0)
    strict_durability: bool = False
    keepalive_seconds: float = Field(15, gt=0)
    first_token_timeout: float = Field(120, gt=0)
    token_timeout: float = Field(60, gt=0)
    generation_timeout: float = Field(1800, gt=0)
    max_attempts: int = Field(5, ge=1, le=100)
    breaker_failures: int = Field(3, ge=1, le=1000)
    breaker_window_seconds: float = Field(60, ge=0.1, le=86_400)
    breaker_seconds: float = Field(30, ge=0.1, le=3600)
    on_interruption: Annotated[tuple[InterruptionPolicy, ...], NoDecode, BeforeValidator(_words)] = (
        "continue",
        "restart",
        "error",
    )

    # Limits.
    max_streams_per_user: int = Field(10, ge=1)
    max_streams: int = Field(10_000, ge=1)
    max_queued: int = Field(1000, ge=1)
    max_queued_per_user: int = Field(100, ge=1)
    max_running_per_user: int | None = Field(None, ge=1)
    max_message_chars: int = Field(10_000, ge=1)
    max_body_bytes: int = Field(1_048_576, ge=1024)
    max_answer_chars: int = Field(4_000_000, ge=1, le=100_000_000)
    max_tool_calls: int = Field(128, ge=1, le=1000)
    max_tool_argument_chars: int = Field(1_000_000, ge=1, le=100_000_000)
    max_tool_call_id_chars: int = Field(16_384, ge=1)
    max_upstream_name_chars: int = Field(256, ge=16)
    max_upstream_event_bytes: int = Field(1_048_576, ge=1024)
    max_upstream_header_bytes: int = Field(65_536, ge=1024)
    generation_buffer_bytes: int = Field(4_194_304, ge=65_536)
    worker_buffer_bytes: int = Field(16_777_216, ge=1_048_576)
    max_model_list_bytes: int = Field(4_000_000, ge=1024)
    max_json_values: int = Field(100_000, ge=1000)
    max_schema_bytes: int = Field(65_536, ge=1024)
    max_schema_depth: int = Field(50, ge=5, le=50)
    max_schema_values: int = Field(5000, ge=100)
    max_schema_patterns: int = Field(100, ge=0)
    max_schema_steps: int = Field(500_000, ge=10_000, le=10_000_000)
    max_prompt_chars: int = Field(400_000, ge=1)
    max_import_bytes: int = Field(33_554_432, ge=1024)
    max_import_values: int = Field(250_000, ge=1000)
    max_import_messages: int = Field(10_000, ge=1)
    max_import_tool_calls: int = Field(1000, ge=0)
    max_import_items: int = Field(10_000, ge=0)
    max_import_message_bytes: int = Field(12_582_912, ge=1024)
    max_imports_at_once: int = Field(1, ge=1)
    max_connections: int = Field(2000, ge=10)
    max_header_bytes: int = Field(65_536, ge=20_000, le=1_048_576)
    request_header_seconds: float = Field(15, gt=0)
    request_body_seconds: float = Field(30, gt=0)
    response_stall_seconds: float = Field(60, gt=0)
    max_unsent_bytes: int = Field(1_073_741_824, ge=1_048_576)
    redis_seconds_per_request: float = Field(0.5, gt=0)

    # Clients of other protocols.
    pass_unknown_parameters: bool = True
    chat_completions_on_disconnect: Literal["stop", "finish"] = "stop"

    # Operating.
    worker_lost_seconds: float = Field(4, ge=1)
    worker_gap_seconds: float = Field(10, ge=0)
    audit_days: float = Field(400, ge=1)
    ops_series_days: int = Field(7, ge=1, le=366)
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    trusted_proxies: int = Field(0, ge=0, le=10)
    worker_metrics_port: int | None = Field(None, ge=1, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises InvalidSettings with a line for each variable that cannot be used."""
        try:
            return cls()  # type: ignore[call-arg]  # required fields come from the environment
        except ValidationError as error:
            raise InvalidSettings("\n".join(complaints(error))) from None

    @field_validator("database_url", "redis_url", "openai_base_url")
    @classmethod
    def _some_server(cls, url: str | None) -> str | None:
        return None if url is None else some_server(url)

    @field_validator("broker_queue_type")
    @classmethod
    def _of_rabbitmq(cls, kind: str, info: ValidationInfo) -> str:
        if kind == "quorum" and not (info.data.get("celery_broker_url") or "").startswith(("amqp", "pyamqp")):
            raise ValueError("quorum needs RabbitMQ: CELERY_BROKER_URL=amqp://…")
        return kind

    @field_validator("upstreams")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return upstream_settings.check_names(names)

    @field_validator("openai_base_url")
    @classmethod
    def _credentials(cls, url: str | None) -> str | None:
        """The address without what may be a secret in it: only a worker calls the upstream."""
        return None if url is None else without_secrets(url)

    @field_validator("database_url")
    @classmethod
    def _name_the_driver(cls, url: str) -> str:
        # SQLAlchemy 2.1 reads a plain postgresql:// as psycopg 3.
        return url.replace("postgresql://", "postgresql+psycopg2://", 1)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if any(origin != "*" and not _ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("an origin is scheme://host or scheme://host:port, without a path; or *, for all")
        return origins

    # Two variables that must agree are compared in the validator of the second one: a validator of the whole model runs
    # only when every variable is valid, and its error would appear one start later.
    @field_validator("heartbeat_seconds")
    @classmethod
    def _lease_outlives_two(cls, seconds: float, info: ValidationInfo) -> float:
        if seconds * 2 >= info.data.get("lease_seconds", float("inf")):
            raise ValueError("must be less than half of LEASE_SECONDS")
        return seconds

    @property
    def upstream_names(self) -> tuple[str, ...]:
        """The upstreams in their order: of two that list a model, the first one answers."""
        return upstream_settings.with_openai(self.upstreams, self.openai_base_url is not None)

    @property
    def breaker_rules(self) -> BreakerRules:
        """The rules of a target's breaker: the failures that open it, and the seconds for which it stays open."""
        return BreakerRules(self.breaker_failures, self.breaker_window_seconds, self.breaker_seconds)

    @property
    def broker_url(self) -> str:
        """The address of Celery's broker."""
        return self.celery_broker_url or self.redis_url

    @property
    def worker_beat_seconds(self) -> float:
        """Seconds between two renewals of a worker's row: one may be late and one lost before the worker is lost.

        A worker reads an operator's request to drain with each renewal, so there is one each second at least.
        """
        return min(1.0, self.worker_lost_seconds / 4)

    @property
    def self_fence_seconds(self) -> float:
        """Seconds since the last proven lease for which events are still emitted."""
        return self.lease_seconds * 5 / 6


class WorkerSettings(Settings):
    """The variables of a worker: it verifies no tokens, and it alone has the keys of the upstreams."""

    openai_api_key: SecretStr | None = None
    # Filled from the variables UPSTREAM_<NAME>_*.
    upstream_settings: dict[str, UpstreamSettings] = Field(default_factory=dict, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        given = {**os.environ, **data}
        prefix = upstream_settings.PREFIX
        variables = {name.upper(): value for name, value in given.items() if name.lower().startswith(prefix)}
        return {**data, "upstream_settings": variables}

    @field_validator("upstream_settings", mode="before")
    @classmethod
    def _of_upstreams(cls, variables: dict[str, str], info: ValidationInfo) -> dict[str, UpstreamSettings]:
        if "upstreams" not in info.data:
            return {}
        short: dict[str, Any] | None = None
        if {"openai_base_url", "openai_api_key", "openai_continuation"} <= info.data.keys():
            url, key, continuation = (info.data[f"openai_{name}"] for name in ("base_url", "api_key", "continuation"))
            short = {"base_url": url, "api_key": key} if url else {}
            short |= {"continuation": continuation} if continuation != CONTINUATION else {}
            short = {name: value for name, value in short.items() if value}
        names = upstream_settings.with_openai(info.data["upstreams"], bool(info.data.get("openai_base_url")))
        return upstream_settings.read(names, variables, short)

    @field_validator("openai_base_url")
    @classmethod
    def _credentials(cls, url: str | None) -> str | None:
        """The address as it is given: a user and a password in it are sent to the upstream."""
        return url

    @field_validator("jwt_jwks_url")
    @classmethod
    def _some_way_to_check_tokens(cls, url: str | None, info: ValidationInfo) -> str | None:
        return url

    @field_validator("oidc_client_secret")
    @classmethod
    def _complete(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """None: web processes alone sign people in."""
        return None

    @property
    def configured_upstreams(self) -> tuple[Upstream, ...]:
        """The upstreams in their order, with their keys."""
        return tuple(self.upstream_settings[name].upstream(name) for name in self.upstream_names)
