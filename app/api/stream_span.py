"""The span of a stream: from the request that opened it until its connection is closed, with the reason."""

from __future__ import annotations

from time import time_ns

from flask import g

from app.domain.trace_context import TraceContext
from app.relay.stream_connection import Closed
from app.telemetry import names
from app.telemetry.current import current
from app.telemetry.spans import SpanStart, Value

# Ends after which nothing is missing, or that the client or the operator has chosen.
_FAILURES = frozenset({"failed", "stalled"})


class StreamSpan:
    """The beginning of a stream's span. The span is made at its end, in a thread that may wait: the hub only counts."""

    __slots__ = ("_began", "_parent", "_request_id", "_subject")

    def __init__(self, parent: TraceContext | None, request_id: str, subject: str) -> None:
        self._parent = parent
        self._request_id = request_id
        self._subject = subject
        self._began = time_ns()

    @classmethod
    def begin(cls, subject: str) -> StreamSpan | None:
        """The span of the stream that the current request opens; None without telemetry.

        ``subject``: the field that names what is followed, such as ``generation_id``.
        """
        return cls(g.trace, g.request_id, subject) if current().is_on else None

    def end(self, closed: Closed) -> None:
        """Make the span, with an event for the opening, for the first event and for the end."""
        attributes: dict[str, Value] = {
            names.REQUEST_ID: self._request_id,
            names.STREAM_EVENTS: closed.events,
            names.STREAM_BYTES: closed.bytes,
            names.REASON: closed.reason,
        }
        if self._subject == "generation_id":
            attributes[names.GENERATION_ID] = closed.generation_id
        name = "stream generation" if self._subject == "generation_id" else "stream feed"
        start = SpanStart(name, "internal", self._parent, attributes, at=self._began)
        span, ended = current().span(start), time_ns()
        span.event("open", at=self._began)
        if closed.first_event is not None:
            span.event("first event", at=self._began + int(closed.first_event * 1e9))
        span.event("close", {names.REASON: closed.reason}, at=ended)
        if closed.reason in _FAILURES:
            span.fail(closed.reason)
        span.end(ended)
