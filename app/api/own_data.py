"""A user's own data: everything in one archive, everything erased; holds, which operators place on it."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.fields import Id
from app.api.json_response import respond
from app.api.representations.own_data import Erasure, Hold
from app.api.request_parsing import Body, Path, Query, Text
from app.api.routing import Answer, Routes
from app.api.web_process import web

_HOLD = "/ops/users/<user_id>/hold"

routes = Routes("own data", __name__, "/api/v1", "Everything that the service keeps of you")


class ExportQuery(Query):
    """The beginning of an archive that is not the first one."""

    after: Text | None = Field(None, max_length=2000, description="`next` of the manifest of the archive before")


@routes.route_for(
    "get",
    "/me/export",
    access="person",
    limit="exports",
    answers=(Answer(200, "A ZIP archive", None, "application/zip", headers=("Content-Disposition",)),),
)
def export_everything(caller: Caller, query: ExportQuery) -> Response:
    """Export everything that the service keeps of you. An archive that is not complete says where the next begins."""
    pieces = web().resources.own_data.exports.begin(caller.user, query.after, actor_of(caller))
    headers = {"Content-Disposition": 'attachment; filename="unbroken-export.zip"'}
    return Response(pieces, content_type="application/zip", headers=headers)


@routes.route_for(
    "delete",
    "/me",
    access="person",
    limit="reads",
    answers=(Answer(202, "Everything is being erased", Erasure),),
)
def erase_everything(caller: Caller) -> Response:
    """Erase everything that the service keeps of you. It cannot be undone. Your requests are refused from now on.

    When nothing is left, a request with the same subject begins a new account.
    """
    return respond(Erasure.of(web().resources.own_data.erasures.request(caller.user, actor_of(caller))), 202)


class HoldPath(Path):
    """The user of a hold."""

    user_id: Id


class HoldBody(Body):
    """The reason of a hold, for the audit."""

    reason: Text = Field(min_length=1, max_length=1000)


@routes.route_for("get", _HOLD, access="operator", limit="reads", answers=(Answer(200, "The hold", Hold),))
def get_hold(path: HoldPath) -> Response:
    """The legal hold on a user."""
    return respond(Hold.of(web().resources.own_data.holds.get(path.user_id)))


@routes.route_for("put", _HOLD, access="admin", limit="reads", answers=(Answer(200, "The hold", Hold),))
def place_hold(caller: Caller, path: HoldPath, body: HoldBody) -> Response:
    """Place a legal hold on a user: what the user deletes from now on is kept out of sight, and nothing is erased.

    A second hold replaces the reason of the first.
    """
    return respond(Hold.of(web().resources.own_data.holds.place(actor_of(caller), path.user_id, body.reason)))


@routes.route_for("delete", _HOLD, access="admin", limit="reads", answers=(Answer(204, "It has ended"),))
def end_hold(caller: Caller, path: HoldPath) -> Response:
    """End a legal hold. What the user has deleted meanwhile is erased, and so is a user who requested it."""
    web().resources.own_data.holds.end(actor_of(caller), path.user_id)
    return Response(status=204)
