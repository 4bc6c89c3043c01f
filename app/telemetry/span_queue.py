"""Ended spans on their way to the collector. A collector that is away or frozen costs spans and nothing else."""

from __future__ import annotations

import logging
from collections import deque
from os import environ
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.telemetry.interface import Counts

# Spans that wait, and spans of one request, unless OTEL_BSP_MAX_QUEUE_SIZE and OTEL_BSP_MAX_EXPORT_BATCH_SIZE differ.
MOST_WAITING = 2048
MOST_OF_A_BATCH = 512
# Milliseconds that a span waits for others, unless OTEL_BSP_SCHEDULE_DELAY differs. What a killed process has not sent
# is lost, hence less than the five seconds of the specification.
DELAY_MS = 1000
# Seconds between two log lines about one signal that the collector does not take.
REPEAT_SECONDS = 300.0

_log = structlog.get_logger()


class SpanQueue(SpanProcessor):
    """Keeps ended spans in a bounded queue, which a thread of its own sends. ``on_end`` never waits."""

    def __init__(self, exporter: SpanExporter, counts: Counts) -> None:
        self._exporter = exporter
        self._counts = counts
        self._most = _positive("OTEL_BSP_MAX_QUEUE_SIZE", MOST_WAITING)
        self._batch = min(self._most, _positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MOST_OF_A_BATCH))
        self._delay = _positive("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS) / 1000
        self._waiting: deque[ReadableSpan] = deque()
        self._taking = Lock()
        self._wake = Event()
        self._closing = False
        self._thread = Thread(target=self._work, name="spans", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """See SpanProcessor."""

    def on_end(self, span: ReadableSpan) -> None:
        """See SpanProcessor."""
        if self._closing or len(self._waiting) >= self._most:
            self._counts.dropped(1, "queue_full")
            return
        self._waiting.append(span)
        if len(self._waiting) >= self._batch and not self._wake.is_set():
            self._wake.set()

    def close(self, seconds: float) -> None:
        """Send what waits, for so long at most. The rest is dropped.

        A thread of its own sends: the other one may wait for the reply to an earlier request, which never comes.
        """
        until = monotonic() + seconds
        self._closing = True
        self._wake.set()
        last = Thread(target=self._send, name="last-spans", daemon=True)
        last.start()
        for thread in (last, self._thread):
            thread.join(max(0.0, until - monotonic()))
        while left := self._take():
            self._counts.dropped(len(left), "not_exported")

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait(self._delay)
            self._wake.clear()
            self._send()
        self._send()

    def _send(self) -> None:
        while batch := self._take():
            try:
                taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
            except Exception as error:
                _log.error("spans not exported", action="telemetry", error=type(error).__name__)
                taken = False
            if taken:
                self._counts.exported(len(batch))
            else:
                self._counts.dropped(len(batch), "not_exported")

    def _take(self) -> list[ReadableSpan]:
        """The spans of the next request; none when nothing waits."""
        with self._taking:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch))]


class Failures(logging.Handler):
    """Turns the log lines of an exporter into few of ours, without addresses, bodies and headers."""

    def __init__(self, signal: str) -> None:
        super().__init__(logging.ERROR)
        self._signal = signal
        self._next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Log the kind of a failure, once in REPEAT_SECONDS."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + REPEAT_SECONDS
        reasons = [_reason(value) for value in (record.args if isinstance(record.args, tuple) else ())[1:]]
        _log.warning(
            "collector takes no telemetry",
            action="telemetry",
            signal=self._signal,
            reason=next(filter(None, reasons), "timeout"),
            setting="OTEL_EXPORTER_OTLP_ENDPOINT",
        )

    @classmethod
    def take_over(cls, logger: str, signal: str) -> None:
        """Have the lines of a logger of the SDK handled so."""
        found = logging.getLogger(logger)
        found.propagate = False
        found.setLevel(logging.ERROR)
        found.handlers[:] = [cls(signal)]


def _reason(value: Any) -> str | None:
    """A status or the name of an exception. The text of one may name the address."""
    if isinstance(value, Exception):
        return type(value).__name__
    return f"status {value}" if isinstance(value, int) else None


def _positive(name: str, default: int) -> int:
    """The number of a variable; the default for anything that is no positive integer."""
    given = environ.get(name, "")
    return int(given) if given.isdecimal() and int(given) > 0 else default
