"""Conversations that are promised and do not exist yet: nothing has been said in them."""

from __future__ import annotations

from typing import Any

from app.store.database import Tx, as_json, execute, fetch_one


def add(tx: Tx, conversation_id: str, user_id: str, metadata: dict[str, Any]) -> None:
    """Promise a conversation under this id."""
    execute(
        tx,
        "INSERT INTO reserved_conversations (id, user_id, metadata) VALUES (:id, :user_id, :metadata)",
        id=conversation_id,
        user_id=user_id,
        metadata=as_json(metadata),
    )


def get(tx: Tx, conversation_id: str) -> dict[str, Any] | None:
    """The metadata of a promised conversation; None when there is none, or it has begun."""
    row = fetch_one(tx, "SELECT metadata FROM reserved_conversations WHERE id = :id", id=conversation_id)
    return row.metadata if row else None


def take(tx: Tx, conversation_id: str) -> dict[str, Any] | None:
    """Remove the promise, because the conversation begins or is not wanted: its metadata. Waits for who is quicker."""
    row = fetch_one(tx, "DELETE FROM reserved_conversations WHERE id = :id RETURNING metadata", id=conversation_id)
    return row.metadata if row else None


def change(tx: Tx, conversation_id: str, metadata: dict[str, Any]) -> bool:
    """Replace the metadata; whether there was such a promise."""
    return (
        execute(
            tx,
            "UPDATE reserved_conversations SET metadata = :metadata WHERE id = :id",
            id=conversation_id,
            metadata=as_json(metadata),
        )
        == 1
    )
