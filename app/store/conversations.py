"""Conversations and their messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.commands import ChangeConversation
from app.store import feed
from app.store.database import Tx, as_json, execute, fetch, fetch_one

PREVIEW_CHARS = 120
# The messages of a user whose feed has not come so far are looked through by searches, and not in the index of words.
INDEXED_FROM = 2000


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as a list shows it."""

    id: str
    title: str | None
    model: str | None
    preview: str
    metadata: dict[str, Any]
    archived_at: datetime | None
    has_active_generation: bool
    created_at: datetime
    last_message_at: datetime
    last_updated: datetime
    feed_seq: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``generation_id`` is set on answers.

    ``items`` is what it consists of where its text does not say it all, in the form of OpenAI's Responses API.
    """

    id: str
    conversation_id: str
    parent_id: str | None
    seq: int
    role: str
    status: str
    content: str
    reasoning: str
    tools: list[Any]
    model: str | None
    client_msg_id: str | None
    generation_id: str | None
    usage: dict[str, Any] | None
    metadata: dict[str, Any]
    created_at: datetime
    last_updated: datetime
    items: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class Untitled:
    """A conversation without a title, and what was said first in it. ``by_program``: over an API for programs."""

    conversation_id: str
    message: str
    by_program: bool


_CONVERSATION = """
    c.id, c.title, c.model, c.preview, c.metadata, c.archived_at, c.created_at, c.last_message_at, c.last_updated,
    c.feed_seq,
    EXISTS (SELECT FROM generations g WHERE g.conversation_id = c.id AND g.status IN ('queued', 'running'))
        AS has_active_generation
"""
_MESSAGE = """
    m.id, m.conversation_id, m.parent_id, m.seq, m.role, m.status, m.content, m.reasoning, m.tools, m.model,
    m.client_msg_id, g.id AS generation_id, m.usage, m.metadata, m.created_at, m.last_updated, m.items
"""


def add(
    tx: Tx,
    *,
    conversation_id: str,
    user_id: str,
    first_message_id: str,
    count: int,
    model: str | None,
    preview: str,
    metadata: dict[str, Any],
) -> tuple[int, int]:
    """Add a conversation and reserve the first ``count`` numbers, as ``take_numbers`` does.

    Its first message must be added in the same transaction.
    """
    version = min(count, 1)
    execute(
        tx,
        """INSERT INTO conversations (id, user_id, first_message_id, message_seq, history_version, model, preview,
               metadata, last_message_at)
           VALUES (:id, :user_id, :first_message_id, :count, :version, :model, :preview,
               :metadata, clock_timestamp())""",
        id=conversation_id,
        user_id=user_id,
        first_message_id=first_message_id,
        count=count,
        version=version,
        model=model,
        preview=preview[:PREVIEW_CHARS],
        metadata=as_json(metadata),
    )
    return 1, version


def lock(tx: Tx, conversation_id: str) -> Any | None:
    """Hold a conversation until the transaction ends: id and model, or None. Who adds messages holds it."""
    return fetch_one(tx, "SELECT id, model FROM conversations WHERE id = :id FOR UPDATE", id=conversation_id)


def take_numbers(tx: Tx, conversation_id: str, count: int, preview: str | None) -> tuple[int, int]:
    """Reserve ``count`` consecutive message numbers: the first of them, and the new history version."""
    row = fetch_one(
        tx,
        """UPDATE conversations SET message_seq = message_seq + :count, history_version = history_version + 1,
               preview = coalesce(:preview, preview), last_message_at = clock_timestamp()
           WHERE id = :id
           RETURNING message_seq - :count + 1 AS first, history_version AS version""",
        id=conversation_id,
        count=count,
        preview=preview[:PREVIEW_CHARS] if preview is not None else None,
    )
    assert row is not None, "the conversation is locked by this transaction"
    return int(row.first), int(row.version)


def settle(tx: Tx, conversation_id: str, preview: str) -> int:
    """An answer reached its end: show its beginning in the list. The conversation's new history version."""
    row = fetch_one(
        tx,
        """UPDATE conversations SET history_version = history_version + 1, last_message_at = clock_timestamp(),
               preview = CASE WHEN :preview = '' THEN preview ELSE :preview END
           WHERE id = :id RETURNING history_version AS version""",
        id=conversation_id,
        preview=preview[:PREVIEW_CHARS],
    )
    assert row is not None, "a generation's conversation exists"
    return int(row.version)


