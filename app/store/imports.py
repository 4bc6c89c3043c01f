"""Conversations that were held already: how big they are, and adding one whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson

from app.store import feed
from app.store.database import Tx, as_json, execute, fetch, fetch_one, mine

# Characters in one statement: the text is parsed for the search, and a statement has 5 s.
BATCH_CHARS = 500_000
BATCH_MESSAGES = 500


@dataclass(frozen=True, slots=True)
class Place:
    """A message's place in its conversation. ``size`` is its approximate size in bytes."""

    id: str
    parent_id: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Past:
    """An imported message with all its fields."""

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
    feedback: dict[str, Any] | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PastConversation:
    """The row of an imported conversation. ``import_hash`` is the hash of the request that was sent with its key."""

    id: str
    user_id: str
    first_message_id: str
    title: str | None
    model: str | None
    metadata: dict[str, Any]
    preview: str
    message_count: int
    created_at: datetime
    archived_at: datetime | None
    pinned: bool
    tags: list[str]
    system_prompt: str | None
    parameters: dict[str, Any]
    last_message_at: datetime
    import_key: str | None
    import_hash: bytes | None


def outline(tx: Tx, conversation_id: str) -> list[Place]:
    """The places of all messages of a conversation, in order."""
    rows = fetch(
        tx,
        f"""SELECT id, parent_id, octet_length(content) + octet_length(reasoning)
               + octet_length(tools::text) + coalesce(octet_length(items::text), 0) AS size
           FROM messages WHERE conversation_id = :id AND {mine()} ORDER BY seq""",
        id=conversation_id,
    )
    return [Place(row.id, row.parent_id, row.size) for row in rows]


def by_key(tx: Tx, key: str) -> tuple[str, bytes] | None:
    """The conversation that was imported under a key, with the hash of that request."""
    sql = f"SELECT id, import_hash FROM conversations WHERE import_key = :key AND {mine()}"
    row = fetch_one(tx, sql, key=key)
    return (row.id, bytes(row.import_hash)) if row else None


def add(tx: Tx, conversation: PastConversation, messages: Iterable[Past]) -> None:
    """Add a conversation with its messages, each behind its parent. To the feeds it is one new message: the last.

    A batch of the messages is held at a time.
    """
    execute(
        tx,
        """INSERT INTO conversations (id, user_id, first_message_id, title, model, metadata, preview, message_seq,
               history_version, created_at, archived_at, pinned, tags, system_prompt, parameters, last_message_at,
               import_key, import_hash)
           VALUES (:id, :user_id, :first_message_id, :title, :model, :metadata, :preview, :message_count, 1,
               :created_at, :archived_at, :pinned, :tags, :system_prompt, :parameters, :last_message_at,
               :import_key, :import_hash)""",
        **{
            **asdict(conversation),
            **{name: as_json(getattr(conversation, name)) for name in ("metadata", "parameters")},
        },
    )
    last_id = conversation.first_message_id
    for batch in _batches(messages):
        execute(
            tx,
            """INSERT INTO messages (id, conversation_id, user_id, parent_id, seq, role, status, content, reasoning,
                   tools, model, client_msg_id, usage, metadata, items, feedback, created_at)
               SELECT id, :conversation_id, :user_id, parent_id, seq, role, status, content, reasoning, tools, model,
                   client_msg_id, nullif(usage, 'null'), metadata, nullif(items, 'null'),
                   nullif(feedback, 'null'), created_at
               FROM jsonb_to_recordset(:messages) AS given(id uuid, parent_id uuid, seq integer, role text, status text,
                   content text, reasoning text, tools jsonb, model text, client_msg_id text, usage jsonb,
                   metadata jsonb, items jsonb, feedback jsonb, created_at timestamptz)
               ORDER BY seq""",
            conversation_id=conversation.id,
            user_id=conversation.user_id,
            messages=as_json([{**asdict(m), "created_at": m.created_at.isoformat()} for m in batch]),
        )
        last_id = batch[-1].id
    feed.record(tx, conversation.id, "message.new", last_id)


def _batches(messages: Iterable[Past]) -> Iterator[list[Past]]:
    """The messages in groups of one statement's worth. A group is emptied before the next message is read."""
    batch: list[Past] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += len(message.content) + len(message.reasoning) + len(orjson.dumps([message.tools, message.items]))
        del message
        if size >= BATCH_CHARS or len(batch) == BATCH_MESSAGES:
            yield batch
            batch.clear()
            size = 0
    if batch:
        yield batch
