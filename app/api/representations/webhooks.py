"""Deliveries to webhooks and their attempts, and the secret for the ``webhook_url`` of requests."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.api.openai import ids
from app.api.representations.fields import Id, Json
from app.services.webhook_deliveries import DeliveryPage, Replayed, ShownDelivery
from app.services.webhook_watch import WatchedPage
from app.store.watched_webhooks import WatchedDelivery as StoredDelivery
from app.store.webhook_endpoints import UserSecret


class WebhookSecret(BaseModel):
    """The secret that signs the events for the `webhook_url` of your requests."""

    secret: str = Field(description="`whsec_` and base64, as Standard Webhooks has it")
    updated_at: datetime
    previous_until: datetime | None = Field(description="The end of the old secret, which signs, too, until then")

    @staticmethod
    def of(found: UserSecret) -> Json:
        """A secret."""
        return asdict(found)


class WebhookAttempt(BaseModel):
    """One request to a receiver."""

    n: int
    at: datetime
    status: int | None = Field(description="Of the response; null without one")
    latency_ms: int
    error: str | None = Field(description="The reason why there was no response")
    excerpt: str = Field(description="The first bytes of the response's body")


class WebhookDelivery(BaseModel):
    """One event for one receiver."""

    id: Id
    event_id: str = Field(description="The header webhook-id of each attempt", examples=["evt_0193f5c1d2a4"])
    event_type: str
    endpoint_id: str | None = Field(description="null: the receiver is the webhook_url of a request")
    url: str
    generation_id: Id | None
    is_test: bool
    state: Literal["waiting", "delivered", "dead"]
    reason: str | None = Field(description="Of a dead delivery, such as attempts_exhausted or too_many_waiting")
    attempt_count: int
    attempts: list[WebhookAttempt] = Field(description="The newest 20, oldest first")
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None

    @staticmethod
    def of(shown: ShownDelivery) -> Json:
        """A delivery with its attempts."""
        found = asdict(shown.delivery)
        endpoint = found["endpoint_id"]
        return {
            **found,
            "endpoint_id": ids.webhook_endpoint(endpoint) if endpoint else None,
            "attempt_count": found["attempts"],
            "attempts": [asdict(one) for one in shown.attempts],
        }


class WebhookDeliveryPage(BaseModel):
    """Deliveries, newest first."""

    items: list[WebhookDelivery]
    next_cursor: Id | None

    @staticmethod
    def of(page: DeliveryPage) -> Json:
        """A page."""
        return {"items": [WebhookDelivery.of(one) for one in page.items], "next_cursor": page.next_cursor}


class ReplayedDeliveries(BaseModel):
    """The number of deliveries that wait again."""

    replayed: int
    has_more: bool = Field(description="true: the range may have more; send the request again")

    @staticmethod
    def of(found: Replayed) -> Json:
        """The outcome."""
        return {"replayed": found.count, "has_more": found.has_more}


class WatchedDelivery(BaseModel):
    """A delivery without its body. `url` has the scheme and the server alone: a path can be a secret."""

    id: Id
    user_id: Id
    subject: str
    event_id: str
    event_type: str
    endpoint_id: str | None
    url: str
    generation_id: Id | None
    request_id: str | None
    is_test: bool
    state: Literal["waiting", "delivered", "dead"]
    reason: str | None
    attempt_count: int
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None

    @staticmethod
    def of(found: StoredDelivery) -> Json:
        """A delivery."""
        endpoint = found.endpoint_id
        return {**asdict(found), "endpoint_id": ids.webhook_endpoint(endpoint) if endpoint else None}


class WatchedDeliveryPage(BaseModel):
    """Deliveries of all users, newest first."""

    items: list[WatchedDelivery]
    next_cursor: Id | None

    @staticmethod
    def of(page: WatchedPage) -> Json:
        """A page."""
        return {"items": [WatchedDelivery.of(one) for one in page.items], "next_cursor": page.next_cursor}
