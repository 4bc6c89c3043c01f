"""The account of a credential, and its limits."""

from __future__ import annotations

from flask import Response

from app.api.auth.caller import Caller
from app.api.auth.sessions import current_session
from app.api.json_response import respond
from app.api.representations.account import Account
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.config import Settings
from app.domain.budget import Standing
from app.domain.errors import DatabaseDown

routes = Routes("account", __name__, "/api/v1", "Who you are, and what you may")


@routes.route_for(
    "get",
    "/me",
    access="user",
    limit="reads",
    answers=(Answer(200, "You", Account),),
)
def get_me(caller: Caller) -> Response:
    """Your account, the credential of this request, your limits and your budgets."""
    limits = limits_of_users(web().settings)
    return respond(Account.of(caller.user, current_session(), caller.expires_at, limits, _standings(caller)))


def limits_of_users(settings: Settings) -> dict[str, str | int]:
    """The limits that each user has in this deployment."""
    return {
        "new_conversations": settings.ratelimit_new_conversations,
        "generations": settings.ratelimit_generations,
        "reads": settings.ratelimit_reads,
        "streams": settings.max_streams_per_user,
        "message_chars": settings.max_message_chars,
        "attachments": settings.max_attachments,
        "file_bytes": settings.max_file_bytes,
        "prompt_file_bytes": settings.max_prompt_file_bytes,
    }


def _standings(caller: Caller) -> list[Standing] | None:
    """The budgets of a caller; None while PostgreSQL does not answer."""
    try:
        return web().resources.budgets.standings(caller.user)
    except DatabaseDown:
        return None


@routes.route_for(
    "post",
    "/auth/check",
    access="credential",
    answers=(Answer(204, "The credential is good"),),
)
def check_auth(caller: Caller) -> Response:
    """Check the credential before a stream is opened: an EventSource is not given the reason of a failure."""
    return Response(status=204)
