"""Each request's id, its log line and its metrics."""

from __future__ import annotations

import re
import time
from urllib.parse import quote

import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars
from uuid_utils import uuid7

from app import logs
from app.api import server_spans, stream_connects
from app.connections.parking import ParkedBody
from app.domain.trace_context import TraceContext, log_fields
from app.ops.metrics import HTTP_REQUESTS, HTTP_SECONDS

HEADER = "x-request-id"
# In the environment of a request that the short way has handed on: the time of the performance counter when it came.
BEGUN_AT = "unbroken.begun_at"
# deploy/nginx/nginx.conf accepts the same pattern.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
# Probes come every few seconds and leave no line.
_SILENT = {"probes.healthz", "probes.readyz", "probes.metrics"}
# Parts of paths that no line has: the ids that clients give to chats, the ids of users, the secrets of shares.
_UNLOGGED = frozenset({"chat_id", "user_id", "share"})
# Characters that a path may have as they are, beside letters, digits and "-._~" (RFC 3986, section 3.3).
_PATH = "/:@!$&'()*+,;="
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_log = structlog.get_logger()


def register(app: Flask) -> None:
    """Trace every request of the application."""
    app.before_request(_begin)
    app.after_request(_end)


def request_id() -> str:
    """The id of the current request."""
    return str(g.request_id)


def choose_id(given: str) -> str:
    """The id of a request: the one that its client or proxy has given it, if it is one, or a new one."""
    return given if _SANE.fullmatch(given) else str(uuid7())


def bind() -> None:
    """Add the current request's id, and that of its trace, to every log line of this thread."""
    clear_contextvars()
    bind_contextvars(request_id=g.request_id, **log_fields(g.trace))


def _begin() -> None:
    g.request_id = choose_id(request.headers.get(HEADER, ""))
    # Not kept: a request that waits for its answer passes here again.
    g.begun_at = request.environ.pop(BEGUN_AT, None) or time.perf_counter()
    parent = TraceContext.read(request.headers.get("traceparent"), request.headers.get("tracestate"))
    g.trace = server_spans.begin(parent, g.request_id)
    bind()


def _end(response: Response) -> Response:
    if isinstance(response.response, ParkedBody):
        # The response is not ready; it passes here again.
        return response
    seconds = time.perf_counter() - g.begun_at
    route = request.url_rule.rule if request.url_rule else "none"
    method = request.method if request.method in _METHODS else "other"
    count(method, route, response.status_code, seconds)
    stream_connects.count(response)
    response.headers[HEADER] = g.request_id
    server_spans.end(response)
    if request.endpoint not in _SILENT:
        _write_line(response, seconds)
    return response


def count(method: str, route: str, status: int, seconds: float) -> None:
    """Add an answered request to the metrics."""
    HTTP_REQUESTS.labels(method, route, status).inc()
    HTTP_SECONDS.labels(method, route).observe(seconds)


def log_answer(method: str, path: str, status: int, seconds: float, **fields: str | None) -> None:
    """Write the line of an answered request. ``path`` is without its query, which may hold a ticket or a search."""
    # Quoted, so that no character turns or breaks the line.
    path = logs.without_secrets(quote(path, safe=_PATH))
    _log.info(
        "request answered",
        action="request",
        method=method,
        path=path,
        status=status,
        seconds=round(seconds, 4),
        **fields,
    )


def log_opened(path: str, seconds: float, **fields: str | None) -> None:
    """Write the line of a stream that was opened outside of Flask, as ``log_answer`` does. ``path`` has only an id."""
    logs.info(
        __name__,
        "request answered",
        action="request",
        method="GET",
        path=path,
        status=200,
        seconds=round(seconds, 4),
        **fields,
    )


def _write_line(response: Response, seconds: float) -> None:
    caller = g.get("caller")
    log_answer(
        request.method,
        _path(),
        response.status_code,
        seconds,
        client=request.remote_addr,
        user_id=caller.user.id if caller else None,
        # The reason of a 401, which the client does not get. No part of the request is in it.
        **({"refused": g.refused} if "refused" in g else {}),
        generation_id=g.get("generation_id") or (request.view_args or {}).get("generation_id"),
    )


def _path() -> str:
    """The path of this request; its pattern, where the path has something that no line has."""
    rule = request.url_rule
    return rule.rule if rule is not None and _UNLOGGED & (request.view_args or {}).keys() else request.path
