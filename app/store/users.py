"""Users, known by the subject of their tokens. No passwords here."""

from __future__ import annotations

from app.domain.errors import SubjectTaken
from app.store.database import Tx, fetch_one


def account(tx: Tx, subject: str, fresh_id: str) -> str:
    """The id of the user with this subject, who is added under ``fresh_id`` at first sight. Raises SubjectTaken."""
    row = fetch_one(tx, "SELECT account_of(:subject, CAST(:id AS uuid)) AS id", subject=subject, id=fresh_id)
    assert row is not None, "a function has a result"
    if row.id is None:
        raise SubjectTaken
    return str(row.id)
