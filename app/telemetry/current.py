"""The telemetry of this process. It is chosen once, after the fork; without an endpoint it does nothing.

OpenTelemetry is imported by ``start``, and only where an endpoint is set: it takes memory and time.
"""

from __future__ import annotations

import atexit
import sys

import structlog

from app.telemetry.interface import Counts, ProcessKind, Telemetry, TelemetryOptions
from app.telemetry.spans import NO_SPAN, Attributes, Span, SpanStart


class _Off:
    """Does nothing."""

    __slots__ = ()
    is_on = captures_content = False

    def span(self, start: SpanStart) -> Span:
        """See Telemetry."""
        return NO_SPAN

    def record(self, histogram: str, value: float, attributes: Attributes) -> None:
        """See Telemetry."""

    def chunk_recorder(self, attributes: Attributes) -> None:
        """See Telemetry."""

    def close(self) -> None:
        """See Telemetry."""


_log = structlog.get_logger()

OFF: Telemetry = _Off()
_current: Telemetry = OFF


def current() -> Telemetry:
    """The telemetry of this process."""
    return _current


def start(options: TelemetryOptions | None, kind: ProcessKind, counts: Counts) -> None:
    """Begin to record, after the fork; nothing without ``options``. ``stop`` is called at the exit of the process."""
    global _current
    # redis-py is imported by now. A tool of an operator may import OpenTelemetry itself.
    allow_import()
    if options is None or _current.is_on:
        return
    try:
        from app.telemetry.sdk import OpenTelemetry

        _current = OpenTelemetry(options, kind, counts)
    except Exception as error:
        # The SDK reads variables of its own, and refuses some values. The service goes on without it.
        _log.error("telemetry is off", action="telemetry", error=type(error).__name__, detail=str(error)[:300])
        return
    atexit.register(stop)


def allow_import() -> None:
    """Let OpenTelemetry be imported. The first import of this application forbids it, see there."""
    if sys.modules.get("opentelemetry", sys) is None:
        del sys.modules["opentelemetry"]


def stop() -> None:
    """Send what waits, within a bound, and record nothing more. Safe to repeat."""
    global _current
    ended, _current = _current, OFF
    ended.close()
