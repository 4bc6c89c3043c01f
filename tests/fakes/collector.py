"""A collector of OpenTelemetry: takes spans and metrics over HTTP, decodes them, and keeps them for a test."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from app.telemetry.current import allow_import

allow_import()

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402


@dataclass(frozen=True)
class Received:
    """A span as it arrived. Ids are hex digits; ``parent`` is empty for a root."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    state: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    resource: dict[str, Any]
    is_error: bool
    begin: int
    end: int

    @property
    def event_names(self) -> list[str]:
        return [name for name, _ in self.events]


@dataclass
class Collector:
    """``mode``: it takes everything, refuses everything with 503, or never answers.

    A request that it has begun not to answer gets no reply in a later mode either.
    """

    mode: Literal["take", "refuse", "freeze"] = "take"
    spans: list[Received] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    requests: int = 0

    def __enter__(self) -> Collector:
        collector, self._thaw = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector._receive(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._thaw.set()
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str, **attributes: Any) -> list[Received]:
        """The spans with this name and these attributes (dots as underscores), oldest first."""
        found = [span for span in list(self.spans) if span.name == name and _has(span, attributes)]
        return sorted(found, key=lambda span: span.begin)

    def one(self, name: str, **attributes: Any) -> Received | None:
        return next(iter(self.named(name, **attributes)), None)

    def of_trace(self, trace_id: str) -> list[Received]:
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def _receive(self, request: BaseHTTPRequestHandler) -> None:
        mode = self.mode
        self.requests += 1
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if mode == "freeze":
            self._thaw.wait()
            return
        if mode == "take":
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            self.bodies.append(body)
            self._keep(request.path, body)
        request.send_response(200 if mode == "take" else 503)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _keep(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _attributes(group.resource.attributes)
                for scope in group.scope_spans:
                    self.spans += [_received(span, resource) for span in scope.spans]
        elif path == "/v1/metrics":
            for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in group.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in scope.metrics}


def _received(span: Any, resource: dict[str, Any]) -> Received:
    return Received(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes=_attributes(span.attributes),
        events=tuple((event.name, _attributes(event.attributes)) for event in span.events),
        resource=resource,
        is_error=span.status.code == 2,
        begin=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def _has(span: Received, attributes: dict[str, Any]) -> bool:
    found = {name.replace(".", "_"): value for name, value in span.attributes.items()}
    return all(found.get(name) == value for name, value in attributes.items())
