"""Settings: parsed once from the environment, frozen, complaining about every bad variable at once."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# Only these signs: everything else has a meaning of its own where origins are compared.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]+(:[0-9]{1,5})?")

InterruptionPolicy = Literal["continue", "restart", "error"]


def _words(value: Any) -> Any:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


class InvalidSettings(Exception):
    """Some variables cannot be used; the message has a line for each."""


class Settings(BaseSettings):
    """Every variable of the service. Times are seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    # Stores. Both addresses are required; `make run` starts servers of its own and sets them.
    database_url: str = Field(pattern=r"^postgresql(\+psycopg2)?://")
    redis_url: str = Field(pattern=r"^(rediss?|unix)://")
    celery_broker_url: str | None = Field(None, pattern=r"^[a-z][a-z0-9+]*://")
    redis_namespace: str = Field("unbroken", pattern=r"^[A-Za-z0-9_.-]{1,40}$")
    database_pool: int = Field(10, ge=1, le=500)

    # Models.
    openai_base_url: str | None = Field(None, pattern=r"^https?://")
    openai_api_key: SecretStr | None = None
    openai_continuation: Literal["prefill", "vllm", "instruction", "none"] = "instruction"
    default_model: str | None = None

    # Identity.
    jwt_secret: SecretStr | None = None
    jwt_secret_previous: SecretStr | None = None
    jwt_jwks_url: str | None = Field(None, pattern=r"^https?://", validate_default=True)
    jwt_audience: str = "unbroken"
    jwt_issuer: str = "unbroken"

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
    on_interruption: Annotated[tuple[InterruptionPolicy, ...], NoDecode, BeforeValidator(_words)] = (
        "continue",
        "restart",
        "error",
    )

    # Limits.
    max_streams_per_user: int = Field(10, ge=1)
    max_streams: int = Field(10_000, ge=1)
    max_queued: int = Field(1000, ge=1)
    max_message_chars: int = Field(10_000, ge=1)
    max_body_bytes: int = Field(1_048_576, ge=1024)
    ratelimit_new_conversations: str = "10/minute"
    ratelimit_generations: str = "60/minute"
    ratelimit_reads: str = "600/minute"
    token_quota_per_day: int | None = Field(None, ge=1)

    # Operating.
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    trusted_proxies: int = Field(0, ge=0, le=10)
    worker_metrics_port: int | None = Field(None, ge=1, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def load(cls) -> Settings:
        """Read the environment. Raises InvalidSettings with a line for each variable that cannot be used."""
        try:
            return cls()  # type: ignore[call-arg]  # required fields come from the environment
        except ValidationError as error:
            raise InvalidSettings("\n".join(_complaints(error))) from None

    @field_validator("database_url", "redis_url", "openai_base_url", "jwt_jwks_url")
    @classmethod
    def _some_server(cls, url: str | None) -> str | None:
        if url is not None and not _leads_somewhere(url):
            raise ValueError("no host, or no port, can be read in it; signs in a password have to be percent-encoded")
        return url

    @field_validator("database_url")
    @classmethod
    def _name_the_driver(cls, url: str) -> str:
        # SQLAlchemy 2.1 reads a plain postgresql:// as psycopg 3.
        return url.replace("postgresql://", "postgresql+psycopg2://", 1)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level

    @field_validator("jwt_secret", "jwt_secret_previous")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < 32:
            raise ValueError("a signing secret needs at least 32 bytes")
        return secret

    @field_validator("ratelimit_new_conversations", "ratelimit_generations", "ratelimit_reads")
    @classmethod
    def _readable_limit(cls, limit: str) -> str:
        from limits import parse_many

        parse_many(limit)
        return limit

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if any(origin != "*" and not _ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("an origin is scheme://host or scheme://host:port, without a path; or *, for all")
        return origins

    # Two variables that must agree are compared at the second of them: a validator of the whole is only asked when
    # every single one is good, and would be heard one start later.
    @field_validator("jwt_jwks_url")
    @classmethod
    def _some_way_to_check_tokens(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None and info.data.get("jwt_secret", "") is None:
            raise ValueError("one of JWT_SECRET and JWT_JWKS_URL is needed")
        return url

    @field_validator("heartbeat_seconds")
    @classmethod
    def _lease_outlives_two(cls, seconds: float, info: ValidationInfo) -> float:
        if seconds * 2 >= info.data.get("lease_seconds", float("inf")):
            raise ValueError("must be less than half of LEASE_SECONDS")
        return seconds

    @property
    def broker_url(self) -> str:
        """Where Celery's messages go."""
        return self.celery_broker_url or self.redis_url

    @property
    def self_fence_seconds(self) -> float:
        """How old the last proven lease may be while events are still emitted."""
        return self.lease_seconds * 5 / 6


def _leads_somewhere(url: str) -> bool:
    """Whether an address has a host and a port that can be one. What is wrong is not said: it may be a secret."""
    try:
        parts = urlsplit(url)
        return parts.port != 0 and bool(parts.hostname or parts.path.strip("/"))
    except ValueError:
        return False


def _complaints(error: ValidationError) -> list[str]:
    """A line for each problem; never the value, which may be a secret."""
    return [f"{'_'.join(map(str, e['loc'][:1])).upper() or 'settings'}: {e['msg']}" for e in error.errors()]
