"""What an upstream's refusals mean: status codes and error objects → ProviderError. Pure.

The texts may reach a user's screen: they are short, plain, and never carry a credential.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import orjson

from worker.providers.base import ProviderError

MAX_MESSAGE_CHARS = 300

# The same set the OpenAI SDKs retry; every 5xx belongs to it too.
RETRYABLE_STATUSES = frozenset({408, 409, 425, 429})

_CODES = {
    401: "upstream_unauthorized",
    403: "upstream_unauthorized",
    408: "upstream_timeout",
    429: "upstream_rate_limited",
    504: "upstream_timeout",
}
_KEY_SHAPES = re.compile(r"\b(?:sk|pk|rk|gsk|key|xai)[-_][\w*.\-]{4,}|\bBearer\s+\S+", re.IGNORECASE)
_CONTEXT_LENGTH = re.compile(
    r"context[ _](?:length|window|size)|maximum context|too many (?:input )?tokens|prompt is too long", re.IGNORECASE
)


def from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, content_type: str = "", secrets: Iterable[str] = ()
) -> ProviderError:
    """A non-200 answer, with as much of its body as was worth reading."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    if status in (401, 403):
        # Its own words may quote a part of the key.
        return _error(status, {}, f"The upstream refused our credentials ({status} {phrase}).", headers)
    error = _error_object(body)
    detail = _text_of(error)
    if not error and "html" not in content_type.lower():
        detail = body[:2000].decode("utf-8", "replace")
    summary = f"The upstream answered {status} {phrase}".rstrip()
    detail = tidy(detail, secrets)
    return _error(status, error, f"{summary}: {detail}" if detail else f"{summary}.", headers)


def from_event(error: object, *, secrets: Iterable[str] = ()) -> ProviderError:
    """An error reported inside a stream: an object, or plain text."""
    fields = error if isinstance(error, dict) else {"message": _written(error)}
    detail = tidy(_text_of(fields), secrets)
    status = _status_in(fields)
    message = f"The upstream reported an error: {detail}" if detail else "The upstream reported an error."
    if status in (401, 403):
        message = "The upstream refused our credentials."
    return _error(status, fields, message, {})


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait, never negative; from ``retry-after-ms`` or ``retry-after`` (seconds or an HTTP date).

    ``headers`` are found by their names in lower case.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def tidy(text: str, secrets: Iterable[str] = ()) -> str:
    """One short printable line without credentials."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _KEY_SHAPES.sub("***", text)
    text = " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def _error(status: int | None, fields: dict[str, Any], message: str, headers: Mapping[str, str]) -> ProviderError:
    code, retryable = _judge(status, fields)
    return ProviderError(
        code, message, retryable=retryable, retry_after=retry_after(headers), upstream_status=status or None
    )


def _judge(status: int | None, fields: dict[str, Any]) -> tuple[str, bool]:
    kinds = {_written(fields.get("code")), _written(fields.get("type"))}
    if "insufficient_quota" in kinds:
        # Comes as a 429, but waiting does not fill an account.
        return "upstream_quota", False
    if "context_length_exceeded" in kinds or (
        status in (None, 400, 413, 422, 500) and _CONTEXT_LENGTH.search(_text_of(fields))
    ):
        return "context_length", False
    if status is None:
        return "upstream_error", "invalid_request_error" not in kinds
    retryable = status in RETRYABLE_STATUSES or status >= 500
    fallback = "upstream_unavailable" if status >= 500 else "upstream_rejected"
    return _CODES.get(status, fallback), retryable


def _error_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(parsed, list) and parsed:  # Google wraps it in a list
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return {"message": _written(parsed)}
    error = parsed.get("error", parsed)
    return error if isinstance(error, dict) else {"message": _written(error)}


def _text_of(fields: dict[str, Any]) -> str:
    for name in ("message", "detail", "msg", "error"):
        value = fields.get(name)
        if value:
            return _written(value)
    return ""


def _written(value: object) -> str:
    """Text as it is, anything else as JSON; nothing where that cannot be: too deep, or half a character in it."""
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def _status_in(fields: dict[str, Any]) -> int | None:
    for name in ("code", "status", "status_code"):
        value = fields.get(name)
        if isinstance(value, str) and value.isdecimal() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if number >= 0 and math.isfinite(number) else None
