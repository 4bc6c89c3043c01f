"""Routes for webhook endpoints, as OpenAI has them."""

from __future__ import annotations

from flask import Response

from app.api import streams
from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.json_response import respond
from app.api.openai import ids, shapes
from app.api.openai import webhook_bodies as bodies
from app.api.openai.webhook_test import TestWait
from app.api.routing import Answer, Routes
from app.api.waiting import respond_after
from app.api.web_process import web
from app.domain.webhook_event import EVENT_TYPES

routes = Routes("openai_webhooks", __name__, "/v1", "OpenAI-compatible: receivers of events", refusal="OpenAIError")

_ENDPOINT = Answer(200, "The endpoint", bodies.OpenAIWebhookEndpoint)
_WITH_SECRET = Answer(200, "The endpoint with its secret", bodies.OpenAIWebhookEndpointWithSecret)


@routes.route_for("post", "/webhook_endpoints", access="user", limit="reads", answers=(_WITH_SECRET,), refusals=(409,))
def create_webhook_endpoint(caller: Caller, body: bodies.NewEndpointBody) -> Response:
    """Create an endpoint. The reply has the secret that signs its events, once."""
    made = web().resources.webhooks.create(actor_of(caller), caller.user.id, body.given())
    return respond(bodies.OpenAIWebhookEndpointWithSecret.made(made))


@routes.route_for(
    "get",
    "/webhook_endpoints",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page, newest first", bodies.OpenAIWebhookEndpoints),),
    refusals=(404,),
)
def list_webhook_endpoints(caller: Caller, query: bodies.EndpointsQuery) -> Response:
    """List the endpoints of the user."""
    before = ids.webhook_endpoint_of(query.after) if query.after is not None else None
    return respond(bodies.OpenAIWebhookEndpoints.of(web().resources.webhooks.page(caller.user.id, query.limit, before)))


@routes.route_for("get", "/webhook_endpoints/<endpoint_id>", access="user", limit="reads", answers=(_ENDPOINT,))
def get_webhook_endpoint(caller: Caller, path: bodies.EndpointPath) -> Response:
    """Get an endpoint."""
    return respond(bodies.OpenAIWebhookEndpoint.of(web().resources.webhooks.get(caller.user.id, path.id)))


@routes.route_for("post", "/webhook_endpoints/<endpoint_id>", access="user", limit="reads", answers=(_ENDPOINT,))
def change_webhook_endpoint(caller: Caller, path: bodies.EndpointPath, body: bodies.ChangeEndpointBody) -> Response:
    """Change an endpoint. Deliveries that wait for it go to its new address."""
    changed = web().resources.webhooks.change(actor_of(caller), caller.user.id, path.id, body.given())
    return respond(bodies.OpenAIWebhookEndpoint.of(changed))


@routes.route_for(
    "delete",
    "/webhook_endpoints/<endpoint_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The endpoint is deleted", shapes.OpenAIDeleted),),
)
def delete_webhook_endpoint(caller: Caller, path: bodies.EndpointPath) -> Response:
    """Delete an endpoint. Deliveries that wait for it are not sent."""
    web().resources.webhooks.delete(actor_of(caller), caller.user.id, path.id)
    shown = ids.webhook_endpoint(path.id)
    return respond({"id": shown, "object": "webhook_endpoint.deleted", "deleted": True})


@routes.route_for(
    "post", "/webhook_endpoints/<endpoint_id>/rotate_secret", access="user", limit="reads", answers=(_WITH_SECRET,)
)
def rotate_webhook_secret(caller: Caller, path: bodies.EndpointPath, body: bodies.RotateSecretBody) -> Response:
    """Give an endpoint a new secret. The old one ends now, or in 24 hours."""
    keep = body.keep_old_secret_active_for_24_hours
    made = web().resources.webhooks.rotate(actor_of(caller), caller.user.id, path.id, keep_old=keep)
    return respond(bodies.OpenAIWebhookEndpointWithSecret.made(made))


@routes.route_for(
    "post",
    "/webhook_endpoints/<endpoint_id>/test",
    access="user",
    limit="generations",
    answers=(Answer(200, "The receiver's response", bodies.OpenAIWebhookTest),),
    refusals=(409, 502, 504),
)
def test_webhook_endpoint(caller: Caller, path: bodies.EndpointPath, body: bodies.TestEndpointBody) -> Response:
    """Send an event about a response that does not exist, once. The request waits for the receiver without a thread."""
    process, endpoint_id = web(), path.id
    # A user who may not test is refused before anything is stored.
    process.resources.webhooks.get(caller.user.id, endpoint_id)
    process.resources.webhook_deliveries.check_room(caller.user.id)
    with streams.place_for(process, caller) as place:
        wait = TestWait(process, caller, place, endpoint_id, body.event_type)
        return respond_after(wait, wait.finish, wait.end)


@routes.route_for(
    "get",
    "/webhook_event_types",
    access="user",
    limit="reads",
    answers=(Answer(200, "The types", bodies.OpenAIWebhookEventTypes),),
)
def list_webhook_event_types(caller: Caller) -> Response:
    """List the types of events."""
    return respond({"object": "list", "data": list(EVENT_TYPES)})
