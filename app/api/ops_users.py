"""Routes of operators for users: find them, look at one, block and unblock."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.account import limits_of_users
from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.fields import Id
from app.api.json_response import respond
from app.api.representations.users import UserReport, WatchedUser, WatchedUserPage
from app.api.request_parsing import Body, Path, Query, Text
from app.api.routing import Answer, Routes
from app.api.web_process import web

routes = Routes("ops_users", __name__, "/api/v1/ops", "For operators: users, without their texts")

_USER = Answer(200, "The user", WatchedUser)


class UsersQuery(Query):
    """The filter and the size of a page of users."""

    subject: Text | None = Field(None, min_length=1, max_length=255, description="The beginning of the subject")
    limit: int = Field(50, ge=1, le=200)
    cursor: Id | None = Field(None, description="next_cursor of the page before")


class UserPath(Path):
    """The id of a user."""

    user_id: Id


class ReasonBody(Body):
    """The reason of an action, for the audit."""

    reason: Text = Field(min_length=1, max_length=500)


@routes.route_for(
    "get",
    "/users",
    access="operator",
    limit="reads",
    answers=(Answer(200, "A page, newest first", WatchedUserPage),),
)
def list_users(query: UsersQuery) -> Response:
    """Users and service accounts."""
    return respond(WatchedUserPage.of(web().resources.user_admin.page(query.limit, query.subject, query.cursor)))


@routes.route_for(
    "get", "/users/<user_id>", access="operator", limit="reads", answers=(Answer(200, "The user", UserReport),)
)
def get_user(path: UserPath) -> Response:
    """One user: state, keys, sessions, running answers, tokens and limits."""
    process = web()
    user, figures = process.resources.user_admin.look(path.user_id)
    return respond(UserReport.report(user, figures, limits_of_users(process.settings)))


@routes.route_for("post", "/users/<user_id>/block", access="admin", limit="reads", answers=(_USER,), refusals=(409,))
def block_user(caller: Caller, path: UserPath, body: ReasonBody) -> Response:
    """Refuse a user everything from now on, and break their streams. A second block changes nothing."""
    return respond(WatchedUser.of(web().resources.user_admin.block(actor_of(caller), path.user_id, body.reason)))


@routes.route_for("post", "/users/<user_id>/unblock", access="admin", limit="reads", answers=(_USER,), refusals=(409,))
def unblock_user(caller: Caller, path: UserPath, body: ReasonBody) -> Response:
    """End the block of a user."""
    return respond(WatchedUser.of(web().resources.user_admin.unblock(actor_of(caller), path.user_id, body.reason)))
