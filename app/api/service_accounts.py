"""Routes of service accounts and their keys."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.api_keys import MADE, KeysQuery, role_for_key
from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.fields import Id, Title
from app.api.json_response import respond
from app.api.key_bodies import NewKeyBody, RotateKeyBody
from app.api.representations.api_keys import ApiKeyPage, NewApiKey
from app.api.representations.service_accounts import ServiceAccount, ServiceAccountPage
from app.api.request_parsing import Body, Path, Query
from app.api.routing import Answer, Routes
from app.api.web_process import web

routes = Routes("service_accounts", __name__, "/api/v1", "Service accounts: users of programs, made by administrators")


class NewAccountBody(Body):
    """A new service account."""

    name: Title = Field(max_length=100)


class AccountsQuery(Query):
    """The size of a page of service accounts."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Id | None = Field(None, description="next_cursor of the page before")


class AccountPath(Path):
    """The id of a service account."""

    account_id: Id


class AccountKeyPath(AccountPath):
    """The ids of a service account and of one of its keys."""

    key_id: Id


@routes.route_for(
    "post",
    "/service-accounts",
    access="admin_person",
    limit="reads",
    answers=(Answer(201, "The account", ServiceAccount),),
    refusals=(409,),
)
def make_service_account(caller: Caller, body: NewAccountBody) -> Response:
    """Make a user for programs, with conversations, limits and keys of its own. No person signs in as one."""
    return respond(ServiceAccount.of(web().resources.service_accounts.make(actor_of(caller), body.name)), 201)


@routes.route_for(
    "get",
    "/service-accounts",
    access="operator",
    limit="reads",
    answers=(Answer(200, "A page, newest first", ServiceAccountPage),),
)
def list_service_accounts(query: AccountsQuery) -> Response:
    """The service accounts."""
    return respond(ServiceAccountPage.of(web().resources.service_accounts.page(query.limit, query.cursor)))


@routes.route_for(
    "delete",
    "/service-accounts/<account_id>",
    access="admin_person",
    limit="reads",
    answers=(Answer(204, "It has ended"),),
)
def end_service_account(caller: Caller, path: AccountPath) -> Response:
    """End an account with its keys and its streams."""
    web().resources.service_accounts.end(actor_of(caller), path.account_id)
    return Response(status=204)


@routes.route_for(
    "post",
    "/service-accounts/<account_id>/api-keys",
    access="admin_person",
    limit="reads",
    answers=(MADE,),
    refusals=(409,),
)
def make_service_key(caller: Caller, path: AccountPath, body: NewKeyBody) -> Response:
    """Make a key that acts for the account."""
    rights = body.rights(role_for_key(caller, body))
    made = web().resources.service_accounts.make_key(actor_of(caller), path.account_id, rights)
    return respond(NewApiKey.made(made), 201)


@routes.route_for(
    "get",
    "/service-accounts/<account_id>/api-keys",
    access="operator",
    limit="reads",
    answers=(Answer(200, "A page, newest first", ApiKeyPage),),
)
def list_service_keys(path: AccountPath, query: KeysQuery) -> Response:
    """The keys of an account, without their secrets."""
    accounts = web().resources.service_accounts
    return respond(ApiKeyPage.of(accounts.key_page(path.account_id, query.limit, query.cursor, ended=query.ended)))


@routes.route_for(
    "post",
    "/service-accounts/<account_id>/api-keys/<key_id>/rotate",
    access="admin_person",
    limit="reads",
    answers=(MADE,),
    refusals=(409,),
)
def rotate_service_key(caller: Caller, path: AccountKeyPath, body: RotateKeyBody) -> Response:
    """Make a key with the same rights, and end the old one now or later."""
    accounts = web().resources.service_accounts
    role = caller.user.role
    made = accounts.rotate_key(actor_of(caller), path.account_id, path.key_id, body.keep_old_seconds, role)
    return respond(NewApiKey.made(made), 201)


@routes.route_for(
    "delete",
    "/service-accounts/<account_id>/api-keys/<key_id>",
    access="admin_person",
    limit="reads",
    answers=(Answer(204, "It has ended"),),
)
def end_service_key(caller: Caller, path: AccountKeyPath) -> Response:
    """End a key of an account at once."""
    web().resources.service_accounts.end_key(actor_of(caller), path.account_id, path.key_id)
    return Response(status=204)
