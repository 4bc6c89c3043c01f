"""Sign-in by the identity provider, and its own sign-out (back channel). Without one, these addresses do not exist."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl

import structlog
from flask import Blueprint, Response, request

from app.api.auth.actor import actor_of
from app.api.auth.browser_binding import bind, binding, new_binding
from app.api.auth.identity_provider import identity_provider
from app.api.errors import InsecureSite
from app.api.json_response import respond
from app.api.sign_in import count_sign_in, enter, sign_in_here, site
from app.api.web_process import web
from app.domain.errors import ProviderDown, SignInFailed, StoreDown
from app.domain.own_path import own_path
from app.openid.client import Ended, Identity
from app.services.identities import GOOD_SECONDS
from app.web import sign_in_link

blueprint = Blueprint("sign_in_by_provider", __name__)

# Characters; a longer ID token is of no use for a sign-out, as no address could hold it.
_LONGEST_HINT = 4000
# The name of logout tokens among the nonces, and the fields that a form may have.
_LOGOUT = "logout-token"
_MOST_FIELDS = 16
_UNKNOWN = "This sign-in was begun in another browser, was finished before, or took too long. Begin again."

_log = structlog.get_logger()


@blueprint.get("/signin/oidc")
def begin() -> Response:
    """Send the browser to the identity provider. ``next`` is the path of this service that follows."""
    count_sign_in()
    try:
        site().check_safe()
        request_there = identity_provider().begin()
    except (InsecureSite, ProviderDown, SignInFailed) as error:
        return _refuse(error)
    browser = binding(site()) or new_binding()
    web().resources.identities.begin(request_there, browser, own_path(request.args.get("next", "/")))
    response = Response(status=303, headers={"Location": request_there.url, "Cache-Control": "no-store"})
    bind(site(), response, browser, GOOD_SECONDS)
    return response


@blueprint.get("/signin/callback")
def finish() -> Response:
    """Begin the session of the person whom the identity provider's answer names."""
    provider, answer, browser = identity_provider(), request.args.to_dict(), binding(site())
    begun = web().resources.identities.take(answer.get("state", ""), browser) if browser else None
    try:
        if begun is None:
            count_sign_in()
            raise SignInFailed("no sign-in of this browser has this state", _UNKNOWN)
        person = provider.finish(answer, begun[0])
    except (ProviderDown, SignInFailed) as error:
        return _refuse(error)
    return _enter(person, begun[1])


@blueprint.post("/signin/backchannel")
def log_out() -> Response:
    """End the sessions that a logout token of the identity provider names."""
    used = web().resources.logout_tokens
    try:
        ended = identity_provider().ended(_logout_token())
        if not used.use(_LOGOUT, ended.token_id):
            raise SignInFailed("the logout token was used before")
    except SignInFailed as error:
        count_sign_in()
        _log.warning("logout token refused", action="sign_out", reason=error.reason)
        return _answer(400, "invalid_request")
    try:
        _end(ended)
    except StoreDown:
        # The provider may send the token again.
        used.forget(_LOGOUT, ended.token_id)
        raise
    return _answer(200)


def _logout_token() -> str:
    """The token of the form in the body, or an empty text. Flask reads no forms here."""
    try:
        fields = parse_qsl(request.get_data().decode("ascii"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        return ""
    tokens = [value for name, value in fields if name == "logout_token"]
    return tokens[0] if len(tokens) == 1 else ""


def _end(ended: Ended) -> None:
    resources = web().resources
    user_id = resources.identities.owner(ended)
    if user_id is not None:
        resources.sessions.end_by_provider(user_id, ended.issuer, ended.sid, actor_of(None))


def _enter(person: Identity, path: str) -> Response:
    resources = web().resources
    sign_in = replace(
        sign_in_here(resources.identities.user_id(person), "oidc", person.role),
        email=person.email,
        issuer=person.issuer,
        sid=person.sid,
        id_token=person.id_token if len(person.id_token) <= _LONGEST_HINT else None,
    )
    return enter(resources.sessions.begin(sign_in, actor_of(None)), path)


def _refuse(error: InsecureSite | ProviderDown | SignInFailed) -> Response:
    """The page with the sentence for the person; the reason is logged."""
    if isinstance(error, InsecureSite):
        return sign_in_link.refuse(error.detail, 403)
    _log.warning("sign-in refused", action="sign_in", error=type(error).__name__, reason=error.reason)
    response = sign_in_link.refuse(error.detail, 503 if isinstance(error, ProviderDown) else 403)
    if isinstance(error, ProviderDown):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _answer(status: int, error: str | None = None) -> Response:
    response = respond({"error": error} if error else {}, status)
    response.headers["Cache-Control"] = "no-store"
    return response
