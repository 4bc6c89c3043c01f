"""Messages, and the branches they form in a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.store import feed
from app.store.database import Tx, as_json, execute, fetch, fetch_one, mine

# Messages are in the index of words from this number of the user's feed on. Earlier ones are searched without it.
INDEXED_FROM = 2000


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``generation_id`` is set on answers, ``finish_reason`` and ``error`` on those that have ended.

    ``items``: the parts of a message that is more than text, in the form of OpenAI's Responses API. ``feedback``: what
    the user thinks of an answer, ``rating`` and ``comment``.
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
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    feedback: dict[str, Any] | None = None


_MESSAGE = """
    m.id, m.conversation_id, m.parent_id, m.seq, m.role, m.status, m.content, m.reasoning, m.tools, m.model,
    m.client_msg_id, g.id AS generation_id, m.usage, m.metadata, m.created_at, m.last_updated, m.items,
    g.finish_reason, g.error, m.feedback
"""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be added. ``seq`` is a number that its conversation has reserved for it."""

    id: str
    conversation_id: str
    user_id: str
    parent_id: str | None
    seq: int
    role: str
    status: str
    content: str = ""
    model: str | None = None
    client_msg_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    items: list[Any] | None = None


def add(tx: Tx, new: NewMessage) -> None:
    """Add a message, and the change to the user's feed.

    A message of a user whose feed has fewer than INDEXED_FROM changes is not indexed: so few are searched without.
    """
    execute(
        tx,
        """INSERT INTO messages (id, conversation_id, user_id, parent_id, seq, role, status, content, model,
               client_msg_id, metadata, items, indexed)
           VALUES (:id, :conversation_id, :user_id, :parent_id, :seq, :role, :status, :content, :model,
               :client_msg_id, :metadata, :items,
               coalesce((SELECT f.seq >= :indexed_from FROM feeds f WHERE f.user_id = :user_id), false))""",
        id=new.id,
        conversation_id=new.conversation_id,
        user_id=new.user_id,
        parent_id=new.parent_id,
        seq=new.seq,
        role=new.role,
        status=new.status,
        content=new.content,
        model=new.model,
        client_msg_id=new.client_msg_id,
        metadata=as_json(new.metadata),
        items=as_json(new.items) if new.items is not None else None,
        indexed_from=INDEXED_FROM,
    )
    feed.record(tx, new.conversation_id, "message.new", new.id)