def history_version(tx: Tx, conversation_id: str) -> int:
    """Counts every change of a conversation's messages."""
    row = fetch_one(tx, "SELECT history_version FROM conversations WHERE id = :id", id=conversation_id)
    return int(row.history_version) if row else 0


def get(tx: Tx, conversation_id: str) -> Conversation | None:
    """One conversation."""
    row = fetch_one(tx, f"SELECT {_CONVERSATION} FROM conversations c WHERE c.id = :id", id=conversation_id)
    return Conversation(**row._mapping) if row else None


def active(tx: Tx, user_id: str, model: str | None) -> Conversation | None:
    """The conversation a user is in with a model, or in general: the one that was last written to and not archived."""
    row = fetch_one(
        tx,
        f"""SELECT {_CONVERSATION} FROM conversations c
            WHERE c.user_id = :user_id AND c.archived_at IS NULL
              AND c.model {"= :model" if model is not None else "IS NULL"}
            ORDER BY c.last_message_at DESC, c.id DESC LIMIT 1""",
        user_id=user_id,
        **({"model": model} if model is not None else {}),
    )
    return Conversation(**row._mapping) if row else None


def page(
    tx: Tx,
    *,
    user_id: str,
    limit: int,
    before: tuple[datetime, str] | None,
    model: str | None,
    archived: bool,
) -> list[Conversation]:
    """Up to ``limit`` conversations, newest first, older than ``before`` (last_message_at, id)."""
    rows = fetch(
        tx,
        f"""SELECT {_CONVERSATION} FROM conversations c
            WHERE c.user_id = :user_id AND c.archived_at IS {"NOT NULL" if archived else "NULL"}
              {"AND c.model = :model" if model is not None else ""}
              {"AND (c.last_message_at, c.id) < (:at, :id)" if before else ""}
            ORDER BY c.last_message_at DESC, c.id DESC LIMIT :limit""",
        user_id=user_id,
        limit=limit,
        **({"model": model} if model is not None else {}),
        **({"at": before[0], "id": before[1]} if before else {}),
    )
    return [Conversation(**row._mapping) for row in rows]


def change(tx: Tx, conversation_id: str, command: ChangeConversation) -> bool:
    """Apply a change; whether there was a conversation to change."""
    sets = ["id = id"]
    values: dict[str, Any] = {}
    for name in ("title", "model"):
        if (value := getattr(command, name)) is not None or name in command.clear:
            sets.append(f"{name} = :{name}")
            values[name] = value
    if command.archived is not None:
        sets.append("archived_at = " + ("coalesce(archived_at, now())" if command.archived else "NULL"))
    sql = f"UPDATE conversations SET {', '.join(sets)} WHERE id = :id"
    found = execute(tx, sql, id=conversation_id, **values) == 1
    if len(sets) > 1:
        feed.record(tx, conversation_id, "conversation.updated")
    return found


def untitled(tx: Tx, generation_id: str) -> Untitled | None:
    """The conversation of a generation, if it has no title yet and somebody said something in it."""
    row = fetch_one(
        tx,
        """SELECT c.id AS conversation_id, said.content AS message,
               EXISTS (SELECT FROM responses r WHERE r.generation_id = g.id) AS by_program
           FROM generations g JOIN conversations c ON c.id = g.conversation_id AND c.title IS NULL
           CROSS JOIN LATERAL (
               SELECT m.content FROM messages m
               WHERE m.conversation_id = c.id AND m.role = 'user' AND m.content <> '' ORDER BY m.seq LIMIT 1
           ) said
           WHERE g.id = :id""",
        id=generation_id,
    )
    return Untitled(**row._mapping) if row else None


