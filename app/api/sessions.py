"""Sessions of browsers: their user lists and ends them."""

from __future__ import annotations

from flask import Response

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.auth.sessions import current_session
from app.api.auth.site import Site
from app.api.fields import Id
from app.api.json_response import respond
from app.api.representations.sessions import Session, SessionList
from app.api.request_parsing import Path
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.errors import NotFound

routes = Routes("sessions", __name__, "/api/v1", "Browsers in which you are signed in")


class SessionPath(Path):
    """The id of a session."""

    session_id: Id


@routes.route_for(
    "get",
    "/sessions",
    access="person",
    limit="reads",
    answers=(Answer(200, "The open sessions, the newest first", SessionList),),
)
def list_sessions(caller: Caller) -> Response:
    """Your open sessions; the one that sends the request is marked."""
    sessions = web().resources.sessions
    current = caller.user.credential.id if current_session() else None
    return respond(
        {"items": [Session.of(found, sessions.rules, current) for found in sessions.of_user(caller.user.id)]}
    )


@routes.route_for(
    "delete",
    "/sessions/<session_id>",
    access="person",
    limit="reads",
    answers=(Answer(204, "The session has ended"),),
)
def end_session(caller: Caller, path: SessionPath) -> Response:
    """End one session, as on a machine that somebody else uses now."""
    if not web().resources.sessions.end(caller.user.id, path.session_id, actor_of(caller)):
        raise NotFound
    return _without_cookie(path.session_id == caller.user.credential.id)


@routes.route_for(
    "delete",
    "/sessions",
    access="person",
    limit="reads",
    answers=(Answer(204, "All sessions and tokens have ended, those of this request too"),),
)
def end_all_sessions(caller: Caller) -> Response:
    """Sign out everywhere: all sessions end, and all tokens that were issued until now. API keys stay."""
    web().resources.sessions.end_all(caller.user.id, actor_of(caller))
    return _without_cookie(True)


def _without_cookie(is_own: bool) -> Response:
    response = Response(status=204)
    if is_own:
        settings = web().settings
        Site(settings.public_url, settings.sign_in_over_http).forget(response)
    return response