def settle(
    tx: Tx,
    message_id: str,
    *,
    status: str,
    content: str,
    reasoning: str,
    tools: list[Any],
    usage: dict[str, Any] | None,
) -> None:
    """Write the text of an answer, once, at its end. The caller holds the conversation."""
    row = fetch_one(
        tx,
        f"""UPDATE messages SET status = :status, content = :content, reasoning = :reasoning, tools = :tools,
               usage = :usage WHERE id = :id AND {mine()} RETURNING conversation_id""",
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
    """Replace the items and the text of a message. The caller has locked the conversation.

    The new version of the history makes the cached one invalid.
    """
    sql = f"UPDATE conversations SET history_version = history_version + 1 WHERE id = :id AND {mine()}"
    execute(tx, sql, id=conversation_id)
    sql = f"UPDATE messages SET items = :items, content = :content WHERE id = :id AND {mine()}"
    execute(tx, sql, id=message_id, items=as_json(items), content=content)
    feed.record(tx, conversation_id, "message.updated" if any(items) else "message.deleted", message_id)


def set_feedback(tx: Tx, conversation_id: str, message_id: str, feedback: dict[str, Any] | None) -> None:
    """Replace what the user thinks of an answer. The caller has locked the conversation."""
    sql = f"UPDATE messages SET feedback = :feedback WHERE id = :id AND {mine()}"
    execute(tx, sql, id=message_id, feedback=as_json(feedback) if feedback is not None else None)
    feed.record(tx, conversation_id, "message.updated", message_id)


def set_aside(tx: Tx, message_id: str) -> None:
    """Keep a copy of a message that is about to lose parts, where a hold requires it."""
    fetch_one(tx, "SELECT set_aside_message(CAST(:id AS uuid))", id=message_id)


def newest_id(tx: Tx, conversation_id: str) -> str | None:
    """The id of the newest message of a conversation, or None."""
    row = fetch_one(
        tx,
        f"SELECT id FROM messages WHERE conversation_id = :id AND {mine()} ORDER BY seq DESC LIMIT 1",
        id=conversation_id,
    )
    return row.id if row else None


def get(tx: Tx, message_id: str) -> Message | None:
    """One message, or None."""
    row = fetch_one(
        tx,
        f"""SELECT {_MESSAGE} FROM messages m LEFT JOIN generations g ON g.message_id = m.id
            WHERE m.id = :id AND {mine("m.user_id")}""",
        id=message_id,
    )
    return Message(**row._mapping) if row else None


def by_id(tx: Tx, message_ids: Sequence[str]) -> dict[str, Message]:
    """The messages with these ids that exist, by id."""
    rows = fetch(
        tx,
        f"""SELECT {_MESSAGE} FROM messages m LEFT JOIN generations g ON g.message_id = m.id
            WHERE m.id = ANY(CAST(:ids AS uuid[])) AND {mine("m.user_id")}""",
        ids=list(message_ids),
    )
    return {row.id: Message(**row._mapping) for row in rows}


def page(tx: Tx, conversation_id: str, after_seq: int, limit: int) -> list[Message]:
    """Up to ``limit`` messages numbered above ``after_seq``, in order."""
    rows = fetch(
        tx,
        f"""SELECT {_MESSAGE} FROM messages m LEFT JOIN generations g ON g.message_id = m.id
            WHERE m.conversation_id = :id AND {mine("m.user_id")} AND m.seq > :after_seq ORDER BY m.seq LIMIT :limit""",
        id=conversation_id,
        after_seq=after_seq,
        limit=limit,
    )
    return [Message(**row._mapping) for row in rows]


def in_order(tx: Tx, message_ids: Sequence[str]) -> list[Message]:
    """The messages with these ids that exist, in order of their numbers."""
    rows = fetch(
        tx,
        f"""SELECT {_MESSAGE} FROM messages m LEFT JOIN generations g ON g.message_id = m.id
            WHERE m.id = ANY(CAST(:ids AS uuid[])) AND {mine("m.user_id")} ORDER BY m.seq""",
        ids=list(message_ids),
    )
    return [Message(**row._mapping) for row in rows]


def branch_page(
    tx: Tx, conversation_id: str, message_id: str, after_seq: int, limit: int
) -> tuple[str | None, list[Message]]:
    """A page of one branch: the path to ``message_id`` and on to its newest descendant.

    Returns the descendant's id, None when the message is not in this conversation, and up to ``limit`` messages of the
    branch numbered above ``after_seq``, in order.
    """
    leaf = fetch_one(
        tx,
        f"""WITH RECURSIVE below AS (
               SELECT id, seq FROM messages WHERE id = :id AND conversation_id = :conversation_id AND {mine()}
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
                SELECT id, parent_id, seq FROM messages WHERE id = :leaf AND {mine()}
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
    """The path to ``message_id``, itself included, oldest first: at most its last ``limit`` messages."""
    rows = fetch(
        tx,
        f"""WITH RECURSIVE path AS (
                SELECT id, parent_id, 1 AS depth FROM messages WHERE id = :id AND {mine()}
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


def context_chars(tx: Tx, message_id: str, limit: int) -> int:
    """The number of characters in the path to ``message_id``, itself included: at most its last ``limit`` messages."""
    row = fetch_one(
        tx,
        f"""WITH RECURSIVE path AS (
               SELECT id, parent_id, 1 AS depth FROM messages WHERE id = :id AND {mine()}
               UNION ALL
               SELECT m.id, m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.parent_id
               WHERE path.depth < :limit
           )
           SELECT coalesce(sum(coalesce(length(CAST(m.items AS text)), length(m.content))), 0) AS chars
           FROM path JOIN messages m ON m.id = path.id""",
        id=message_id,
        limit=limit,
    )
    return int(row.chars) if row else 0


def mark_running(tx: Tx, message_id: str) -> None:
    """Set the status of a queued answer's message to running."""
    sql = f"UPDATE messages SET status = 'running' WHERE id = :id AND {mine()} AND status = 'queued'"
    execute(tx, sql, id=message_id)
