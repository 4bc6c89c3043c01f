"""The errors of the client. Each one is an UnbrokenError."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

_PASSING = (408, 425, 429)


class UnbrokenError(Exception):
    """A request has failed. ``is_passing``: a repeat may succeed."""

    is_passing = False


class ConnectionLost(UnbrokenError):
    """There was no response, or it broke, fell silent or ended too early."""

    is_passing = True


class TooLarge(UnbrokenError):
    """A response or an event is larger than the client reads."""


class FieldError(NamedTuple):
    """An invalid field of a request."""

    field: str
    detail: str


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _field_errors(found: object) -> list[FieldError]:
    each = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [FieldError(_text(one.get("field")) or "", _text(one.get("detail")) or "") for one in each]


class Problem(UnbrokenError):
    """A refusal of the service (RFC 9457).

    ``type`` is a path such as ``/problems/not-found``, ``limit`` the variable of a limit that was reached,
    ``retry_after`` the seconds of Retry-After. Fields that it lacks, or that a proxy fills with another kind of value,
    are empty or None; ``body`` has all of it.
    """

    def __init__(self, status: int, body: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after
        self.type = str(body.get("type") or "about:blank")
        self.title = str(body.get("title") or "")
        self.detail = str(body.get("detail") or "")
        self.limit = _text(body.get("limit"))
        self.request_id = _text(body.get("request_id"))
        self.errors = _field_errors(body.get("errors"))
        self.is_passing = status in _PASSING or status >= 500
        super().__init__(f"{status}: {self.detail or self.title or 'no reason given'}")


class Invalid(Problem):
    """The request or one of its fields is invalid: 400, 413, 415, 422."""


class Unauthenticated(Problem):
    """The credential is missing, invalid or has ended: 401."""


class Forbidden(Problem):
    """The credential does not allow this: 403."""


class NotFound(Problem):
    """The object does not exist, or belongs to another user: 404, 410."""


class Conflict(Problem):
    """The conversation is busy, or the object has another state: 409."""


class LimitReached(Problem):
    """A limit or a budget is reached: 429."""


class Unavailable(Problem):
    """The service or one of its stores does not work now: 500 and above."""


_KINDS: dict[int, type[Problem]] = {
    **dict.fromkeys((400, 413, 415, 422), Invalid),
    401: Unauthenticated,
    403: Forbidden,
    **dict.fromkeys((404, 410), NotFound),
    409: Conflict,
    429: LimitReached,
}


def problem_of(status: int, headers: Mapping[str, str], content: bytes | bytearray) -> Problem:
    """The problem of a response that is no success. A proxy's page has no fields."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    kind = _KINDS.get(status, Unavailable if status >= 500 else Problem)
    return kind(status, body if isinstance(body, dict) else {}, _seconds(headers.get("Retry-After")))


def _seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After header, which has a number or a date (RFC 9110)."""
    if retry_after is None:
        return None
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
