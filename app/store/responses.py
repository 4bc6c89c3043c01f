"""Rows of other protocols about a generation: the request, which replies repeat, and the mark of a deletion."""

from __future__ import annotations

from typing import Any

from app.store.database import Tx, as_json, execute, fetch, fetch_one, mine


def add(tx: Tx, generation_id: str, user_id: str, request: dict[str, Any]) -> None:
    """Keep the request of a generation added in the same transaction."""
    execute(
        tx,
        "INSERT INTO responses (generation_id, user_id, request) VALUES (:id, :user_id, :request)",
        id=generation_id,
        user_id=user_id,
        request=as_json(request),
    )


def get(tx: Tx, generation_id: str) -> tuple[dict[str, Any], bool]:
    """The request, empty when it came another way; and whether the response is deleted."""
    sql = f"SELECT request, deleted_at FROM responses WHERE generation_id = :id AND {mine()}"
    row = fetch_one(tx, sql, id=generation_id)
    return (row.request, row.deleted_at is not None) if row else ({}, False)


def of(tx: Tx, generation_ids: list[str]) -> dict[str, dict[str, Any]]:
    """The requests of several generations."""
    rows = fetch(
        tx,
        f"SELECT generation_id, request FROM responses WHERE generation_id = ANY(CAST(:ids AS uuid[])) AND {mine()}",
        ids=generation_ids,
    )
    return {row.generation_id: row.request for row in rows}


def mark_deleted(tx: Tx, generation_id: str, user_id: str) -> None:
    """The response is gone for its protocol."""
    execute(
        tx,
        """INSERT INTO responses (generation_id, user_id, deleted_at) VALUES (:id, :user_id, now())
           ON CONFLICT (generation_id) DO UPDATE SET deleted_at = coalesce(responses.deleted_at, now())""",
        id=generation_id,
        user_id=user_id,
    )
