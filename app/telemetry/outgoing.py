"""The ``traceparent`` of the requests that a task sends to upstreams. Free of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from app.domain.trace_context import TraceContext

_parent: ContextVar[str | None] = ContextVar("traceparent", default=None)


@contextmanager
def carried(context: TraceContext | None) -> Iterator[None]:
    """Requests of this task inside the block belong to this trace; to none where it is None."""
    token = _parent.set(context.parent if context else None)
    try:
        yield
    finally:
        _parent.reset(token)


def traceparent() -> str | None:
    """The header for a request that is sent now; None without a trace.

    The header ``tracestate`` is never sent: it has entries of the client's own systems.
    """
    return _parent.get()
