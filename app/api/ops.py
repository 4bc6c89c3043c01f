"""For operators (role admin): what everybody's generations are doing, and what can be done about them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response
from pydantic import Field

from app.api import render, shapes
from app.api.fields import Id
from app.api.generations import GenerationPath
from app.api.process import web
from app.api.reading import Query, Text
from app.api.routing import Answer, Routes
from app.services.operating import Look
from app.store.operations import Watched

routes = Routes("ops", __name__, "/api/v1/ops", "For operators: everybody's generations, without what was said")


class LookQuery(Query):
    """Which generations to show; all of them when nothing is given."""

    status: shapes.Status | None = None
    stuck: bool | None = Field(None, description="Running without a worker, or waiting for longer than 15 s")
    user: Text | None = Field(None, max_length=255, description="The subject of a user's tokens, or the user's id")
    limit: int = Field(50, ge=1, le=200)
    cursor: Id | None = Field(None, description="next_cursor of the page before")


@routes.route_for(
    "get",
    "/generations",
    access="admin",
    limit="reads",
    answers=(Answer(200, "A page, newest first", shapes.WatchedPage),),
)
def list_everybodys_generations(query: LookQuery) -> Response:
    """Generations of everybody, newest first."""
    page = web().resources.operator.look(Look(query.status, query.stuck, query.user, query.limit, query.cursor))
    return render.answer({"items": [_watched(item) for item in page.items], "next_cursor": page.next_cursor})


@routes.route_for(
    "post",
    "/generations/<generation_id>/cancel",
    access="admin",
    limit="reads",
    answers=(Answer(200, "The generation in its final state", shapes.WatchedGeneration),),
)
def cancel_anybodys_generation(path: GenerationPath) -> Response:
    """Stop a generation as its owner would. Twice is the same as once."""
    return render.answer(_watched(web().resources.operator.cancel(path.generation_id)))


@routes.route_for(
    "post",
    "/generations/<generation_id>/fail",
    access="admin",
    limit="reads",
    answers=(Answer(200, "The generation, ended as an error", shapes.WatchedGeneration),),
    refusals=(409,),
)
def fail_generation(path: GenerationPath) -> Response:
    """Give a generation up: it ends as an error, with what it said so far."""
    return render.answer(_watched(web().resources.operator.fail(path.generation_id)))


@routes.route_for(
    "post",
    "/generations/<generation_id>/requeue",
    access="admin",
    limit="reads",
    answers=(Answer(202, "A new generation for the same message", shapes.WatchedGeneration),),
    refusals=(409,),
)
def requeue_generation(path: GenerationPath) -> Response:
    """Answer once more what ended as an error, on a branch of its own. Twice is the same as once."""
    return render.answer(_watched(web().resources.operator.requeue(path.generation_id)), 202)


def _watched(row: Watched) -> dict[str, Any]:
    shown = asdict(row)
    for name in ("user_id", "subject", "parameters", "attempts", "cancel_at"):
        del shown[name]
    return shown | {
        "user": row.subject,
        "attempt_log": row.attempts,
        "cancel_requested": row.cancel_at is not None,
    }
