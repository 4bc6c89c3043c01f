"""Probes for machines: liveness, readiness, metrics."""

from __future__ import annotations

import orjson
from flask import Blueprint, Response

from app.api.auth.rights import ADMIN
from app.api.auth.tokens import KeysUnknown
from app.api.errors import Unauthenticated
from app.api.routing import public
from app.api.web_process import web
from app.domain.version import VERSION
from app.ops import metrics as numbers
from app.ops.service_metrics import ServiceCollector

blueprint = Blueprint("probes", __name__)


@blueprint.get("/healthz")
@public
def healthz() -> Response:
    """The process answers, and names its version."""
    return Response(orjson.dumps({"status": "alive", "version": VERSION}), content_type="application/json")


@blueprint.get("/readyz")
@public
def readyz() -> Response:
    """Readiness, as app/ops/health.py defines it. Only administrators are given the numbers."""
    report = web().live.health.report()
    body = report.body(for_operators=_is_operator())
    response = Response(orjson.dumps(body), 200 if report.ready else 503, content_type="application/json")
    if not report.ready:
        response.headers["Retry-After"] = "5"
    return response


def _is_operator() -> bool:
    """True when the request has a token with the role admin, which is verified without a store."""
    try:
        return web().verifier.verify().role == ADMIN
    except (Unauthenticated, KeysUnknown):
        return False


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """Prometheus's text format."""
    live = web().live
    live.publisher.publish()
    text, content_type = numbers.exposition(live.health.census, ServiceCollector(live.health.report))
    return Response(text, content_type=content_type)
