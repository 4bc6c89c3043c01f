"""Generations of everybody, as an operator sees them: their state, and nothing that was said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.store.database import Tx, fetch

# A queued one that has not been taken for so many seconds is stuck; a running one, as soon as its lease is over.
STUCK_SECONDS = 15

_STUCK = f"""(g.status = 'running' AND coalesce(g.lease_until, g.next_dispatch_at) < now()
    OR g.status = 'queued' AND g.created_at < now() - interval '{STUCK_SECONDS} seconds')"""


@dataclass(frozen=True, slots=True)
class Watched:
    """A generation without its text. ``lease_seconds``: until its worker must have shown itself, below 0 when it has
    not; None when nobody has it. ``dispatches``: how often somebody was rung for since it was taken last.
    """

    id: str
    user_id: str
    subject: str
    conversation_id: str
    message_id: str
    user_message_id: str
    model: str
    status: str
    epoch: int
    tries: int
    dispatches: int
    worker: str | None
    lease_seconds: float | None
    stuck: bool
    parameters: dict[str, Any]
    attempts: list[Any]
    error: dict[str, Any] | None
    cancel_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    last_updated: datetime


def find(
    tx: Tx,
    limit: int,
    *,
    generation_id: str | None = None,
    status: str | None = None,
    stuck: bool | None = None,
    user: str | None = None,
    before: str | None = None,
) -> list[Watched]:
    """The newest first, of those that fit. ``user`` is a subject or an id; ``before``: older than this one."""
    rows = fetch(
        tx,
        f"""SELECT g.id, g.user_id, u.subject, g.conversation_id, g.message_id, g.user_message_id, g.model, g.status,
                g.epoch, g.tries, g.dispatches, g.worker,
                CAST(extract(epoch FROM g.lease_until - now()) AS float8) AS lease_seconds, {_STUCK} AS stuck,
                g.parameters, g.attempts, g.error, g.cancel_at, g.created_at, g.started_at, g.finished_at,
                g.last_updated
            FROM generations g JOIN users u ON u.id = g.user_id
            WHERE (CAST(:id AS uuid) IS NULL OR g.id = :id) AND (CAST(:status AS text) IS NULL OR g.status = :status)
              AND (CAST(:stuck AS boolean) IS NULL OR {_STUCK} = :stuck)
              AND (CAST(:user AS text) IS NULL OR u.subject = :user OR u.id::text = :user)
              AND (CAST(:before AS uuid) IS NULL OR g.id < :before)
            ORDER BY g.id DESC LIMIT :limit""",
        id=generation_id,
        status=status,
        stuck=stuck,
        user=user,
        before=before,
        limit=limit,
    )
    return [Watched(**row._mapping) for row in rows]
