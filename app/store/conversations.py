"""Conversations and their messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.commands import ChangeConversation, ListConversations
from app.store import feed
from app.store.database import Tx, as_json, execute, fetch, fetch_one, mine

PREVIEW_CHARS = 120


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of the list of conversations.

    ``unread``: an answer has ended that the user has not seen. ``system_prompt`` and ``parameters`` are those of its
    answers.
    """

    id: str
    title: str | None
    model: str | None
    preview: str
    metadata: dict[str, Any]
    archived_at: datetime | None
    pinned: bool
    tags: list[str]
    unread: bool
    temporary: bool
    system_prompt: str | None
    parameters: dict[str, Any]
    has_active_generation: bool
    created_at: datetime
    last_message_at: datetime
    last_updated: datetime
    feed_seq: int


@dataclass(frozen=True, slots=True)
class NewConversation:
    """A conversation to be added, with the number of its first messages.

    No list, no search and no feed shows a conversation that is not ``listed``.
    """

    id: str
    user_id: str
    first_message_id: str
    count: int
    model: str | None
    preview: str
    metadata: dict[str, Any]
    listed: bool = True
    temporary: bool = False
    system_prompt: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """The settings of a conversation that is locked. ``preferred``: the model that its user prefers, None without."""

    model: str | None
    system_prompt: str | None
    parameters: dict[str, Any]
    preferred: str | None


_CONVERSATION = """
    c.id, c.title, c.model, c.preview, c.metadata, c.archived_at, c.created_at, c.last_message_at, c.last_updated,
    c.feed_seq, c.pinned, c.tags, c.ended_seq > c.seen_seq AS unread, c.temporary, c.system_prompt, c.parameters,
    EXISTS (SELECT FROM generations g WHERE g.conversation_id = c.id AND g.status IN ('queued', 'running'))
        AS has_active_generation
"""


def add(tx: Tx, new: NewConversation) -> tuple[int, int]:
    """Add a conversation and reserve its first message numbers: the first number, and the history's version.

    Its first message must be added in the same transaction.
    """
    version = min(new.count, 1)
    execute(
        tx,
        """INSERT INTO conversations (id, user_id, first_message_id, message_seq, history_version, model, preview,
               metadata, listed, temporary, system_prompt, parameters, last_message_at)
           VALUES (:id, :user_id, :first_message_id, :count, :version, :model, :preview,
               :metadata, :listed, :temporary, :system_prompt, :parameters, clock_timestamp())""",
        id=new.id,
        user_id=new.user_id,
        first_message_id=new.first_message_id,
        count=new.count,
        version=version,
        model=new.model,
        preview=new.preview[:PREVIEW_CHARS],
        metadata=as_json(new.metadata),
        listed=new.listed,
        temporary=new.temporary,
        system_prompt=new.system_prompt,
        parameters=as_json(new.parameters),
    )
    return 1, version


def lock(tx: Tx, conversation_id: str) -> Any | None:
    """Lock a conversation until the transaction ends: its id and model, or None. Adding messages needs this lock."""
    sql = f"SELECT id, model FROM conversations WHERE id = :id AND {mine()} FOR UPDATE"
    return fetch_one(tx, sql, id=conversation_id)


def lock_for_answer(tx: Tx, conversation_id: str) -> Held | None:
    """Lock a conversation like ``lock``, and read its settings for an answer; None without the conversation."""
    row = fetch_one(
        tx,
        f"""SELECT c.model, c.system_prompt, c.parameters, p.chosen->>'model' AS preferred
            FROM conversations c LEFT JOIN preferences p ON p.user_id = c.user_id
            WHERE c.id = :id AND {mine("c.user_id")} FOR UPDATE OF c""",
        id=conversation_id,
    )
    return Held(**row._mapping) if row else None


def take_numbers(tx: Tx, conversation_id: str, count: int, preview: str | None) -> tuple[int, int]:
    """Reserve ``count`` consecutive message numbers: the first number, and the new version of the history."""
    row = fetch_one(
        tx,
        f"""UPDATE conversations SET message_seq = message_seq + :count, history_version = history_version + 1,
               preview = coalesce(:preview, preview), last_message_at = clock_timestamp()
           WHERE id = :id AND {mine()}
           RETURNING message_seq - :count + 1 AS first, history_version AS version""",
        id=conversation_id,
        count=count,
        preview=preview[:PREVIEW_CHARS] if preview is not None else None,
    )
    assert row is not None, "the conversation is locked by this transaction"
    return int(row.first), int(row.version)


def settle(tx: Tx, conversation_id: str, preview: str) -> int:
    """Show the beginning of a finished answer in the list, which is unread until the reader has seen the end.

    The end is the next change of the conversation's feed. Returns the new version of the history.
    """
    row = fetch_one(
        tx,
        f"""UPDATE conversations SET history_version = history_version + 1, last_message_at = clock_timestamp(),
               ended_seq = feed_seq + 1, preview = CASE WHEN :preview = '' THEN preview ELSE :preview END
           WHERE id = :id AND {mine()} RETURNING history_version AS version""",
        id=conversation_id,
        preview=preview[:PREVIEW_CHARS],
    )
    assert row is not None, "a generation's conversation exists"
    return int(row.version)


