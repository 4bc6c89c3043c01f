"""The variables ``UPSTREAM_<NAME>_*`` of the upstreams that UPSTREAMS names, and addresses of servers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.domain.models import BUILT_IN_PROVIDERS
from app.domain.upstreams import OPENAI, Upstream, UpstreamKind

Continuation = Literal["prefill", "vllm", "instruction", "none"]

MOST_UPSTREAMS = 32
PREFIX = "upstream_"
# An upstream without UPSTREAM_<NAME>_CONTINUATION.
CONTINUATION: Continuation = "instruction"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# The service sets these itself.
_OWN_HEADERS = re.compile(
    "accept|accept-encoding|connection|content-encoding|content-length|content-type|expect|host|keep-alive|te|trailer"
    "|transfer-encoding|upgrade",
    re.IGNORECASE,
)


def _json(value: Any) -> Any:
    try:
        return orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        raise ValueError('it has to be a JSON object of strings, as {"X-Name": "value"}') from None


class UpstreamSettings(BaseModel):
    """The variables of one upstream; only workers read them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: UpstreamKind = "openai"
    base_url: str = Field(repr=False, pattern=r"^https?://")
    api_key: SecretStr | None = None
    headers: Annotated[dict[str, SecretStr], BeforeValidator(_json)] = Field(default_factory=dict)
    token_limit_name: Literal["max_tokens", "max_completion_tokens"] | None = None
    include_usage: bool = True
    continuation: Continuation = CONTINUATION
    background: bool = False
    traceparent: bool = True

    @field_validator("base_url")
    @classmethod
    def _some_server(cls, url: str) -> str:
        return some_server(url)

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not _printable(key.get_secret_value()):
            raise ValueError("a key has printable ASCII characters only")
        return key

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError("a header's name has no spaces and no colon")
            if _OWN_HEADERS.fullmatch(name):
                raise ValueError(f"the header {name} is set by the service itself")
            if not _printable(value.get_secret_value()):
                raise ValueError(f"the header {name} has to have a value of printable ASCII characters")
        return headers

    # The fields behind `kind` are compared with it; one that is not valid is named alone.
    @field_validator("continuation")
    @classmethod
    def _of_the_kind(cls, continuation: Continuation, info: ValidationInfo) -> Continuation:
        kind = info.data.get("kind", "openai")
        if continuation == "vllm" and kind != "openai":
            raise ValueError(f"an upstream of the kind {kind} has prefill, instruction and none")
        return continuation

    @field_validator("background")
    @classmethod
    def _has_runs(cls, background: bool, info: ValidationInfo) -> bool:
        if background and info.data.get("kind", "openai") not in ("openai", "gemini"):
            raise ValueError("only an upstream of the kind openai or gemini has a background mode")
        return background

    def upstream(self, name: str) -> Upstream:
        """The upstream with these variables."""
        return Upstream(
            name=name,
            kind=self.kind,
            base_url=self.base_url,
            api_key=self.api_key.get_secret_value() if self.api_key else None,
            headers={header: value.get_secret_value() for header, value in self.headers.items()},
            token_limit_name=self.token_limit_name,
            include_usage=self.include_usage,
            continuation=self.continuation,
            background=self.background,
            traceparent=self.traceparent,
        )


def check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of upstreams. Raises ValueError for names that cannot be used, or that share their variables."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError("a name has up to 40 of a-z, 0-9, _ and -, and begins with a letter")
        if name in BUILT_IN_PROVIDERS:
            raise ValueError(f"{name} is the name of a built-in provider")
    if len({variable(name, "") for name in names}) < len(names):
        raise ValueError("two of the names have the same variables")
    if len(names) > MOST_UPSTREAMS:
        raise ValueError(f"there are more than {MOST_UPSTREAMS} names")
    return names


def with_openai(names: Sequence[str], has_openai: bool) -> tuple[str, ...]:
    """The names in their order; the upstream of OPENAI_BASE_URL comes first, unless UPSTREAMS gives it a place."""
    return (OPENAI, *names) if has_openai and OPENAI not in names else tuple(names)


def variable(name: str, field: str) -> str:
    """The variable of a field, as the environment spells it."""
    return f"{PREFIX}{name.replace('-', '_')}_{field}".upper()


def is_of_worker_alone(name: str) -> bool:
    """True for a variable that no web process is given: it may hold a secret."""
    return name == "OPENAI_API_KEY" or name.lower().startswith(PREFIX)


def read(
    names: Iterable[str], variables: Mapping[str, str], short: Mapping[str, str] | None
) -> dict[str, UpstreamSettings]:
    """The settings of the upstreams ``names``, from variables in capitals.

    ``short`` are the fields that OPENAI_BASE_URL and its neighbours set; None when one of those cannot be used. Raises
    ValidationError with one error for each variable.
    """
    found: dict[str, UpstreamSettings] = {}
    errors: list[InitErrorDetails] = []
    for name in names:
        if name == OPENAI and short is None:
            continue
        given = {f: variables[v] for f in UpstreamSettings.model_fields if variables.get(v := variable(name, f))}
        twice = given.keys() & short.keys() if name == OPENAI and short else ()
        errors += [_error(variable(name, f), f"OPENAI_{f.upper()} is set too") for f in sorted(twice)]
        try:
            found[name] = UpstreamSettings.model_validate(given | dict(short or {}) if name == OPENAI else given)
        except ValidationError as error:
            own = {f: f"OPENAI_{f.upper()}" for f in short or ()} if name == OPENAI else {}
            places = [(str(e["loc"][0]), e["msg"]) for e in error.errors()]
            errors += [_error(own.get(f, variable(name, f)), reason) for f, reason in places]
    errors += _unread(names, variables)
    if errors:
        raise ValidationError.from_exception_data("upstreams", errors)
    return found


def some_server(url: str) -> str:
    """An address with a host and a valid port. Raises ValueError, without the address: it may hold a secret."""
    try:
        parts = urlsplit(url)
        leads_somewhere = parts.port != 0 and bool(parts.hostname or parts.path.strip("/"))
    except ValueError:
        leads_somewhere = False
    if not leads_somewhere:
        raise ValueError("it has no host or no valid port; special characters in a password have to be percent-encoded")
    return url


def without_secrets(url: str) -> str:
    """An address without user, password, query and fragment. Raises ValueError for one that cannot be read."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _unread(names: Iterable[str], variables: Mapping[str, str]) -> list[InitErrorDetails]:
    """An error for each variable that looks like an upstream's and is none."""
    fields = tuple(f"_{field}".upper() for field in UpstreamSettings.model_fields)
    known = {variable(name, field) for name in names for field in UpstreamSettings.model_fields}
    errors = []
    for unread in sorted(name for name, value in variables.items() if value and name not in known):
        if any(unread.startswith(variable(name, "")) for name in names):
            errors.append(_error(unread, f"an upstream has no such variable; there are {', '.join(fields)}"))
        elif unread.endswith(fields):
            errors.append(_error(unread, "UPSTREAMS has no such name"))
    return errors


def _error(name: str, reason: str) -> InitErrorDetails:
    return InitErrorDetails(
        type=PydanticCustomError("upstream", "{reason}", {"reason": reason}), loc=(name,), input=None
    )


def _printable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()
