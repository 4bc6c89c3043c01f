"""Conversations that were held already: how big they are, and adding one whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from app.store import feed
from app.store.conversations import PREVIEW_CHARS
from app.store.database import Tx, as_json, execute, fetch, fetch_one

# One statement's worth, in characters: what is searched has to be read, and a statement may take seconds.
BATCH_CHARS = 500_000
BATCH_MESSAGES = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands. ``size`` is about how many bytes it has."""

    id: str
    parent_id: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Past:
    """A message with everything it had."""

    id: str
    parent_id: str | None
    seq: int
    role: str
    status: str
    content: str
    reasoning: str
    tools: list[Any]
    model: str | None
    client_msg_id: str | None
    usage: dict[str, Any] | None
    metadata: dict[str, Any]
    items: list[Any] | None
    created_at: datetime


def outline(tx: Tx, conversation_id: str) -> list[Place]:
    """The places of all messages of a conversation, in order."""
    rows = fetch(
        tx,
        """SELECT id, parent_id, octet_length(content) + octet_length(reasoning) + pg_column_size(tools)
               + coalesce(pg_column_size(items), 0) AS size
           FROM messages WHERE conversation_id = :id ORDER BY seq""",
        id=conversation_id,
    )
    return [Place(row.id, row.parent_id, row.size) for row in rows]


def by_key(tx: Tx, key: str) -> tuple[str, bytes] | None:
    """The conversation that was brought in under a key, with the hash of the request that did it."""
    row = fetch_one(tx, "SELECT id, import_hash FROM conversations WHERE import_key = :key", key=key)
    return (row.id, bytes(row.import_hash)) if row else None


def add(
    tx: Tx,
    *,
    conversation_id: str,
    user_id: str,
    title: str | None,
    model: str | None,
    metadata: dict[str, Any],
    created_at: datetime,
    archived_at: datetime | None,
    messages: Sequence[Past],
    import_key: str | None,
    import_hash: bytes,
) -> None:
    """Add a conversation with its messages, each behind its parent. To the feeds it is one new message: the last."""
    execute(
        tx,
        """INSERT INTO conversations (id, user_id, first_message_id, title, model, metadata, preview, message_seq,
               history_version, created_at, archived_at, last_message_at, import_key, import_hash)
           VALUES (:id, :user_id, :first, :title, :model, :metadata, :preview, :count, 1, :created_at, :archived_at,
               :last_message_at, :import_key, :import_hash)""",
        id=conversation_id,
        user_id=user_id,
        first=messages[0].id,
        title=title,
        model=model,
        metadata=as_json(metadata),
        preview=next((m.content for m in reversed(messages) if m.content), "")[:PREVIEW_CHARS],
        count=len(messages),
        created_at=created_at,
        archived_at=archived_at,
        last_message_at=max(message.created_at for message in messages),
        import_key=import_key,
        import_hash=import_hash if import_key else None,
    )
    for batch in _batches(messages):
        execute(
            tx,
            """INSERT INTO messages (id, conversation_id, user_id, parent_id, seq, role, status, content, reasoning,
                   tools, model, client_msg_id, usage, metadata, items, created_at)
               SELECT id, :conversation_id, :user_id, parent_id, seq, role, status, content, reasoning, tools, model,
                   client_msg_id, nullif(usage, 'null'), metadata, nullif(items, 'null'), created_at
               FROM jsonb_to_recordset(:messages) AS given(id uuid, parent_id uuid, seq integer, role text, status text,
                   content text, reasoning text, tools jsonb, model text, client_msg_id text, usage jsonb,
                   metadata jsonb, items jsonb, created_at timestamptz)
               ORDER BY seq""",
            conversation_id=conversation_id,
            user_id=user_id,
            messages=as_json([{**asdict(m), "created_at": m.created_at.isoformat()} for m in batch]),
        )
    feed.record(tx, conversation_id, "message.new", messages[-1].id)


def _batches(messages: Sequence[Past]) -> Iterator[list[Past]]:
    batch: list[Past] = []
    size = 0
    for message in messages:
        if batch and (size + len(message.content) > BATCH_CHARS or len(batch) == BATCH_MESSAGES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.content)
    yield batch
