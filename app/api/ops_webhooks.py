"""Routes of operators for webhooks: the deliveries of all users. Administrators also send one again."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.json_response import respond
from app.api.ops import WhyBody
from app.api.representations.webhooks import WatchedDelivery, WatchedDeliveryPage
from app.api.request_parsing import Text
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.api.webhooks import DeliveriesQuery, DeliveryPath, endpoint_id_of
from app.store.watched_webhooks import Wanted

routes = Routes("ops_webhooks", __name__, "/api/v1/ops", "For operators: deliveries to webhooks, without their bodies")


class WatchedDeliveriesQuery(DeliveriesQuery):
    """The filter and the size of a page; without a filter it has all deliveries."""

    user: Text | None = Field(None, max_length=255, description="The subject of a user's tokens, or the user's id")


@routes.route_for(
    "get",
    "/webhook-deliveries",
    access="operator",
    limit="reads",
    answers=(Answer(200, "A page, newest first", WatchedDeliveryPage),),
)
def list_everybodys_webhook_deliveries(query: WatchedDeliveriesQuery) -> Response:
    """Deliveries of all users, newest first."""
    wanted = Wanted(None, query.state, query.user, endpoint_id_of(query.endpoint), query.cursor)
    return respond(WatchedDeliveryPage.of(web().resources.webhook_watch.page(wanted, query.limit)))


@routes.route_for(
    "post",
    "/webhook-deliveries/<delivery_id>/replay",
    access="admin",
    limit="reads",
    answers=(Answer(202, "The delivery, which waits again", WatchedDelivery),),
    refusals=(409,),
)
def replay_anybodys_webhook_delivery(caller: Caller, path: DeliveryPath, body: WhyBody) -> Response:
    """Send an event of any user again, as its owner would."""
    replayed = web().resources.webhook_watch.replay(actor_of(caller), path.delivery_id, body.reason)
    return respond(WatchedDelivery.of(replayed), 202)
