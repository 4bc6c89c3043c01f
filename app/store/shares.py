"""Shared conversations: a snapshot for each, found by the digest of its address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.store.database import Tx, as_json, execute, fetch, fetch_one, mine


@dataclass(frozen=True, slots=True)
class Share:
    """A share as its owner sees it. ``messages`` is their number."""

    conversation_id: str
    title: str
    messages: int
    created_at: datetime


_SHARE = "s.conversation_id, s.title, jsonb_array_length(s.messages) AS messages, s.created_at"


def put(tx: Tx, conversation_id: str, user_id: str, digest: bytes, title: str, messages: list[dict[str, Any]]) -> Share:
    """Share a conversation under a new address. An earlier address of it ends."""
    row = fetch_one(
        tx,
        f"""INSERT INTO shares AS s (conversation_id, user_id, digest, title, messages)
            VALUES (:id, :user_id, :digest, :title, :messages)
            ON CONFLICT (conversation_id) DO UPDATE SET digest = EXCLUDED.digest, title = EXCLUDED.title,
                messages = EXCLUDED.messages, created_at = clock_timestamp()
            RETURNING {_SHARE}""",
        id=conversation_id,
        user_id=user_id,
        digest=digest,
        title=title,
        messages=as_json(messages),
    )
    assert row is not None, "inserted or updated"
    return Share(**row._mapping)


def count_others(tx: Tx, conversation_id: str) -> int:
    """The number of shared conversations of the transaction's user beside this one."""
    sql = f"SELECT count(*) AS n FROM shares WHERE conversation_id <> :id AND {mine()}"
    row = fetch_one(tx, sql, id=conversation_id)
    return int(row.n) if row else 0


def get(tx: Tx, conversation_id: str) -> Share | None:
    """The share of a conversation, or None."""
    sql = f"SELECT {_SHARE} FROM shares s WHERE s.conversation_id = :id AND {mine('s.user_id')}"
    row = fetch_one(tx, sql, id=conversation_id)
    return Share(**row._mapping) if row else None


def every(tx: Tx) -> list[Share]:
    """The shares of the transaction's user, newest first."""
    rows = fetch(tx, f"SELECT {_SHARE} FROM shares s WHERE {mine('s.user_id')} ORDER BY s.created_at DESC")
    return [Share(**row._mapping) for row in rows]


def end(tx: Tx, conversation_id: str) -> bool:
    """End the share of a conversation. Returns whether there was one."""
    return execute(tx, f"DELETE FROM shares WHERE conversation_id = :id AND {mine()}", id=conversation_id) == 1


def look(tx: Tx, digest: bytes) -> tuple[str, list[dict[str, Any]], datetime] | None:
    """Title, messages and time of a share by the digest of its address, for everybody; None without one."""
    row = fetch_one(
        tx, "SELECT title, messages, created_at FROM shared_conversation(CAST(:digest AS bytea))", digest=digest
    )
    return (row.title, row.messages, row.created_at) if row else None
