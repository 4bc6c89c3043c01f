"""Users, known by the subject of their tokens. No passwords here."""

from __future__ import annotations

from app.store.database import Tx, execute, fetch_one


def find(tx: Tx, subject: str) -> str | None:
    """The id of the user with this subject."""
    row = fetch_one(tx, "SELECT id FROM users WHERE subject = :subject", subject=subject)
    return row.id if row else None


def add(tx: Tx, user_id: str, subject: str) -> None:
    """Add a user, unless somebody was quicker."""
    execute(
        tx,
        "INSERT INTO users (id, subject) VALUES (:id, :subject) ON CONFLICT (subject) DO NOTHING",
        id=user_id,
        subject=subject,
    )
