"""Requests for streams, counted by their outcome: success of connections and of reconnections with a cursor."""

from __future__ import annotations

from flask import Response, g, request

from app.ops.metrics import STREAM_CONNECTS
from app.relay.event_stream import EventStream

# The parameters of a query that name a position, and the values that name the start.
_POSITIONS = ("after", "from_seq", "starting_after")
_START = ("", "0", "0-0")
_STREAM_PATHS = ("/stream", "/events", "/feed")


def count(response: Response) -> None:
    """Count the current request if it asked for a stream. Only a refusal has to be told apart from other requests."""
    is_stream = isinstance(response.response, EventStream)
    if not is_stream and not _asks_for_stream():
        return
    if outcome := _outcome(is_stream, g.get("turned_away") or response.status_code):
        STREAM_CONNECTS.labels("cursor" if _has_position() else "start", outcome).inc()


def count_opened(*positions: str | None) -> None:
    """Count a stream that was opened with these positions in its request."""
    STREAM_CONNECTS.labels("cursor" if any(map(_names_position, positions)) else "start", "opened").inc()


def _outcome(is_stream: bool, status: int) -> str | None:
    """The outcome; None for a response that is no stream and no refusal, such as a JSON object.

    ``status`` is the one that an EventSource would have got instead of a 200 with the time of its next attempt.
    """
    if is_stream:
        return "opened"
    if status == 204:
        return "complete"
    if status < 400:
        return None
    return "refused" if status < 500 else "failed"


def _asks_for_stream() -> bool:
    if request.method not in ("GET", "POST"):
        return False
    rule = request.url_rule
    return rule is not None and (
        (request.method == "GET" and rule.rule.endswith(_STREAM_PATHS))
        or "text/event-stream" in request.headers.get("Accept", "")
        or request.args.get("stream") == "true"
    )


def _has_position() -> bool:
    named = (request.headers.get("Last-Event-ID"), *map(request.args.get, _POSITIONS))
    return any(map(_names_position, named))


def _names_position(value: str | None) -> bool:
    return value is not None and value not in _START
