"""Routes of one's own API keys."""

from __future__ import annotations

from typing import Any

from flask import Response
from pydantic import Field

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.fields import Id
from app.api.json_response import respond
from app.api.key_bodies import ChangeKeyBody, NewKeyBody, RotateKeyBody
from app.api.representations.api_keys import ApiKey, ApiKeyPage, NewApiKey
from app.api.request_parsing import Path, Query
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.errors import InvalidInput
from app.services.api_keys import MadeKey

routes = Routes("api_keys", __name__, "/api/v1", "API keys: credentials for programs, each with rights of its own")

# Roles that the scope admin can stand for.
ROLES = ("admin", "operator")
_SHOWN = "The key, with its text: it is shown here and never again"
MADE = Answer(201, _SHOWN, NewApiKey)
_OWN_MADE = Answer(201, _SHOWN, NewApiKey, headers=("Location",))


class KeyPath(Path):
    """The id of a key."""

    key_id: Id


class KeysQuery(Query):
    """The size of a page of keys."""

    ended: bool = Field(False, description="With the keys that have ended or expired; the newest hundred of them stay")
    limit: int = Field(50, ge=1, le=200)
    cursor: Id | None = Field(None, description="next_cursor of the page before")


@routes.route_for("post", "/api-keys", access="person", limit="reads", answers=(_OWN_MADE,), refusals=(409,))
def make_api_key(caller: Caller, body: NewKeyBody) -> Response:
    """Make a key. It acts for you, within its scopes, models and limits."""
    made = web().resources.api_keys.make(actor_of(caller), caller.user.id, body.rights(role_for_key(caller, body)))
    return _respond_made(made)


@routes.route_for(
    "get",
    "/api-keys",
    access="person",
    limit="reads",
    answers=(Answer(200, "A page, newest first", ApiKeyPage),),
)
def list_api_keys(caller: Caller, query: KeysQuery) -> Response:
    """Your keys, without their secrets."""
    page = web().resources.api_keys.page(caller.user.id, query.limit, query.cursor, ended=query.ended)
    return respond(ApiKeyPage.of(page))


@routes.route_for(
    "get", "/api-keys/<key_id>", access="person", limit="reads", answers=(Answer(200, "The key", ApiKey),)
)
def get_api_key(caller: Caller, path: KeyPath) -> Response:
    """One of your keys, without its secret."""
    return respond(ApiKey.of(web().resources.api_keys.get(caller.user.id, path.key_id)))


@routes.route_for(
    "patch",
    "/api-keys/<key_id>",
    access="person",
    limit="reads",
    answers=(Answer(200, "The key", ApiKey),),
)
def change_api_key(caller: Caller, path: KeyPath, body: ChangeKeyBody) -> Response:
    """Change the name or the limits of a key."""
    limits: Any = body.limits.limits if body.limits else None
    changed = web().resources.api_keys.change(actor_of(caller), caller.user.id, path.key_id, body.name, limits)
    return respond(ApiKey.of(changed))


@routes.route_for(
    "post", "/api-keys/<key_id>/rotate", access="person", limit="reads", answers=(_OWN_MADE,), refusals=(409,)
)
def rotate_api_key(caller: Caller, path: KeyPath, body: RotateKeyBody) -> Response:
    """Make a key with the same rights, and end the old one now or later."""
    keys, user = web().resources.api_keys, caller.user
    return _respond_made(keys.rotate(actor_of(caller), user.id, path.key_id, body.keep_old_seconds, user.role))


@routes.route_for(
    "delete", "/api-keys/<key_id>", access="person", limit="reads", answers=(Answer(204, "It has ended"),)
)
def end_api_key(caller: Caller, path: KeyPath) -> Response:
    """End a key at once. What it has opened is broken."""
    web().resources.api_keys.end(actor_of(caller), caller.user.id, path.key_id)
    return Response(status=204)


def _respond_made(made: MadeKey) -> Response:
    return respond(NewApiKey.made(made), 201, {"Location": f"/api/v1/api-keys/{made.key.id}"})


def role_for_key(caller: Caller, body: NewKeyBody) -> str | None:
    """The role that the scope admin gives a new key: the maker's own. Raises InvalidInput for a maker without one."""
    if "admin" in (body.scopes or ()) and caller.user.role not in ROLES:
        raise InvalidInput("the scope admin needs the role admin or operator, which you do not have", "scopes")
    return caller.user.role
