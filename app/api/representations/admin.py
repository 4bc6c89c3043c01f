"""Generations as operators see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.api.representations.fields import Id, Json, Status, decimal_text
from app.domain.timeline import Facts, Moment, What, timeline
from app.domain.trace_context import TraceContext
from app.services import admin as services
from app.services.texts import Texts
from app.store.admin_generations import SavedEvents, Watched


class WatchedLatency(BaseModel):
    """Milliseconds since the message was accepted."""

    first_token: int | None
    total: int | None


class WatchedTokens(BaseModel):
    """Tokens of all attempts together."""

    input_tokens: int | None
    output_tokens: int | None


class WatchedGeneration(BaseModel):
    """A generation as an operator sees it, without the texts of its user."""

    id: Id
    user: str = Field(description="The subject of the owner's tokens")
    user_id: Id
    conversation_id: Id
    message_id: Id
    user_message_id: Id
    model: str
    target: str | None = Field(description="The upstream and its own name of the model, called last; null: the first")
    status: Status
    epoch: int
    tries: int
    dispatches: int = Field(description="How often its task was sent since a worker last claimed it")
    worker: str | None = Field(description="The last worker that claimed it")
    lease_seconds: float | None = Field(description="Until its lease ends; below 0 when it has ended")
    stuck: bool
    attempt_log: list[dict[str, Any]]
    error: dict[str, Any] | None
    finish_reason: str | None
    usage: WatchedTokens | None
    cost: str | None = Field(description="At the model's price when it ended")
    currency: str | None
    latency_ms: WatchedLatency
    cancel_requested: bool
    request_id: str | None = Field(description="The X-Request-Id of the request that started it")
    trace_id: str | None = Field(description="The trace of that request")
    celery_id: Id = Field(description="The id of its first task, as Flower shows it")
    created_at: datetime
    started_at: datetime | None
    first_token_at: datetime | None
    last_updated: datetime
    finished_at: datetime | None

    @staticmethod
    def of(row: Watched) -> Json:
        """A generation without any text of its user."""
        return {name: getattr(row, name) for name in _AS_THEY_ARE} | {
            "user": row.subject,
            "attempt_log": row.attempts,
            "cancel_requested": row.cancel_at is not None,
            "usage": row.usage and {name: row.usage.get(name) for name in ("input_tokens", "output_tokens")},
            "cost": None if row.cost is None else decimal_text(row.cost),
            "latency_ms": {
                "first_token": _milliseconds(row.created_at, row.first_token_at),
                "total": _milliseconds(row.created_at, row.finished_at),
            },
            "trace_id": None if (trace := TraceContext.read(row.traceparent)) is None else trace.trace_id,
            "celery_id": row.id,
        }


_AS_THEY_ARE = tuple(name for name in WatchedGeneration.model_fields if name in Watched.__slots__)


class LifeMoment(BaseModel):
    """A moment of a generation's life. The attempt is the number of the call that began, or was under way, then."""

    at: datetime
    what: What
    worker: str | None
    epoch: int
    attempt: int | None
    detail: dict[str, Any] = Field(
        description="Of a takeover the reason and the end of the lease, of a failover the targets and the outcome, of "
        "checkpoints the number of stored events, of the end the status"
    )

    @staticmethod
    def of(moment: Moment) -> Json:
        """A moment."""
        return {name: getattr(moment, name) for name in LifeMoment.model_fields}


class WatchedLife(WatchedGeneration):
    """A generation with its line of life."""

    timeline: list[LifeMoment] = Field(description="Oldest first")
    trace_url: str | None = Field(description="The page of its trace, by TRACE_URL_TEMPLATE")

    @staticmethod
    def life(row: Watched, saved: list[SavedEvents], lease_seconds: float, trace_url: str | None) -> Json:
        """A generation with its line of life. ``trace_url``: the address of a trace, with ``{trace_id}`` in it."""
        shown = WatchedGeneration.of(row)
        address = trace_url and shown["trace_id"] and trace_url.replace("{trace_id}", shown["trace_id"])
        moments = [LifeMoment.of(moment) for moment in timeline(facts_of(row, saved), lease_seconds)]
        return {**shown, "timeline": moments, "trace_url": address or None}


class GenerationText(BaseModel):
    """The texts of a generation."""

    content: str = Field(description="The answer so far")
    reasoning: str
    prompt: str = Field(description="The message that it answers")

    @staticmethod
    def of(texts: Texts) -> Json:
        """The texts."""
        return {name: getattr(texts, name) for name in GenerationText.model_fields}


class WatchedPage(BaseModel):
    """Generations of all users, newest first. A page with a next_cursor may have fewer items than its limit, or none:
    it ends after 5,000 generations that were looked at."""

    items: list[WatchedGeneration]
    next_cursor: str | None

    @staticmethod
    def of(page: services.WatchedPage) -> Json:
        """A page of generations."""
        return {"items": [WatchedGeneration.of(item) for item in page.items], "next_cursor": page.next_cursor}


def facts_of(row: Watched, saved: list[SavedEvents]) -> Facts:
    """The facts of a row that its line of life is made of."""
    return Facts(
        row.created_at,
        row.started_at,
        row.first_token_at,
        row.finished_at,
        row.last_updated,
        row.status,
        row.finish_reason,
        row.error,
        row.worker,
        row.epoch,
        row.moments or [],
        row.attempts,
        {one.epoch: one.events for one in saved},
    )


def _milliseconds(begin: datetime, end: datetime | None) -> int | None:
    return None if end is None else max(0, round((end - begin).total_seconds() * 1000))
