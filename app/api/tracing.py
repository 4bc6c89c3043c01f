"""Each request's id, its log line and its numbers."""

from __future__ import annotations

import re
import time

import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars
from uuid_utils import uuid7

from app.ops.metrics import HTTP_REQUESTS, HTTP_SECONDS

HEADER = "x-request-id"
# The proxy keeps the same ones (deploy/nginx/nginx.conf).
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
# Asked every few seconds by machines; a line for each would bury the others.
_SILENT = {"probes.healthz", "probes.readyz", "probes.metrics"}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_log = structlog.get_logger()


def register(app: Flask) -> None:
    """Trace every request of the application."""
    app.before_request(_begin)
    app.after_request(_end)


def request_id() -> str:
    """The id of the current request."""
    return str(g.request_id)


def _begin() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if _SANE.fullmatch(given) else str(uuid7())
    g.begun_at = time.perf_counter()
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    seconds = time.perf_counter() - g.begun_at
    route = request.url_rule.rule if request.url_rule else "none"
    method = request.method if request.method in _METHODS else "other"
    HTTP_REQUESTS.labels(method, route, response.status_code).inc()
    HTTP_SECONDS.labels(method, route).observe(seconds)
    response.headers[HEADER] = g.request_id
    if request.endpoint not in _SILENT:
        _write_line(response, seconds)
    return response


def _write_line(response: Response, seconds: float) -> None:
    caller = g.get("caller")
    _log.info(
        "request answered",
        action="request",
        method=request.method,
        # Without the query: it may hold a ticket, or what somebody searches for.
        path=request.path,
        status=response.status_code,
        seconds=round(seconds, 4),
        client=request.remote_addr,
        user_id=caller.user.id if caller else None,
        generation_id=(request.view_args or {}).get("generation_id"),
    )