def entitle(tx: Tx, conversation_id: str, title: str) -> bool:
    """Give a conversation a title, unless it has one; whether it had none."""
    sql = "UPDATE conversations SET title = :title WHERE id = :id AND title IS NULL"
    entitled = execute(tx, sql, id=conversation_id, title=title) == 1
    if entitled:
        feed.record(tx, conversation_id, "conversation.updated")
    return entitled


def delete(tx: Tx, conversation_id: str) -> bool:
    """Delete a conversation with everything in it; whether it was there. That it was deleted is kept in the feed."""
    feed.record_deletion(tx, conversation_id)
    return execute(tx, "DELETE FROM conversations WHERE id = :id", id=conversation_id) == 1


def add_message(
    tx: Tx,
    *,
    message_id: str,
    conversation_id: str,
    user_id: str,
    parent_id: str | None,
    seq: int,
    role: str,
    status: str,
    content: str = "",
    model: str | None = None,
    client_msg_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    items: list[Any] | None = None,
) -> None:
    """Add a message under a number taken before.

    Each of them has a number of the user's feed, so that those that are not indexed stay few.
    """
    execute(
        tx,
        """INSERT INTO messages (id, conversation_id, user_id, parent_id, seq, role, status, content, model,
               client_msg_id, metadata, items, indexed)
           VALUES (:id, :conversation_id, :user_id, :parent_id, :seq, :role, :status, :content, :model,
               :client_msg_id, :metadata, :items,
               coalesce((SELECT f.seq >= :indexed_from FROM feeds f WHERE f.user_id = :user_id), false))""",
        id=message_id,
        conversation_id=conversation_id,
        user_id=user_id,
        parent_id=parent_id,
        seq=seq,
        role=role,
        status=status,
        content=content,
        model=model,
        client_msg_id=client_msg_id,
        metadata=as_json(metadata or {}),
        items=as_json(items) if items is not None else None,
        indexed_from=INDEXED_FROM,
    )
    feed.record(tx, conversation_id, "message.new", message_id)


def settle_message(
    tx: Tx,
    message_id: str,
    *,
    status: str,
    content: str,
    reasoning: str,
    tools: list[Any],
    usage: dict[str, Any] | None,
) -> None:
    """Write an answer's text, once, at its end. Who does it holds the conversation."""
    row = fetch_one(
        tx,
        """UPDATE messages SET status = :status, content = :content, reasoning = :reasoning, tools = :tools,
               usage = :usage WHERE id = :id RETURNING conversation_id""",
        id=message_id,
        status=status,
        content=content,
        reasoning=reasoning,
        tools=as_json(tools),
        usage=as_json(usage) if usage is not None else None,
    )
    assert row is not None, "foreign keys keep it"
    feed.record(tx, row.conversation_id, "message.updated", message_id)


def set_items(tx: Tx, conversation_id: str, message_id: str, items: list[Any], content: str) -> None:
    """Say what a message consists of from now on. Who does it holds the conversation, whose cached history is not
    valid any more.
    """
    sql = "UPDATE conversations SET history_version = history_version + 1 WHERE id = :id"
    execute(tx, sql, id=conversation_id)
    sql = "UPDATE messages SET items = :items, content = :content WHERE id = :id"
    execute(tx, sql, id=message_id, items=as_json(items), content=content)
    feed.record(tx, conversation_id, "message.updated" if any(items) else "message.deleted", message_id)


def set_metadata(tx: Tx, conversation_id: str, metadata: dict[str, Any]) -> bool:
    """Replace a conversation's metadata; whether there was one."""
    sql = "UPDATE conversations SET metadata = :metadata WHERE id = :id"
    found = execute(tx, sql, id=conversation_id, metadata=as_json(metadata)) == 1
    feed.record(tx, conversation_id, "conversation.updated")
    return found


def last_message_id(tx: Tx, conversation_id: str) -> str | None:
    """The newest message of a conversation."""
    row = fetch_one(
        tx,
        "SELECT id FROM messages WHERE conversation_id = :id ORDER BY seq DESC LIMIT 1",
        id=conversation_id,
    )
    return row.id if row else None


