"""Locks and counts that decide whether one more generation may be queued."""

from __future__ import annotations

from app.store.database import Tx, fetch, fetch_one


def queued_total(tx: Tx) -> int:
    """The number of queued generations of all users."""
    row = fetch_one(tx, "SELECT queued_total() AS total")
    return int(row.total) if row else 0


def hold_admission(tx: Tx) -> None:
    """Hold the lock of the queue until the transaction ends: one transaction at a time adds generations.

    It is taken when the queue is nearly full.
    """
    fetch(tx, "SELECT pg_advisory_xact_lock(hashtextextended('admission', 0))")


def hold_queue(tx: Tx, user_id: str) -> int:
    """Hold the lock of a user's queue until the transaction ends. Returns the number of queued generations in it."""
    fetch(tx, "SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))", key=f"queue {user_id}")
    row = fetch_one(
        tx, "SELECT count(*) AS many FROM generations WHERE status = 'queued' AND user_id = :user_id", user_id=user_id
    )
    return int(row.many) if row else 0
