"""Who is asking, and what they may."""

from __future__ import annotations

from flask import Response

from app.api import render, shapes
from app.api.identity import Caller
from app.api.process import web
from app.api.routing import Answer, Routes

routes = Routes("account", __name__, "/api/v1", "Who you are, and what you may")


@routes.route_for(
    "get",
    "/me",
    access="user",
    limit="reads",
    answers=(Answer(200, "You", shapes.Account),),
)
def get_me(caller: Caller) -> Response:
    """Who the token says you are, and your limits."""
    settings = web().settings
    limits = {
        "new_conversations": settings.ratelimit_new_conversations,
        "generations": settings.ratelimit_generations,
        "reads": settings.ratelimit_reads,
        "streams": settings.max_streams_per_user,
        "message_chars": settings.max_message_chars,
    }
    return render.answer(render.account(caller.user, limits))


@routes.route_for(
    "post",
    "/auth/check",
    access="user",
    answers=(Answer(204, "The token is good"),),
)
def check_auth(caller: Caller) -> Response:
    """Ask before opening a stream, which could only fail without a reason."""
    return Response(status=204)
