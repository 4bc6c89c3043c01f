"""Users as operators see them: state, keys and figures, and no text. For transactions of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.store.database import Tx, fetch, fetch_one

Kind = Literal["person", "service"]
# "ended": a service account that was deleted.
State = Literal["active", "blocked", "erasing", "ended"]


@dataclass(frozen=True, slots=True)
class WatchedUser:
    """A user. ``name`` is that of a service account; ``keys``: the number of valid keys."""

    id: str
    subject: str
    kind: Kind
    name: str | None
    state: State
    created_at: datetime
    blocked_at: datetime | None
    keys: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one user. ``today`` and ``month`` begin at midnight UTC; tokens of all credentials together."""

    conversations: int
    sessions: int
    queued: int
    running: int
    input_today: int
    output_today: int
    input_month: int
    output_month: int


def page(tx: Tx, limit: int, subject: str | None, before: str | None) -> list[WatchedUser]:
    """Up to ``limit`` users, newest first, older than the user ``before``, whose subject begins with ``subject``."""
    return _find(tx, None, subject, before, limit)


def get(tx: Tx, user_id: str) -> WatchedUser | None:
    """One user."""
    return next(iter(_find(tx, user_id, None, None, 1)), None)


def figures(tx: Tx, user_id: str) -> Figures:
    """The figures of a user."""
    row = fetch_one(tx, "SELECT * FROM figures_of_user(CAST(:id AS uuid))", id=user_id)
    assert row is not None, "an aggregate has a row"
    return Figures(**row._mapping)


def _find(tx: Tx, user_id: str | None, subject: str | None, before: str | None, limit: int) -> list[WatchedUser]:
    rows = fetch(
        tx,
        """SELECT * FROM watched_users(CAST(:id AS uuid), CAST(:prefix AS text), CAST(:before AS uuid), :limit)
           ORDER BY id DESC""",
        id=user_id,
        prefix=None if subject is None else _literal(subject) + "%",
        before=before,
        limit=limit,
    )
    return [WatchedUser(**row._mapping) for row in rows]


def _literal(text: str) -> str:
    """A text as a pattern of LIKE that only matches this text."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
