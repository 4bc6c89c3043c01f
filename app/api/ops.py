"""Routes of operators: the generations of all users. Administrators also cancel, fail and requeue them."""

from __future__ import annotations

from flask import Response
from pydantic import AwareDatetime, Field

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.fields import Id
from app.api.generations import GenerationPath
from app.api.json_response import respond
from app.api.ops_users import ReasonBody
from app.api.representations.admin import GenerationText, WatchedGeneration, WatchedLife, WatchedPage
from app.api.representations.fields import Status
from app.api.representations.upstreams import WatchedUpstreams
from app.api.request_parsing import Body, Query, Text
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.generation import TERMINAL
from app.store.admin_generations import Wanted

routes = Routes("ops", __name__, "/api/v1/ops", "For operators: the generations of all users, without their texts")


class LookQuery(Query):
    """The filter and the size of a page; without a filter it has all generations."""

    status: Status | None = None
    stuck: bool | None = Field(None, description="Running without a worker, or waiting for longer than 15 s")
    user: Text | None = Field(None, max_length=255, description="The subject of a user's tokens, or the user's id")
    model: Text | None = Field(None, max_length=200)
    worker: Text | None = Field(None, max_length=255, description="The name of the last worker")
    request_id: Text | None = Field(None, max_length=128, description="The X-Request-Id of the starting request")
    since: AwareDatetime | None = Field(None, description="Accepted from this time on")
    until: AwareDatetime | None = Field(None, description="Accepted before this time")
    limit: int = Field(50, ge=1, le=200)
    cursor: Id | None = Field(None, description="next_cursor of the page before")

    def wanted(self) -> Wanted:
        """The filter as the store takes it."""
        filters = ("status", "stuck", "user", "model", "worker", "request_id", "since", "until")
        return Wanted(**{name: getattr(self, name) for name in filters}, before=self.cursor)


class WhyBody(Body):
    """The reason of an action, for the audit."""

    reason: Text | None = Field(None, min_length=1, max_length=500)


@routes.route_for(
    "get",
    "/generations",
    access="operator",
    limit="reads",
    answers=(Answer(200, "A page, newest first", WatchedPage),),
)
def list_everybodys_generations(query: LookQuery) -> Response:
    """Generations of all users, newest first."""
    return respond(WatchedPage.of(web().resources.admin.look(query.wanted(), query.limit)))


@routes.route_for(
    "get",
    "/generations/<generation_id>",
    access="operator",
    limit="reads",
    answers=(Answer(200, "The generation with its line of life", WatchedLife),),
)
def get_anybodys_generation(path: GenerationPath) -> Response:
    """A generation with its line of life: queue, claims, first token, checkpoints, takeovers, failovers, end."""
    process = web()
    row, saved = process.resources.admin.one(path.generation_id)
    settings = process.settings
    return respond(WatchedLife.life(row, saved, settings.lease_seconds, settings.trace_url_template))


@routes.route_for(
    "post",
    "/generations/<generation_id>/text",
    access="support",
    limit="reads",
    answers=(Answer(200, "The texts", GenerationText),),
)
def read_anybodys_text(caller: Caller, path: GenerationPath, body: ReasonBody) -> Response:
    """The text of an answer and the message before it. The audit, which their user sees, keeps each look."""
    return respond(
        GenerationText.of(web().resources.for_operators.texts.read(actor_of(caller), path.generation_id, body.reason))
    )


@routes.route_for(
    "get",
    "/upstreams",
    access="operator",
    limit="reads",
    answers=(Answer(200, "The upstreams", WatchedUpstreams),),
)
def list_upstreams() -> Response:
    """Every upstream, with the breakers of the targets that models have there."""
    return respond(WatchedUpstreams.of(web().resources.upstream_statuses.every()))


@routes.route_for(
    "post",
    "/generations/<generation_id>/cancel",
    access="admin",
    limit="reads",
    answers=(
        Answer(200, "The generation in its final state", WatchedGeneration),
        Answer(202, "The cancel is stored; a worker ends the generation", WatchedGeneration),
    ),
)
def cancel_anybodys_generation(caller: Caller, path: GenerationPath, body: WhyBody) -> Response:
    """Cancel a generation as its owner would. A second cancel returns the generation as it is."""
    watched = web().resources.admin.cancel(actor_of(caller), path.generation_id, body.reason)
    return respond(WatchedGeneration.of(watched), 200 if watched.status in TERMINAL else 202)


@routes.route_for(
    "post",
    "/generations/<generation_id>/fail",
    access="admin",
    limit="reads",
    answers=(Answer(200, "The generation, ended as an error", WatchedGeneration),),
    refusals=(409,),
)
def fail_generation(caller: Caller, path: GenerationPath, body: WhyBody) -> Response:
    """End a generation as an error. The text so far is kept."""
    failed = web().resources.admin.fail(actor_of(caller), path.generation_id, body.reason)
    return respond(WatchedGeneration.of(failed))


@routes.route_for(
    "post",
    "/generations/<generation_id>/requeue",
    access="admin",
    limit="reads",
    answers=(Answer(202, "A new generation for the same message", WatchedGeneration),),
    refusals=(409,),
)
def requeue_generation(caller: Caller, path: GenerationPath, body: WhyBody) -> Response:
    """Start a new answer, on a branch of its own, for a generation that ended as an error. A second call returns it."""
    again = web().resources.admin.requeue(actor_of(caller), path.generation_id, body.reason)
    return respond(WatchedGeneration.of(again), 202)
