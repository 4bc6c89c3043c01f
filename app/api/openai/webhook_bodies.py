"""Requests and replies of webhook endpoints, in OpenAI's form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.api.fields import Title, WebhookUrl
from app.api.openai import ids
from app.api.openai.bodies import OpenAIBody
from app.api.request_parsing import Path, Query
from app.domain.webhook_event import EVENT_TYPES, EventType
from app.services.webhooks import EndpointPage, SecretEndpoint
from app.store.webhook_endpoints import Endpoint, EndpointChange

EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=len(EVENT_TYPES))]


class NewEndpointBody(OpenAIBody):
    """A new endpoint."""

    name: Title
    url: WebhookUrl = Field(description="An https:// address of the public Internet; docs/webhooks.md has the rules")
    event_types: EventTypes

    def given(self) -> EndpointChange:
        """The fields, each type of event once."""
        return EndpointChange(self.name, self.url, tuple(dict.fromkeys(self.event_types)))


class ChangeEndpointBody(OpenAIBody):
    """Fields of an endpoint to change. An endpoint that was switched off is on again."""

    name: Title | None = None
    url: WebhookUrl | None = None
    event_types: EventTypes | None = Field(None, description="All types that it is to receive")

    def given(self) -> EndpointChange:
        """The fields, each type of event once."""
        types = tuple(dict.fromkeys(self.event_types)) if self.event_types is not None else None
        return EndpointChange(self.name, self.url, types)


class RotateSecretBody(OpenAIBody):
    """The treatment of the old secret."""

    keep_old_secret_active_for_24_hours: bool = Field(
        False, description="true: events are signed with both secrets for a day"
    )


class TestEndpointBody(OpenAIBody):
    """The type of the event to send."""

    event_type: EventType


class EndpointPath(Path):
    """The id of an endpoint: we_…"""

    endpoint_id: str

    @property
    def id(self) -> str:
        """The id without its prefix. Raises NotFound."""
        return ids.webhook_endpoint_of(self.endpoint_id)


class EndpointsQuery(Query):
    """A page of a list of endpoints."""

    after: str | None = Field(None, max_length=100, description="The id of the last endpoint of the page before")
    limit: int = Field(20, ge=1, le=100)


class OpenAIWebhookEndpoint(BaseModel):
    """A receiver of events."""

    id: str = Field(examples=["we_0193f5c1d2a47b3e8c9d0e1f2a3b4c5d"])
    object: Literal["webhook_endpoint"]
    name: str
    url: str
    event_types: list[EventType]
    created_at: int
    updated_at: int
    signing_secret_hint: str = Field(description="The end of the secret")
    disabled_reason: str | None = Field(None, description="Present when the endpoint is switched off")

    @staticmethod
    def of(found: Endpoint) -> dict[str, Any]:
        """An endpoint without its secret."""
        return {
            "id": ids.webhook_endpoint(found.id),
            "object": "webhook_endpoint",
            "name": found.name,
            "url": found.url,
            "event_types": list(found.event_types),
            "created_at": int(found.created_at.timestamp()),
            "updated_at": int(found.updated_at.timestamp()),
            "signing_secret_hint": found.secret_hint,
        } | ({"disabled_reason": found.disabled_reason} if found.disabled_reason else {})


class OpenAIWebhookEndpointWithSecret(OpenAIWebhookEndpoint):
    """A receiver of events with its new secret."""

    signing_secret: str = Field(description="Shown here and never again")

    @staticmethod
    def made(made: SecretEndpoint) -> dict[str, Any]:
        """An endpoint with its secret."""
        return {**OpenAIWebhookEndpoint.of(made.endpoint), "signing_secret": made.secret}


class OpenAIWebhookEndpoints(BaseModel):
    """A page of endpoints, newest first."""

    object: Literal["list"]
    data: list[OpenAIWebhookEndpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @staticmethod
    def of(page: EndpointPage) -> dict[str, Any]:
        """A page."""
        shown = [OpenAIWebhookEndpoint.of(one) for one in page.items]
        first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
        return {"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": page.has_more}


class OpenAIWebhookTest(BaseModel):
    """The receiver's response to a test."""

    object: Literal["webhook_endpoint.test"]
    event_type: EventType
    status_code: int
    success: Literal[True] = Field(description="There was a response; status_code says which")
    webhook_endpoint_id: str


class OpenAIWebhookEventTypes(BaseModel):
    """The types of events that this service has."""

    object: Literal["list"]
    data: list[EventType]


ALL: tuple[type[BaseModel], ...] = (
    OpenAIWebhookEndpoint,
    OpenAIWebhookEndpointWithSecret,
    OpenAIWebhookEndpoints,
    OpenAIWebhookTest,
    OpenAIWebhookEventTypes,
)
