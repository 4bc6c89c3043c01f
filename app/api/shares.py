"""Routes of shared conversations, and the page at the address of one, which everybody may open."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.conversations import ConversationPath
from app.api.fields import Id
from app.api.json_response import respond
from app.api.representations.shares import NewShare, Share, ShareList
from app.api.request_parsing import Body
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.share import PATH
from app.web import shared_page

_SHARE = "/conversations/<conversation_id>/share"

routes = Routes("shares", __name__, "/api/v1", "Read-only copies of conversations for everybody who has their address")
blueprint = Blueprint("shared", __name__)


class ShareBody(Body):
    """The branch to share. An empty object will do."""

    branch: Id | None = Field(None, description="The branch with this message; the newest when left out")


@routes.route_for(
    "post",
    _SHARE,
    access="person",
    limit="reads",
    answers=(Answer(201, "It is shared", NewShare),),
    refusals=(409, 422),
)
def share_conversation(caller: Caller, path: ConversationPath, body: ShareBody) -> Response:
    """Share one branch as it is now, without names. A conversation has one address: an earlier one ends."""
    shares = web().resources.for_people.shares
    return respond(NewShare.made(shares.share(caller.user, path.conversation_id, body.branch, actor_of(caller))), 201)


@routes.route_for("get", _SHARE, access="user", limit="reads", answers=(Answer(200, "The share", Share),))
def get_share(caller: Caller, path: ConversationPath) -> Response:
    """The share of a conversation; 404 when it is not shared."""
    return respond(Share.of(web().resources.for_people.shares.get(caller.user, path.conversation_id)))


@routes.route_for("delete", _SHARE, access="user", limit="reads", answers=(Answer(204, "Its address is unknown now"),))
def end_share(caller: Caller, path: ConversationPath) -> Response:
    """End the share of a conversation."""
    web().resources.for_people.shares.end(caller.user, path.conversation_id, actor_of(caller))
    return Response(status=204)


@routes.route_for("get", "/shares", access="user", limit="reads", answers=(Answer(200, "All of them", ShareList),))
def list_shares(caller: Caller) -> Response:
    """Your shared conversations, newest first."""
    return respond(ShareList.of(web().resources.for_people.shares.every(caller.user)))


@blueprint.get(f"{PATH}<share>")
def show_share(share: str) -> Response:
    """The page of a shared conversation. It needs no credential: the address is one."""
    web().limits.reads()()
    found = web().resources.for_people.shares.look(share)
    return shared_page.refuse() if found is None else shared_page.show(found)
