"""Status codes and error objects of an upstream as ProviderError. Pure.

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

from app.domain.answer_errors import AnswerError
from worker.providers.base import ProviderError

MAX_MESSAGE_CHARS = 300

# The same set the OpenAI SDKs retry; every 5xx belongs to it too.
RETRYABLE_STATUSES = frozenset({408, 409, 425, 429})

_CODES: dict[int, AnswerError] = {
    401: "upstream_unauthorized",
    403: "upstream_unauthorized",
    408: "upstream_timeout",
    429: "upstream_rate_limited",
    504: "upstream_timeout",
}
_KEY_SHAPES = re.compile(
    r"\b(?:sk|gsk|xai)[-_][\w*.\-]{4,}|\b(?:pk|rk|key)[-_](?=[\w*.\-]*[\d*])[\w*.\-]{4,}|\bBearer\s+\S+",
    re.IGNORECASE,
)
# Below the first length a secret is taken for an ordinary word, below the second for one only as a word of its own.
_SHORT_SECRET = 8
_LONG_SECRET = 20
_ANNOUNCEMENT = (
    r"\b(?:key|token|bearer|basic|password|credentials?|secret|authorization)\b[^\w\n]{0,4}"
    r"(?:(?:provided|given|is|was)\b[^\w\n]{0,4})?"
)
_EVENT = re.compile(rb"\A\s*(?:event:[^\r\n]*\r?\n)?data:\s*(\{[^\r\n]*)")
_EMPTY_ACCOUNT = frozenset({"insufficient_quota", "billing_error"})
# As much of an upstream's words is looked at.
_READ_CHARS = 10_000
_CONTEXT_LENGTH = re.compile(
    r"context[ _](?:length|window|size|limit)|maximum context|too many (?:input )?tokens|prompt is too long"
    r"|exceeds the maximum number of tokens",
    re.IGNORECASE,
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
        # The upstream's text may quote a part of the key.
        return _error(status, {}, f"The upstream refused our credentials ({status} {phrase}).", headers, charged=False)
    error = _error_object(body)
    detail = _text_of(error)
    if not error and "html" not in content_type.lower():
        detail = body[:2000].decode("utf-8", "replace")
    summary = f"The upstream answered {status} {phrase}".rstrip()
    detail = tidy(detail, secrets)
    return _error(status, error, f"{summary}: {detail}" if detail else f"{summary}.", headers, charged=False)


def from_event(error: object, *, secrets: Iterable[str] = ()) -> ProviderError:
    """An error reported inside a stream: an object, or plain text."""
    fields = error if isinstance(error, dict) else {"message": written(error)}
    detail = tidy(_text_of(fields), secrets)
    status = _status_in(fields)
    message = f"The upstream reported an error: {detail}" if detail else "The upstream reported an error."
    if status in (401, 403):
        message = "The upstream refused our credentials."
    # An upstream that failed in the middle has read the prompt. One that refuses it has not.
    failure = _error(status, fields, message, {}, charged=status is None or status >= 500)
    failure.is_inside = True
    return failure


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


def retry_delay(error: Mapping[str, Any]) -> float | None:
    """Seconds to wait that an error object asks for: Google's RetryInfo, or a field ``retry_after``."""
    details = error.get("details")
    entries = details if isinstance(details, list) else []
    delays = [entry.get("retryDelay") for entry in entries if isinstance(entry, dict)]
    for value in (*delays, error.get("retry_after")):
        text = value.removesuffix("s") if isinstance(value, str) else value
        if isinstance(text, (str, int, float)) and not isinstance(text, bool):
            seconds = _number(str(text))
            if seconds is not None:
                return seconds
    return None


def tidy(text: str, secrets: Iterable[str] = ()) -> str:
    """One short printable line without credentials."""
    cut = text[:_READ_CHARS]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        if len(cut) < len(text):
            cut = _without_beginning_of(secret, cut)
        cut = _places_of(secret).sub(r"\g<before>***", cut)
    text = _KEY_SHAPES.sub("***", cut)
    text = " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def _places_of(secret: str) -> re.Pattern[str]:
    """A pattern for the quotations of a secret in a text.

    Many servers need no key and are given "none", "x" or "ollama". A secret that could be an ordinary word is one only
    behind a word that announces it; a longer one with digits in it is one as a word of its own; a long one anywhere.
    """
    quoted = re.escape(secret)
    if len(secret) >= _LONG_SECRET:
        return re.compile(f"(?P<before>){quoted}")
    before = "" if len(secret) >= _SHORT_SECRET and any(c.isdigit() for c in secret) else _ANNOUNCEMENT
    return re.compile(rf"(?P<before>{before})(?<!\w){quoted}(?!\w)", re.IGNORECASE if before else 0)


def _without_beginning_of(secret: str, text: str) -> str:
    """The text without its end, where that is the beginning of a secret that was cut there."""
    for size in range(min(len(secret) - 1, len(text)), 0, -1):
        if text.endswith(secret[:size]):
            return text[:-size]
    return text


def _error(
    status: int | None, fields: dict[str, Any], message: str, headers: Mapping[str, str], *, charged: bool
) -> ProviderError:
    code, retryable = _judge(status, fields)
    return ProviderError(
        code,
        message,
        retryable=retryable,
        retry_after=delay if (delay := retry_after(headers)) is not None else retry_delay(fields),
        upstream_status=status or None,
        charged=charged,
    )


def _judge(status: int | None, fields: dict[str, Any]) -> tuple[AnswerError, bool]:
    kinds = {written(fields.get("code")), written(fields.get("type"))}
    if not _EMPTY_ACCOUNT.isdisjoint(kinds):
        # Comes as a 429 or 402, but waiting does not fill an account.
        return "upstream_quota", False
    if _is_wrong_key(fields.get("details")):
        return "upstream_unauthorized", False
    if "context_length_exceeded" in kinds or (
        status in (None, 400, 413, 422, 500) and _CONTEXT_LENGTH.search(_text_of(fields)[:_READ_CHARS])
    ):
        return "context_length", False
    if status is None:
        return "upstream_error", "invalid_request_error" not in kinds
    retryable = status in RETRYABLE_STATUSES or status >= 500
    fallback: AnswerError = "upstream_unavailable" if status >= 500 else "upstream_rejected"
    return _CODES.get(status, fallback), retryable


def _is_wrong_key(details: object) -> bool:
    """True for Google's refusal of a key, whose status is 400."""
    reasons = [entry.get("reason") for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
    return "API_KEY_INVALID" in reasons


def _error_object(body: bytes) -> dict[str, Any]:
    event = _EVENT.search(body)  # some refuse in the form of the stream that was asked for
    try:
        parsed = orjson.loads(event[1] if event else body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(parsed, list) and parsed:  # Google wraps it in a list
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return {"message": written(parsed)}
    error = parsed.get("error", parsed)
    return error if isinstance(error, dict) else {"message": written(error)}


def _text_of(fields: dict[str, Any]) -> str:
    for name in ("message", "detail", "msg", "error"):
        value = fields.get(name)
        if value:
            return written(value)
    return ""


def written(value: object) -> str:
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
