"""The row of a generation that is added: its request, and where the request came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.domain.trace_context import TraceContext
from app.store.database import Tx, as_json, execute


@dataclass(frozen=True, slots=True)
class Origin:
    """The HTTP request that asks for a generation. ``request_hash`` is of its body, for repeats under one key.

    ``trace``: the trace of the request, whose span is the parent of the spans of the answer; None without one.
    """

    idempotency_key: str | None
    request_hash: bytes
    request_id: str | None = None
    key_id: str | None = None
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """A generation to be queued. ``seq`` and ``message_id`` are those of the empty answer."""

    id: str
    user_id: str
    conversation_id: str
    message_id: str
    user_message_id: str
    seq: int
    model: str
    model_version: int
    parameters: dict[str, Any]
    metadata: dict[str, Any]
    origin: Origin
    webhook_url: str | None = None


def add(tx: Tx, new: NewGeneration, sweep_delay: float) -> None:
    """Add a queued generation. The sweeper leaves it alone for ``sweep_delay`` seconds: a doorbell is sent for it."""
    execute(
        tx,
        """INSERT INTO generations (id, user_id, conversation_id, message_id, user_message_id, seq, model,
               model_version, parameters, metadata, idempotency_key, request_hash, next_dispatch_at, request_id, key_id,
               traceparent, tracestate, webhook_url)
           VALUES (:id, :user_id, :conversation_id, :message_id, :user_message_id, :seq, :model, :model_version,
               :parameters, :metadata, :idempotency_key, :request_hash, now() + make_interval(secs => :sweep_delay),
               :request_id, :key_id, :traceparent, :tracestate, :webhook_url)""",
        id=new.id,
        user_id=new.user_id,
        conversation_id=new.conversation_id,
        message_id=new.message_id,
        user_message_id=new.user_message_id,
        seq=new.seq,
        model=new.model,
        model_version=new.model_version,
        parameters=as_json(new.parameters),
        metadata=as_json(new.metadata),
        idempotency_key=new.origin.idempotency_key,
        request_hash=new.origin.request_hash,
        request_id=new.origin.request_id,
        key_id=new.origin.key_id,
        traceparent=new.origin.trace.parent if new.origin.trace else None,
        tracestate=new.origin.trace.state if new.origin.trace else None,
        webhook_url=new.webhook_url,
        sweep_delay=sweep_delay,
    )
