"""Reserved ids of conversations without a message; their rows in conversations do not exist yet."""

from __future__ import annotations

from typing import Any

from app.store.database import Tx, as_json, execute, fetch_one, mine


def add(tx: Tx, conversation_id: str, user_id: str, metadata: dict[str, Any]) -> None:
    """Reserve a conversation under this id."""
    execute(
        tx,
        "INSERT INTO reserved_conversations (id, user_id, metadata) VALUES (:id, :user_id, :metadata)",
        id=conversation_id,
        user_id=user_id,
        metadata=as_json(metadata),
    )


def get(tx: Tx, conversation_id: str) -> dict[str, Any] | None:
    """The metadata of a reserved conversation; None when it is not reserved, or exists."""
    sql = f"SELECT metadata FROM reserved_conversations WHERE id = :id AND {mine()}"
    row = fetch_one(tx, sql, id=conversation_id)
    return row.metadata if row else None


def take(tx: Tx, conversation_id: str) -> dict[str, Any] | None:
    """Remove the reservation of a conversation that begins or is deleted, and return its metadata.

    None without a reservation. Another transaction that takes it at the same time is waited for.
    """
    sql = f"DELETE FROM reserved_conversations WHERE id = :id AND {mine()} RETURNING metadata"
    row = fetch_one(tx, sql, id=conversation_id)
    return row.metadata if row else None


def discard(tx: Tx, conversation_id: str) -> bool:
    """Delete a reservation. Returns whether there was one. Under a hold it is kept, out of its user's sight."""
    row = fetch_one(tx, "SELECT set_aside_reservation(CAST(:id AS uuid)) AS kept", id=conversation_id)
    return bool(row and row.kept) or take(tx, conversation_id) is not None


def change(tx: Tx, conversation_id: str, metadata: dict[str, Any]) -> bool:
    """Replace the metadata. Returns whether the reservation exists."""
    return (
        execute(
            tx,
            f"UPDATE reserved_conversations SET metadata = :metadata WHERE id = :id AND {mine()}",
            id=conversation_id,
            metadata=as_json(metadata),
        )
        == 1
    )