def message(tx: Tx, message_id: str) -> Message | None:
    """One message."""
    row = fetch_one(
        tx,
        f"SELECT {_MESSAGE} FROM messages m LEFT JOIN generations g ON g.message_id = m.id WHERE m.id = :id",
        id=message_id,
    )
    return Message(**row._mapping) if row else None


def messages_by_id(tx: Tx, message_ids: Sequence[str]) -> dict[str, Message]:
    """Those of the messages that exist."""
    rows = fetch(
        tx,
        f"""SELECT {_MESSAGE} FROM messages m LEFT JOIN generations g ON g.message_id = m.id
            WHERE m.id = ANY(CAST(:ids AS uuid[]))""",
        ids=list(message_ids),
    )
    return {row.id: Message(**row._mapping) for row in rows}


def messages(tx: Tx, conversation_id: str, after_seq: int, limit: int) -> list[Message]:
    """Up to ``limit`` messages numbered above ``after_seq``, in order."""
    rows = fetch(
        tx,
        f"""SELECT {_MESSAGE} FROM messages m LEFT JOIN generations g ON g.message_id = m.id
            WHERE m.conversation_id = :id AND m.seq > :after_seq ORDER BY m.seq LIMIT :limit""",
        id=conversation_id,
        after_seq=after_seq,
        limit=limit,
    )
    return [Message(**row._mapping) for row in rows]


def messages_named(tx: Tx, message_ids: Sequence[str]) -> list[Message]:
    """Those of these messages that there are, in order."""
    rows = fetch(
        tx,
        f"""SELECT {_MESSAGE} FROM messages m LEFT JOIN generations g ON g.message_id = m.id
            WHERE m.id = ANY(CAST(:ids AS uuid[])) ORDER BY m.seq""",
        ids=list(message_ids),
    )
    return [Message(**row._mapping) for row in rows]


def branch_page(
    tx: Tx, conversation_id: str, message_id: str, after_seq: int, limit: int
) -> tuple[str | None, list[Message]]:
    """One branch of a conversation: what leads to ``message_id``, itself, and what leads on to its newest descendant.

    That descendant's id, None when the message is not in this conversation, and up to ``limit`` messages of the branch
    numbered above ``after_seq``, in order.
    """
    leaf = fetch_one(
        tx,
        """WITH RECURSIVE below AS (
               SELECT id, seq FROM messages WHERE id = :id AND conversation_id = :conversation_id
               UNION ALL
               SELECT m.id, m.seq FROM messages m JOIN below ON m.parent_id = below.id
           )
           SELECT id FROM below ORDER BY seq DESC LIMIT 1""",
        id=message_id,
        conversation_id=conversation_id,
    )
    if leaf is None:
        return None, []
    rows = fetch(
        tx,
        f"""WITH RECURSIVE path AS (
                SELECT id, parent_id, seq FROM messages WHERE id = :leaf
                UNION ALL
                SELECT m.id, m.parent_id, m.seq FROM messages m JOIN path ON m.id = path.parent_id
                WHERE m.seq > :after_seq
            ), page AS (
                SELECT id FROM path WHERE seq > :after_seq ORDER BY seq LIMIT :limit
            )
            SELECT {_MESSAGE} FROM page JOIN messages m ON m.id = page.id
            LEFT JOIN generations g ON g.message_id = m.id ORDER BY m.seq""",
        leaf=leaf.id,
        after_seq=after_seq,
        limit=limit,
    )
    return leaf.id, [Message(**row._mapping) for row in rows]


def branch(tx: Tx, message_id: str, limit: int) -> list[Message]:
    """The messages that lead to ``message_id`` and itself, oldest first: at most the last ``limit`` of them."""
    rows = fetch(
        tx,
        f"""WITH RECURSIVE path AS (
                SELECT id, parent_id, 1 AS depth FROM messages WHERE id = :id
                UNION ALL
                SELECT m.id, m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.parent_id
                WHERE path.depth < :limit
            )
            SELECT {_MESSAGE} FROM path JOIN messages m ON m.id = path.id
            LEFT JOIN generations g ON g.message_id = m.id ORDER BY path.depth DESC""",
        id=message_id,
        limit=limit,
    )
    return [Message(**row._mapping) for row in rows]
