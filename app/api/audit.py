"""Routes of the audit: everybody's for administrators, one's own part for each user."""

from __future__ import annotations

from datetime import datetime

from flask import Response
from pydantic import AwareDatetime, Field

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.fields import Id
from app.api.json_response import respond
from app.api.representations.audit import AuditPage
from app.api.request_parsing import Query, Text
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.store.audit import AuditFilter

routes = Routes("audit", __name__, "/api/v1", "The audit: who did what to which object, without content")

_PAGE = (Answer(200, "A page, newest first", AuditPage),)


class OwnAuditQuery(Query):
    """The size of a page and its beginning."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Id | None = Field(None, description="next_cursor of the page before")


class AuditQuery(OwnAuditQuery):
    """The filter of a page; without a filter it has all actions."""

    user: Id | None = Field(None, description="The id of the user acted on")
    actor: Id | None = Field(None, description="The id of the user who acted")
    action: Text | None = Field(None, max_length=100, description="Such as session.ended")
    object: Text | None = Field(None, max_length=200, description="The id of the object")
    since: AwareDatetime | None = Field(None, description="From this time on")
    until: AwareDatetime | None = Field(None, description="Before this time")

    def filter(self) -> AuditFilter:
        """The filter as the store takes it."""
        since: datetime | None = self.since
        return AuditFilter(self.user, self.actor, self.action, self.object, since, self.until, self.cursor)


@routes.route_for("get", "/me/audit", access="person", limit="reads", answers=_PAGE)
def list_own_audit(caller: Caller, query: OwnAuditQuery) -> Response:
    """The actions on your account, your access and your data, newest first."""
    return respond(AuditPage.of(web().resources.audit.own(caller.user, query.cursor, query.limit)))


@routes.route_for("get", "/ops/audit", access="operator", limit="reads", answers=_PAGE)
def list_audit(caller: Caller, query: AuditQuery) -> Response:
    """The actions of all users, newest first. Each look at the first page is recorded."""
    page = web().resources.audit.everybodys(actor_of(caller), query.filter(), query.limit)
    return respond(AuditPage.of(page))
