"""Spans of OpenTelemetry as Prometheus metrics: `unbroken_spans_…`."""

from __future__ import annotations

from typing import Literal

from prometheus_client import Counter

EXPORTED = Counter("unbroken_spans_exported", "Spans that a collector has taken")
DROPPED = Counter(
    "unbroken_spans_dropped",
    "Spans that are lost: the queue was full, or the collector did not take them",
    ["reason"],
)


class SpanCounts:
    """See app.telemetry.interface.Counts."""

    def exported(self, spans: int) -> None:
        """A collector has taken this many spans."""
        EXPORTED.inc(spans)

    def dropped(self, spans: int, reason: Literal["queue_full", "not_exported"]) -> None:
        """This many spans are lost."""
        DROPPED.labels(reason).inc(spans)
