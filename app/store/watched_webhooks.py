"""Deliveries to webhooks as operators see them: no body, no secret, no path of an address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Tx, fetch
from app.store.webhook_deliveries import State


@dataclass(frozen=True, slots=True)
class WatchedDelivery:
    """A delivery with its user. ``url``: scheme and server. The fields ``last_…`` are of its newest attempt."""

    id: str
    user_id: str
    subject: str
    event_id: str
    event_type: str
    endpoint_id: str | None
    url: str
    generation_id: str | None
    request_id: str | None
    is_test: bool
    state: State
    reason: str | None
    attempt_count: int
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter of deliveries; fields that are None do not filter. ``user`` is a subject or an id."""

    id: str | None = None
    state: State | None = None
    user: str | None = None
    endpoint_id: str | None = None
    before: str | None = None


def page(tx: Tx, wanted: Wanted, limit: int) -> list[WatchedDelivery]:
    """Up to ``limit`` deliveries of all users, newest first. For transactions of an operator."""
    rows = fetch(
        tx,
        """SELECT * FROM watched_webhook_deliveries(CAST(:id AS uuid), CAST(:state AS text), CAST(:user AS text),
               CAST(:endpoint AS uuid), CAST(:before AS uuid), :most)""",
        id=wanted.id,
        state=wanted.state,
        user=wanted.user,
        endpoint=wanted.endpoint_id,
        before=wanted.before,
        most=limit,
    )
    return [WatchedDelivery(**row._mapping) for row in rows]
