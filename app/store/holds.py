"""Legal holds: nothing of their users is removed. Operators place and end them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Tx, fetch_one


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold on everything of a user."""

    user_id: str
    reason: str
    placed_at: datetime


def place(tx: Tx, user_id: str, reason: str) -> Hold | None:
    """Place a hold, or change the reason of the one that is there. None: there is no such user."""
    row = fetch_one(tx, "SELECT * FROM place_hold(CAST(:user_id AS uuid), :reason)", user_id=user_id, reason=reason)
    return Hold(**row._mapping) if row else None


def get(tx: Tx, user_id: str) -> Hold | None:
    """The hold on a user, or None."""
    row = fetch_one(tx, "SELECT * FROM hold_of(CAST(:user_id AS uuid))", user_id=user_id)
    return Hold(**row._mapping) if row else None


def end(tx: Tx, user_id: str) -> bool:
    """End a hold. Returns whether there was one."""
    row = fetch_one(tx, "SELECT end_hold(CAST(:user_id AS uuid)) AS ended", user_id=user_id)
    return bool(row and row.ended)
