"""Preferences of users: the choices for the page and for their conversations."""

from __future__ import annotations

from typing import Any

from app.store.database import Tx, as_json, fetch_one, mine


def get(tx: Tx) -> dict[str, Any]:
    """The choices of the transaction's user, by name."""
    row = fetch_one(tx, f"SELECT chosen FROM preferences WHERE {mine()}")
    return dict(row.chosen) if row else {}


def change(tx: Tx, user_id: str, chosen: dict[str, Any], cleared: list[str]) -> dict[str, Any]:
    """Set some choices and remove others. Returns all choices of the user."""
    row = fetch_one(
        tx,
        """INSERT INTO preferences AS p (user_id, chosen) VALUES (:user_id, :chosen)
           ON CONFLICT (user_id) DO UPDATE SET chosen = (p.chosen || EXCLUDED.chosen) - CAST(:cleared AS text[]),
               last_updated = clock_timestamp()
           RETURNING chosen""",
        user_id=user_id,
        chosen=as_json(chosen),
        cleared=cleared,
    )
    assert row is not None, "inserted or updated"
    return dict(row.chosen)
