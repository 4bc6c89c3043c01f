"""Routes of operators for workers: look at them, drain and undrain one."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.json_response import respond
from app.api.representations.workers import WatchedWorker, WatchedWorkers
from app.api.request_parsing import Body, Path, Text
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.workers import DrainMode

routes = Routes("ops_workers", __name__, "/api/v1/ops", "For operators: the workers")

_ACCEPTED = Answer(202, "The worker; it reads the request within a second", WatchedWorker)


class WorkerPath(Path):
    """The name of a worker."""

    name: Text = Field(min_length=1, max_length=255, description="Celery's name of the node, worker@host")


class UndrainBody(Body):
    """The reason of an action, for the audit."""

    reason: Text | None = Field(None, min_length=1, max_length=500)


class DrainBody(UndrainBody):
    """The treatment of the running answers, and the reason for the audit."""

    mode: DrainMode = Field(
        "finish", description="finish: running answers end in this worker. hand_over: other workers continue them"
    )


@routes.route_for(
    "get", "/workers", access="operator", limit="reads", answers=(Answer(200, "All workers", WatchedWorkers),)
)
def list_workers() -> Response:
    """The workers that have not left on purpose, by name."""
    return respond(WatchedWorkers.of(web().resources.worker_admin.every()))


@routes.route_for("post", "/workers/<name>/drain", access="admin", limit="reads", answers=(_ACCEPTED,), refusals=(409,))
def drain_worker(caller: Caller, path: WorkerPath, body: DrainBody) -> Response:
    """Let a worker take nothing new, until it may be stopped. A second request of one mode changes nothing."""
    admin = web().resources.worker_admin
    return respond(WatchedWorker.of(admin.drain(actor_of(caller), path.name, body.mode, body.reason)), 202)


@routes.route_for(
    "post", "/workers/<name>/undrain", access="admin", limit="reads", answers=(_ACCEPTED,), refusals=(409,)
)
def undrain_worker(caller: Caller, path: WorkerPath, body: UndrainBody) -> Response:
    """Let a drained worker take answers again."""
    return respond(
        WatchedWorker.of(web().resources.worker_admin.undrain(actor_of(caller), path.name, body.reason)), 202
    )
