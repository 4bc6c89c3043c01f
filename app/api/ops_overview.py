"""Routes of operators for the service as a whole."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Literal

from flask import Response

from app.api.json_response import respond
from app.api.representations.overview import LastHour, Overview, Series, SeriesPoint, WatchedQueues
from app.api.representations.upstreams import WatchedUpstream
from app.api.request_parsing import Query
from app.api.routing import Answer, Routes
from app.api.web_process import WebProcess, web
from app.domain.errors import DatabaseDown
from app.ops.health import PROBE_SECONDS, Report
from app.ops.looking import NoAnswer
from app.services.minutes import STEPS, open_streams

routes = Routes("ops_overview", __name__, "/api/v1/ops", "For operators: the service at a glance")


class SeriesQuery(Query):
    """The span of a plot."""

    span: Literal["hour", "day"] = "hour"


@routes.route_for("get", "/overview", access="operator", limit="reads", answers=(Answer(200, "The service", Overview),))
def get_overview() -> Response:
    """The service at a glance: load, workers, the last hour, upstreams and stores. 503 while PostgreSQL is away."""
    process = web()
    process.live.broker.begin()
    report = _report(process)
    has_redis = report.redis is not None
    streams, redis_seconds = _count_streams(process) if has_redis else (None, None)
    found = process.resources.for_operators.overviews.now(with_breakers=has_redis)
    last_hour = process.resources.for_operators.minutes.last_hour()
    shown: dict[str, Any] = {
        "at": found.at,
        "ready": report.ready,
        "reasons": report.reasons,
        "degraded": report.degraded,
        "waiting": int(found.census["queued"]),
        "oldest_wait_seconds": round(found.census["oldest_queued_seconds"], 1),
        "running": int(found.census["running"]),
        "slots": found.workers.slots,
        "stuck": int(found.census["stuck"]),
        "workers": {name: getattr(found.workers, name) for name in ("working", "draining", "lost")},
        "last_hour": LastHour.of(last_hour),
        "streams_open": streams,
        "upstreams": None if found.upstreams is None else [WatchedUpstream.of(one) for one in found.upstreams],
        "stores": {
            "postgresql": {"status": "ok", "latency_ms": _milliseconds(found.latency)},
            "redis": {"status": report.checks["redis"], "latency_ms": _milliseconds(redis_seconds)},
            "broker": {"status": "down" if _broker_messages(process) is None else "ok"},
        },
        "webhooks": {
            "waiting": found.webhooks.waiting,
            "oldest_seconds": found.webhooks.oldest_seconds,
            "dead": found.webhooks.dead,
        },
    }
    return respond(shown)


@routes.route_for(
    "get", "/series", access="operator", limit="reads", answers=(Answer(200, "The points of the plots", Series),)
)
def get_series(query: SeriesQuery) -> Response:
    """The service over the last hour, by the minute, or over the last day, by the quarter of an hour."""
    points = web().resources.for_operators.minutes.series(query.span)
    step = int(STEPS[query.span].total_seconds())
    return respond({"span": query.span, "step_seconds": step, "points": [SeriesPoint.of(point) for point in points]})


@routes.route_for(
    "get", "/queues", access="operator", limit="reads", answers=(Answer(200, "Every queue", WatchedQueues),)
)
def list_queues() -> Response:
    """The queues. Answers and webhook deliveries wait in PostgreSQL; the broker has hints that there is work."""
    process = web()
    process.live.broker.begin()
    _report(process)
    found = process.resources.for_operators.overviews.now(with_breakers=False)
    generations = {
        "name": "generations",
        "waiting": int(found.census["queued"]),
        "oldest_wait_seconds": round(found.census["oldest_queued_seconds"], 1),
        "running": int(found.census["running"]),
        "slots": found.workers.slots,
        "dead": None,
        "broker_messages": _broker_messages(process),
    }
    webhooks = {
        "name": "webhooks",
        "waiting": found.webhooks.waiting,
        "oldest_wait_seconds": found.webhooks.oldest_seconds,
        "dead": found.webhooks.dead,
    }
    nothing = dict.fromkeys(generations)
    return respond({"items": [generations, {**nothing, **webhooks}, {**nothing, "name": "embeddings"}]})


def _report(process: WebProcess) -> Report:
    """The report of /readyz. Raises DatabaseDown while PostgreSQL is away, before anything waits for it."""
    report = process.live.health.report()
    if report.checks.get("database") == "down":
        raise DatabaseDown(" ".join(report.reasons))
    return report


def _count_streams(process: WebProcess) -> tuple[int | None, float | None]:
    """The open streams, and the seconds of the question; None where Redis did not answer it."""
    began = perf_counter()
    streams = open_streams(process.resources.open_streams.total)
    return streams, None if streams is None else perf_counter() - began


def _broker_messages(process: WebProcess) -> int | None:
    try:
        return process.live.broker.result(PROBE_SECONDS)
    except NoAnswer:
        return None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
