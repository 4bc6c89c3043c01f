"""Sign-in and sign-out of a browser, at addresses outside of the API: people open them, and no program."""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller, caller
from app.api.auth.identity_provider import sign_out_address
from app.api.auth.sessions import current_session
from app.api.auth.site import Site
from app.api.errors import InsecureSite, Unauthenticated
from app.api.json_response import respond
from app.api.web_process import web
from app.domain.errors import BeingErased, StoreDown, UserBlocked
from app.domain.session import SignIn, SignInMethod
from app.domain.sign_in_code import CodeState
from app.services.sessions import Begun
from app.services.sign_in_links import PATH, CodeRefused
from app.web import languages, sign_in_link

blueprint = Blueprint("sign_in", __name__)

# The page asks the API for the user before it shows anything that it has kept.
SIGNED_IN = "#signed-in"

# Keys of the page's texts (app/web/static/texts).
_UNKNOWN = "link.unknown"
_REFUSED: dict[CodeState, str] = {"used": "link.used_once", "expired": "link.expired"}


@blueprint.get(f"{PATH}<code>")
def offer_link(code: str) -> Response:
    """The page of a link. It changes nothing: previews and prefetches request it, too."""
    count_sign_in()
    try:
        site().check_safe()
    except InsecureSite as error:
        return sign_in_link.refuse(error.detail, 403)
    found = web().resources.sign_in_links.look(code)
    if found is None:
        return sign_in_link.explain(_UNKNOWN, 404)
    if found.state != "good":
        return sign_in_link.explain(_REFUSED[found.state], 410)
    return sign_in_link.offer(found.subject)


@blueprint.post(f"{PATH}<code>")
def use_link(code: str) -> ResponseReturnValue:
    """Sign this browser in with the code of a link, once."""
    count_sign_in()
    site().check_safe()
    site().check_not_foreign()
    links = web().resources.sign_in_links
    try:
        begun = links.redeem(code, sign_in_here("", "link"), actor_of(None))
    except CodeRefused:
        found = links.look(code)
        problem = _REFUSED.get(found.state) if found else None
        return sign_in_link.explain(problem or _UNKNOWN, 410 if problem else 404)
    return enter(begun, "/")


@blueprint.post("/signout")
def sign_out() -> ResponseReturnValue:
    """End the session of this browser, or the token of this request. It succeeds without either, too.

    ``next`` is where the browser goes now: home, or to the identity provider, which ends its own session.
    """
    site().check_not_foreign()
    # Without the database the session ends at its time; the browser loses its secret now.
    with suppress(StoreDown):
        _end_own()
    is_of_page = current_session() is not None or site().secret() is not None
    path = (sign_out_address(current_session()) if is_of_page else None) or "/"
    response = respond({"next": path}) if _wants_json() else _redirect(path)
    site().forget(response)
    languages.forget(response)
    # Drafts and other texts that the page keeps in the browser. Cookies of other programs on this host stay.
    response.headers["Clear-Site-Data"] = '"storage"'
    return response


def count_sign_in() -> None:
    """Count a request of a sign-in against the limit of its address. Raises TooManyRequests."""
    web().limits.sign_ins()()


def site() -> Site:
    """The service as this request reaches it."""
    settings = web().settings
    return Site(settings.public_url, settings.sign_in_over_http)


def sign_in_here(user_id: str, method: SignInMethod, role: str | None = None) -> SignIn:
    """A sign-in of a user in the browser that has sent this request."""
    agent = request.user_agent.string
    return SignIn(user_id, method, role, user_agent=agent, address=request.remote_addr or "")


def enter(begun: Begun, path: str) -> Response:
    """The response that gives the browser its new session, and sends it on to ``path``.

    A session that the browser had until now ends: nobody can have planted the one it uses from here on.
    """
    _end_former()
    response = _redirect(path.partition("#")[0] + SIGNED_IN)
    site().keep(response, begun)
    response.headers["Cache-Control"] = "no-store"
    return response


def _end_own() -> None:
    """End the session or the token of this request. Raises StoreDown."""
    found = _caller()
    if found is not None:
        _end(found)
    elif (session := current_session()) is not None:
        # A user who is blocked or being erased can sign out, too.
        web().resources.sessions.end(session.user_id, session.id, actor_of(None))


def _end(found: Caller) -> None:
    """End the session or the token of a request. A key or a signing key is no sign-in and stays."""
    sessions, credential = web().resources.sessions, found.user.credential
    if credential.kind == "session":
        sessions.end(found.user.id, credential.id, actor_of(found))
    elif credential.kind == "token":
        sessions.end_token(found.user.id, credential.id, found.expires_at, actor_of(found))


def _end_former() -> None:
    sessions = web().resources.sessions
    secret = site().secret()
    former = sessions.of_secret(secret) if secret else None
    if former is not None:
        sessions.end(former.user_id, former.id, actor_of(None))


def _redirect(path: str) -> Response:
    return Response(status=303, headers={"Location": path})


def _caller() -> Caller | None:
    with suppress(Unauthenticated, UserBlocked, BeingErased):
        return caller(web().methods, web().resources)
    return None


def _wants_json() -> bool:
    return "text/html" not in request.headers.get("Accept", "")
