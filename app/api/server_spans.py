"""The span of a request: from its arrival until its response is ready. A stream has a span of its own."""

from __future__ import annotations

from flask import Response, g, request

from app.domain.trace_context import TraceContext
from app.telemetry import names
from app.telemetry.current import current
from app.telemetry.spans import NO_SPAN, Span, SpanStart, Value

# The page's files and the probes have no spans.
_TRACED = ("/api/", "/v1/")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def begin(parent: TraceContext | None, request_id: str) -> TraceContext | None:
    """Begin the span of the current request, a child of ``parent``. Returns the context for its children."""
    telemetry = current()
    if not telemetry.is_on or not request.path.startswith(_TRACED):
        return parent
    method = request.method if request.method in _METHODS else "_OTHER"
    attributes: dict[str, Value] = {
        names.HTTP_METHOD: method,
        names.URL_SCHEME: request.scheme,
        names.REQUEST_ID: request_id,
    }
    if request.url_rule is not None:
        # The pattern of the path: the path itself may name a user, or hold a secret.
        attributes[names.HTTP_ROUTE] = request.url_rule.rule
    name = f"{method} {request.url_rule.rule}" if request.url_rule is not None else method
    span = telemetry.span(SpanStart(name, "server", parent, attributes))
    g.server_span = span
    return span.context or parent


def end(response: Response) -> None:
    """End the span of the current request, if it has one."""
    span: Span = g.get("server_span", NO_SPAN)
    if not span.is_recording:
        return
    span.set({names.HTTP_STATUS: response.status_code})
    generation_id = g.get("generation_id") or (request.view_args or {}).get("generation_id")
    if generation_id is not None and response.status_code < 400:
        # A client may write anything into the path of a request that is refused.
        span.set({names.GENERATION_ID: generation_id})
    if response.status_code >= 500:
        span.fail(str(response.status_code))
    span.end()
