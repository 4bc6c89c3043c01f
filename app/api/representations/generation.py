"""A generation, its events and the first frame of its stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, Field

from app.api.representations.conversation import Conversation
from app.api.representations.fields import Cost, CursorText, Id, Json, Status, ToolCall, decimal_text
from app.api.representations.message import Message
from app.domain.cursor import START, Cursor
from app.domain.events import Entry
from app.domain.waiting import Reason, Waiting
from app.services import generation_start
from app.services.generations import GenerationView
from app.store import generations
from app.store.generations import Standing


class Latency(BaseModel):
    """Milliseconds since the message was accepted."""

    first_token: int | None
    total: int | None

    @staticmethod
    def of(row: generations.Generation) -> dict[str, int | None]:
        """Null until the first token and until the end."""
        return {
            "first_token": _milliseconds(row.created_at, row.first_token_at),
            "total": _milliseconds(row.created_at, row.finished_at),
        }


class Wait(BaseModel):
    """The reason for which an unfinished answer has nothing new to show."""

    reason: Reason = Field(
        description="`conversation`: an earlier answer of it is not finished. `own_limit`: as many answers of the user "
        "run as one user may have. `queue`: all slots are taken. `retry`, `failover`: the provider failed, and it or "
        "another one is called. `worker`: the worker does not respond, and another one takes over"
    )
    until: datetime | None = Field(description="When the next attempt begins, or the lease of the worker ends")
    error: str | None = Field(description="The code of the failure before a `retry`")
    attempt: int | None = Field(description="The number of the call that follows the failure")

    @staticmethod
    def of(waiting: Waiting | None) -> Json | None:
        """Null while the model is at work, and at the end."""
        return None if waiting is None else asdict(waiting)


class Generation(BaseModel):
    """A generation: one run of a model that makes one answer."""

    id: Id
    conversation_id: Id
    message_id: Id = Field(description="The answer's message")
    user_message_id: Id
    model: str
    status: Status
    cursor: CursorText = Field(description="The position that content belongs to")
    epoch: int
    content: str
    reasoning: str
    tools: list[ToolCall]
    queue_position: int | None = Field(description="1 is the next; null when it does not wait")
    waiting: Wait | None = Field(description="Null while the model is at work, and at the end")
    attempts: int
    attempt_log: list[dict[str, Any]]
    finish_reason: str | None
    error: dict[str, Any] | None
    usage: dict[str, Any] | None = Field(description="input_tokens, output_tokens, and what else the provider counts")
    cost: Cost | None = Field(description="At the model's price when it ended")
    latency_ms: Latency
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    last_updated: datetime
    finished_at: datetime | None
    sha256: str | None = Field(description="Of the finished content as UTF-8, in hex")

    @staticmethod
    def of(view: GenerationView) -> Json:
        """A generation with its content so far."""
        row = view.row
        return {
            "id": row.id,
            "conversation_id": row.conversation_id,
            "message_id": row.message_id,
            "user_message_id": row.user_message_id,
            "model": row.model,
            "status": row.status,
            "cursor": str(view.cursor),
            "epoch": row.epoch,
            "content": view.content,
            "reasoning": view.reasoning,
            "tools": view.tools,
            "queue_position": view.queue_position,
            "waiting": Wait.of(view.waiting),
            "attempts": max(row.tries, len(row.attempts)),
            "attempt_log": row.attempts,
            "finish_reason": row.finish_reason,
            "error": row.error,
            "usage": row.usage,
            "cost": None if row.cost is None else {"cost": decimal_text(row.cost), "currency": row.currency},
            "latency_ms": Latency.of(row),
            "metadata": row.metadata,
            "created_at": row.created_at,
            "started_at": row.started_at,
            "last_updated": row.last_updated,
            "finished_at": row.finished_at,
            "sha256": row.sha256,
        }


class PolledGeneration(Generation):
    """A generation, with the events after the position `after` when that was given."""

    events: list[dict[str, Any]] = Field(default=[], description="Each the stream's JSON object, with its id")

    @staticmethod
    def with_events(view: GenerationView, entries: Iterable[Entry]) -> Json:
        """A generation and the events of its log that a poll returns."""
        events = [{"id": str(cursor), **orjson.loads(payload)} for cursor, payload in entries]
        return Generation.of(view) | {"events": events}


class Started(BaseModel):
    """The conversation, the message and the generation of a request that starts a generation."""

    conversation: Conversation
    message: Message
    generation: Generation

    @staticmethod
    def of(begun: generation_start.Started, view: GenerationView) -> Json:
        """The objects that a sent message created, or led to earlier."""
        return {
            "conversation": Conversation.of(begun.conversation),
            "message": Message.of(begun.message),
            "generation": Generation.of(view),
        }


def fresh(row: generations.Generation, queue_position: int | None = None) -> GenerationView:
    """A generation that no worker has claimed."""
    return GenerationView(row, START, "", "", [], queue_position)


def stream_opening(row: Standing, after: Cursor, *, conversation_created: bool) -> Json:
    """The first frame of every stream."""
    return {
        "type": "open",
        "generation_id": row.id,
        "conversation_id": row.conversation_id,
        "message_id": row.message_id,
        "user_message_id": row.user_message_id,
        "conversation_created": conversation_created,
        "status": row.status,
        "after": str(after),
    }


def _milliseconds(begin: datetime, end: datetime | None) -> int | None:
    return None if end is None else max(0, round((end - begin).total_seconds() * 1000))
