"""Spans and histograms by OpenTelemetry's SDK. Imported only in processes with an endpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable
from os import environ
from threading import Thread, local
from time import monotonic
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from app.domain.trace_context import TraceContext
from app.domain.version import VERSION
from app.telemetry import names
from app.telemetry.chunk_times import ChunkTimes, ExporterWithChunks
from app.telemetry.interface import Counts, ProcessKind, TelemetryOptions
from app.telemetry.names import HISTOGRAMS
from app.telemetry.span_queue import Failures, SpanQueue
from app.telemetry.spans import NO_SPAN, NOTHING, Attributes, Span, SpanStart

# The longest wait for a collector at the end of a process, in seconds.
CLOSE_SECONDS = 1.0
SCOPE = "unbroken"

_KINDS = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
}


class OpenTelemetry:
    """See app.telemetry.interface.Telemetry."""

    is_on = True

    def __init__(self, options: TelemetryOptions, kind: ProcessKind, counts: Counts) -> None:
        # An empty variable counts as absent, as the specification says; the SDK would complain about some.
        for name in [name for name, value in environ.items() if name.startswith("OTEL_") and not value]:
            del environ[name]
        # Its lines quote headers.
        logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)
        self.captures_content = options.captures_content
        resource = _resource(options, kind)
        self._ids = _Ids()
        self._queue = _span_queue(options, counts)
        self._tracer: trace.Tracer | None = None
        if self._queue is not None:
            provider = TracerProvider(
                sampler=_sampler(options), resource=resource, id_generator=self._ids, shutdown_on_exit=False
            )
            provider.add_span_processor(self._queue)
            self._tracer = provider.get_tracer(SCOPE, VERSION)
        self._chunks = ChunkTimes()
        self._meters = _meters(options, resource, self._chunks)
        self._histograms = _histograms(self._meters) if self._meters else {}

    def span(self, start: SpanStart) -> Span:
        """See Telemetry."""
        if self._tracer is None:
            return NO_SPAN
        with self._ids.given(start.ids):
            return _Span(
                self._tracer.start_span(
                    start.name,
                    context=trace.set_span_in_context(NonRecordingSpan(_context(start.parent)))
                    if start.parent
                    else trace.set_span_in_context(trace.INVALID_SPAN),
                    kind=_KINDS[start.kind],
                    attributes=start.attributes,
                    links=[Link(_context(link)) for link in start.links],
                    start_time=start.at,
                    record_exception=False,
                    set_status_on_exception=False,
                )
            )

    def record(self, histogram: str, value: float, attributes: Attributes) -> None:
        """See Telemetry."""
        if found := self._histograms.get(histogram):
            found.record(value, attributes)

    def chunk_recorder(self, attributes: Attributes) -> Callable[[float], None] | None:
        """See Telemetry."""
        return self._chunks.recorder(attributes) if self._meters is not None else None

    def close(self) -> None:
        """See Telemetry."""
        until = monotonic() + CLOSE_SECONDS
        if self._meters is not None:
            # The SDK waits for the collector here, whatever the bound that it is given.
            ending = Thread(target=self._meters.shutdown, name="last-metrics", daemon=True)
            ending.start()
        if self._queue is not None:
            self._queue.close(max(0.0, until - monotonic()))
        if self._meters is not None:
            ending.join(max(0.0, until - monotonic()))


class _Span:
    """See app.telemetry.spans.Span."""

    __slots__ = ("_span", "context")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        own = span.get_span_context()
        state = own.trace_state.to_header() or None
        self.context: TraceContext | None = TraceContext(
            trace.format_trace_id(own.trace_id), trace.format_span_id(own.span_id), int(own.trace_flags), state
        )

    @property
    def is_recording(self) -> bool:
        return self._span.is_recording()

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def event(self, name: str, attributes: Attributes = NOTHING, at: int | None = None) -> None:
        self._span.add_event(name, attributes, at)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute(names.ERROR_TYPE, error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self, at: int | None = None) -> None:
        self._span.end(at)


class _Ids(RandomIdGenerator):
    """Random ids, unless the thread has ids for the span that it begins."""

    def __init__(self) -> None:
        self._of_thread = local()

    def given(self, ids: tuple[str, str] | None) -> _Given:
        """A block in which a span has these ids."""
        return _Given(self._of_thread, ids)

    def generate_span_id(self) -> int:
        ids = getattr(self._of_thread, "ids", None)
        return int(ids[1], 16) if ids else super().generate_span_id()

    def generate_trace_id(self) -> int:
        ids = getattr(self._of_thread, "ids", None)
        return int(ids[0], 16) if ids else super().generate_trace_id()


class _Given:
    __slots__ = ("_ids", "_of_thread")

    def __init__(self, of_thread: local, ids: tuple[str, str] | None) -> None:
        self._of_thread = of_thread
        self._ids = ids

    def __enter__(self) -> None:
        self._of_thread.ids = self._ids

    def __exit__(self, *_: Any) -> None:
        self._of_thread.ids = None


def _context(given: TraceContext) -> SpanContext:
    state = TraceState.from_header([given.state]) if given.state else None
    return SpanContext(
        int(given.trace_id, 16), int(given.span_id, 16), is_remote=True, trace_flags=TraceFlags(given.flags),
        trace_state=state,
    )  # fmt: skip


def _resource(options: TelemetryOptions, kind: ProcessKind) -> Resource:
    """The process. Its own attributes count, except where the operator names the same ones."""
    ours = {names.SERVICE_NAME: SCOPE, names.SERVICE_VERSION: VERSION, names.PROCESS_KIND: kind}
    # All processes share the environment; an instance is one process.
    own = {names.SERVICE_INSTANCE_ID: str(uuid4())}
    if options.service_name is not None:
        own[names.SERVICE_NAME] = options.service_name
    given = dict(_pair(part) for part in options.resource_attributes.split(",") if "=" in part)
    return Resource.create({**ours, **given, **own})


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), unquote(value.strip())


def _sampler(options: TelemetryOptions) -> sampling.Sampler:
    ratio = sampling.TraceIdRatioBased(options.sampler_argument)
    found: dict[str, sampling.Sampler] = {
        "always_on": sampling.ALWAYS_ON,
        "always_off": sampling.ALWAYS_OFF,
        "traceidratio": ratio,
        "parentbased_always_on": sampling.ParentBased(sampling.ALWAYS_ON),
        "parentbased_always_off": sampling.ParentBased(sampling.ALWAYS_OFF),
        "parentbased_traceidratio": sampling.ParentBased(ratio),
    }
    return found[options.sampler]


def _span_queue(options: TelemetryOptions, counts: Counts) -> SpanQueue | None:
    if options.traces is None:
        return None
    Failures.take_over("opentelemetry.exporter.otlp.proto.http.trace_exporter", "traces")
    return SpanQueue(OTLPSpanExporter(endpoint=options.traces, headers=options.headers), counts)


def _meters(options: TelemetryOptions, resource: Resource, chunks: ChunkTimes) -> MeterProvider | None:
    if options.metrics is None:
        return None
    Failures.take_over("opentelemetry.exporter.otlp.proto.http.metric_exporter", "metrics")
    exporter = ExporterWithChunks(chunks, endpoint=options.metrics, headers=dict(options.headers))
    return MeterProvider([PeriodicExportingMetricReader(exporter)], resource=resource, shutdown_on_exit=False)


def _histograms(meters: MeterProvider) -> dict[str, Histogram]:
    meter = meters.get_meter(SCOPE, VERSION)
    return {
        name: meter.create_histogram(
            name, form.unit, form.description, explicit_bucket_boundaries_advisory=list(form.bounds)
        )
        for name, form in HISTOGRAMS.items()
        if name != names.CLIENT_CHUNK
    }
