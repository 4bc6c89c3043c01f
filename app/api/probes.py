"""What machines ask about the process: does it live, can it work, what are its numbers."""

from __future__ import annotations

import orjson
from flask import Blueprint, Response

from app.api.process import web
from app.api.routing import public
from app.ops import metrics as numbers

blueprint = Blueprint("probes", __name__)


@blueprint.get("/healthz")
@public
def healthz() -> Response:
    """The process answers."""
    return Response(b'{"status":"alive"}', content_type="application/json")


@blueprint.get("/readyz")
@public
def readyz() -> Response:
    """Requests succeed here, and work is being done; see app/ops/health.py."""
    report = web().live.health.report()
    response = Response(orjson.dumps(report.body()), 200 if report.ready else 503, content_type="application/json")
    if not report.ready:
        response.headers["Retry-After"] = "5"
    return response


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """Prometheus's text format."""
    text, content_type = numbers.exposition(web().live.health.census)
    return Response(text, content_type=content_type)