def history_version(tx: Tx, conversation_id: str) -> int:
    """The number of changes of a conversation's messages; 0 without the conversation."""
    sql = f"SELECT history_version FROM conversations WHERE id = :id AND {mine()}"
    row = fetch_one(tx, sql, id=conversation_id)
    return int(row.history_version) if row else 0


def get(tx: Tx, conversation_id: str) -> Conversation | None:
    """One conversation, or None."""
    sql = f"SELECT {_CONVERSATION} FROM conversations c WHERE c.id = :id AND {mine('c.user_id')}"
    row = fetch_one(tx, sql, id=conversation_id)
    return Conversation(**row._mapping) if row else None


def active(tx: Tx, user_id: str, model: str | None) -> Conversation | None:
    """The conversation of a user with this model that was written to last and is not archived.

    ``model`` None: among the conversations without a model of their own.
    """
    row = fetch_one(
        tx,
        f"""SELECT {_CONVERSATION} FROM conversations c
            WHERE c.user_id = :user_id AND c.listed AND c.archived_at IS NULL
              AND c.model {"= :model" if model is not None else "IS NULL"}
            ORDER BY c.last_message_at DESC, c.id DESC LIMIT 1""",
        user_id=user_id,
        **({"model": model} if model is not None else {}),
    )
    return Conversation(**row._mapping) if row else None


def page(
    tx: Tx, user_id: str, wanted: ListConversations, limit: int, before: tuple[datetime, str] | None
) -> list[Conversation]:
    """Up to ``limit`` wanted conversations, newest first, older than ``before`` (last_message_at, id)."""
    conditions = [f"c.archived_at IS {'NOT NULL' if wanted.archived else 'NULL'}"]
    values: dict[str, Any] = {}
    if wanted.model is not None:
        conditions.append("c.model = :model")
        values["model"] = wanted.model
    if wanted.pinned is not None:
        conditions.append("c.pinned" if wanted.pinned else "NOT c.pinned")
    if wanted.tag is not None:
        conditions.append(":tag = ANY(c.tags)")
        values["tag"] = wanted.tag
    if before is not None:
        conditions.append("(c.last_message_at, c.id) < (:at, :id)")
        values |= {"at": before[0], "id": before[1]}
    rows = fetch(
        tx,
        f"""SELECT {_CONVERSATION} FROM conversations c
            WHERE c.user_id = :user_id AND c.listed AND {" AND ".join(conditions)}
            ORDER BY c.last_message_at DESC, c.id DESC LIMIT :limit""",
        user_id=user_id,
        limit=limit,
        **values,
    )
    return [Conversation(**row._mapping) for row in rows]


def change(tx: Tx, conversation_id: str, command: ChangeConversation) -> bool:
    """Apply a change. Returns whether the conversation exists."""
    sets = ["id = id"]
    values: dict[str, Any] = {}
    for name in ("title", "model", "pinned", "tags", "system_prompt", "parameters"):
        if (value := getattr(command, name)) is not None or name in command.clear:
            sets.append(f"{name} = :{name}")
            values[name] = as_json(value) if name == "parameters" else value
    if command.archived is not None:
        sets.append("archived_at = " + ("coalesce(archived_at, now())" if command.archived else "NULL"))
    sql = f"UPDATE conversations SET {', '.join(sets)} WHERE id = :id AND {mine()}"
    found = execute(tx, sql, id=conversation_id, **values) == 1
    if len(sets) > 1:
        feed.record(tx, conversation_id, "conversation.updated")
    return found


def see(tx: Tx, conversation_id: str, seq: int | None) -> None:
    """Note that the user has seen a conversation's feed up to ``seq``, or up to its end.

    Nothing is written, and no feed has a change, where nothing was unread up to there.
    """
    seen = execute(
        tx,
        f"""UPDATE conversations SET seen_seq = least(feed_seq, coalesce(CAST(:seq AS integer), feed_seq))
            WHERE id = :id AND {mine()} AND ended_seq > seen_seq
              AND ended_seq <= coalesce(CAST(:seq AS integer), feed_seq)""",
        id=conversation_id,
        seq=seq,
    )
    if seen:
        feed.record(tx, conversation_id, "conversation.updated")


def delete(tx: Tx, conversation_id: str) -> list[str]:
    """Delete a conversation with everything in it. The feed keeps the deletion.

    Returns the ids of the conversation and of its generations: Redis may have keys of them.
    """
    sql = f"SELECT id FROM generations WHERE conversation_id = :id AND {mine()}"
    inside = [row.id for row in fetch(tx, sql, id=conversation_id)]
    feed.record_deletion(tx, conversation_id)
    execute(tx, f"DELETE FROM conversations WHERE id = :id AND {mine()}", id=conversation_id)
    return [conversation_id, *inside]


def set_metadata(tx: Tx, conversation_id: str, metadata: dict[str, Any]) -> bool:
    """Replace a conversation's metadata. Returns whether the conversation exists."""
    sql = f"UPDATE conversations SET metadata = :metadata WHERE id = :id AND {mine()}"
    found = execute(tx, sql, id=conversation_id, metadata=as_json(metadata)) == 1
    feed.record(tx, conversation_id, "conversation.updated")
    return found
