"""The histogram of the times between chunks. A measurement of the SDK takes 9 µs, which every token would pay.

Here one takes less than 1 µs. The exporter adds the histogram to those of the SDK.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from time import time_ns
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
)

from app.telemetry.names import CLIENT_CHUNK, HISTOGRAMS
from app.telemetry.spans import Attributes

# Combinations of attributes; further ones are not counted.
MOST_SERIES = 1000


def _nothing(seconds: float) -> None:
    """A combination too many."""


class _Series:
    """The times with one combination of attributes. Written by one thread, read by another."""

    __slots__ = ("attributes", "counts", "highest", "lowest", "total")

    def __init__(self, attributes: Attributes, bounds: int) -> None:
        self.attributes = dict(attributes)
        self.counts = [0] * (bounds + 1)
        self.total = 0.0
        self.lowest = float("inf")
        self.highest = 0.0


class ChunkTimes:
    """Counts the times between chunks in the buckets of the conventions."""

    def __init__(self) -> None:
        self._form = HISTOGRAMS[CLIENT_CHUNK]
        self._series: dict[frozenset[tuple[str, Any]], _Series] = {}
        self._began = time_ns()

    def recorder(self, attributes: Attributes) -> Callable[[float], None]:
        """A function that adds a time in seconds, measured with these attributes."""
        key = frozenset(attributes.items())
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MOST_SERIES:
                return _nothing
            series = self._series.setdefault(key, _Series(attributes, len(self._form.bounds)))
        bounds, counts = self._form.bounds, series.counts

        def add(seconds: float) -> None:
            counts[bisect_left(bounds, seconds)] += 1
            series.total += seconds
            if seconds < series.lowest:
                series.lowest = seconds
            if seconds > series.highest:
                series.highest = seconds

        return add

    def metric(self) -> Metric | None:
        """The histogram since the start of the process; None without a time."""
        points = [self._point(series) for series in list(self._series.values())]
        points = [point for point in points if point.count]
        if not points:
            return None
        form = self._form
        return Metric(CLIENT_CHUNK, form.description, form.unit, Histogram(points, AggregationTemporality.CUMULATIVE))

    def _point(self, series: _Series) -> HistogramDataPoint:
        counts = list(series.counts)
        return HistogramDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=self._began,
            time_unix_nano=time_ns(),
            count=sum(counts),
            sum=series.total,
            bucket_counts=counts,
            explicit_bounds=self._form.bounds,
            min=series.lowest,
            max=series.highest,
        )


class ExporterWithChunks(OTLPMetricExporter):
    """Adds the times between chunks to each export. The SDK has measured something by then: the first chunk."""

    def __init__(self, times: ChunkTimes, **options: Any) -> None:
        super().__init__(**options)
        self._times = times

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **more: Any
    ) -> MetricExportResult:
        """See OTLPMetricExporter."""
        metric = self._times.metric()
        if metric is not None and metrics_data.resource_metrics:
            [first, *others] = metrics_data.resource_metrics
            [scope, *scopes] = first.scope_metrics
            scope = replace(scope, metrics=[*scope.metrics, metric])
            metrics_data = replace(
                metrics_data, resource_metrics=[replace(first, scope_metrics=[scope, *scopes]), *others]
            )
        return super().export(metrics_data, timeout_millis, **more)
