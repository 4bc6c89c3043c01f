"""Routes of one's own webhooks: the secret for the ``webhook_url`` of requests, deliveries, and their replay."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.fields import Id
from app.api.json_response import respond
from app.api.openai import ids
from app.api.representations.webhooks import (
    ReplayedDeliveries,
    WebhookDelivery,
    WebhookDeliveryPage,
    WebhookSecret,
)
from app.api.request_parsing import Body, Path, Query
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.errors import InvalidInput, NotFound
from app.store.webhook_deliveries import DeliveryFilter, Range, State

routes = Routes("webhooks", __name__, "/api/v1", "Webhooks: what was sent to your receivers, and the secret that signs")

_SECRET = Answer(200, "The secret", WebhookSecret)
_WAITS = Answer(202, "The delivery, which waits again", WebhookDelivery)


def _as_time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time of RFC 3339, such as 2027-01-31T12:00:00Z") from None


def _in_utc(at: datetime) -> datetime:
    """The time in UTC: PostgreSQL refuses offsets of 16 hours and more."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time from the year 1 to the year 9999 in UTC") from None


def endpoint_id_of(text: str | None) -> str | None:
    """The id of an endpoint in a filter. Raises InvalidInput for a text that is none."""
    try:
        return None if text is None else ids.webhook_endpoint_of(text)
    except NotFound:
        raise InvalidInput("must be the id of an endpoint: we_…", "endpoint") from None


Time = Annotated[AwareDatetime, BeforeValidator(_as_time), AfterValidator(_in_utc)]
EndpointText = Annotated[str, Field(max_length=100, description="The id of an endpoint: we_…")]


class DeliveryPath(Path):
    """The id of a delivery."""

    delivery_id: Id


class DeliveriesQuery(Query):
    """The filter and the size of a page of deliveries."""

    state: State | None = None
    endpoint: EndpointText | None = None
    limit: int = Field(50, ge=1, le=200)
    cursor: Id | None = Field(None, description="next_cursor of the page before")


class SecretBody(Body):
    """The treatment of the old secret."""

    keep_old_secret_active_for_24_hours: bool = Field(
        False, description="true: events are signed with both secrets for a day"
    )


class ReplayBody(Body):
    """The deliveries to send again: those of a time, and of one endpoint or all receivers."""

    since: Time = Field(description="Created at this time or later")
    until: Time = Field(description="Created before this time")
    state: Literal["dead", "delivered"] = "dead"
    endpoint: EndpointText | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> ReplayBody:
        if self.since >= self.until:
            raise ValueError("since must be earlier than until")
        return self

    def range(self) -> Range:
        """The range. Raises InvalidInput."""
        return Range(self.since, self.until, self.state, endpoint_id_of(self.endpoint))


@routes.route_for("get", "/webhook-secret", access="person", limit="reads", answers=(_SECRET,))
def get_webhook_secret(caller: Caller) -> Response:
    """The secret that signs events for the `webhook_url` of your requests. The first request makes it."""
    return respond(WebhookSecret.of(web().resources.webhooks.secret(caller.user.id)))


@routes.route_for("post", "/webhook-secret", access="person", limit="reads", answers=(_SECRET,))
def rotate_own_webhook_secret(caller: Caller, body: SecretBody) -> Response:
    """Get another secret. The old one ends now, or in 24 hours."""
    keep = body.keep_old_secret_active_for_24_hours
    found = web().resources.webhooks.rotate_secret(actor_of(caller), caller.user.id, keep_old=keep)
    return respond(WebhookSecret.of(found))


@routes.route_for(
    "get",
    "/webhook-deliveries",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page, newest first", WebhookDeliveryPage),),
)
def list_webhook_deliveries(caller: Caller, query: DeliveriesQuery) -> Response:
    """Your deliveries with their attempts."""
    wanted = DeliveryFilter(query.state, endpoint_id_of(query.endpoint))
    page = web().resources.webhook_deliveries.page(caller.user.id, wanted, query.limit, query.cursor)
    return respond(WebhookDeliveryPage.of(page))


@routes.route_for(
    "get",
    "/webhook-deliveries/<delivery_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The delivery", WebhookDelivery),),
)
def get_webhook_delivery(caller: Caller, path: DeliveryPath) -> Response:
    """One delivery with its attempts."""
    return respond(WebhookDelivery.of(web().resources.webhook_deliveries.get(caller.user.id, path.delivery_id)))


@routes.route_for(
    "post",
    "/webhook-deliveries/<delivery_id>/replay",
    access="user",
    limit="generations",
    answers=(_WAITS,),
    refusals=(409,),
)
def replay_webhook_delivery(caller: Caller, path: DeliveryPath) -> Response:
    """Send an event again that was delivered or is dead. A delivery that waits is left as it is."""
    shown = web().resources.webhook_deliveries.replay(caller.user.id, path.delivery_id)
    return respond(WebhookDelivery.of(shown), 202)


@routes.route_for(
    "post",
    "/webhook-deliveries/replay",
    access="user",
    limit="generations",
    answers=(Answer(202, "The number of deliveries that wait again", ReplayedDeliveries),),
    refusals=(409,),
)
def replay_webhook_deliveries(caller: Caller, body: ReplayBody) -> Response:
    """Send the events of a time again, the oldest first; up to a thousand by one request."""
    replayed = web().resources.webhook_deliveries.replay_range(caller.user.id, body.range())
    return respond(ReplayedDeliveries.of(replayed), 202)
