"""Generations of all users, as an operator sees them: their state without their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.store.database import Tx, fetch, fetch_one

# Seconds after which a queued generation is stuck. A running generation is stuck as soon as its lease has expired.
STUCK_SECONDS = 15

# A worker is lost when it has not reported for this many seconds: the default of WORKER_LOST_SECONDS.
LOST_SECONDS = 4.0
# Conversations of so many seconds are searched for one without a message.
EMPTY_SHOWN_SECONDS = 600

# Ended generations that one page looks at, at most. A page of a filter that few of them match ends early.
MOST_LOOKS = 5_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter of generations; fields that are None do not filter.

    ``user`` is a subject or an id, ``worker`` the name of the last one. ``first`` is the smallest id that can have been
    accepted at ``since``; ``before``: the id that a page ends before.
    """

    status: str | None = None
    stuck: bool | None = None
    user: str | None = None
    model: str | None = None
    worker: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    first: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """A generation without its text.

    ``lease_seconds``: from now to the end of its lease, below 0 after it; None without a lease. ``dispatches``: the
    doorbells that were sent for it since its last claim. ``moments``: see app/store/moments.py.
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
    moments: list[Any] | None
    error: dict[str, Any] | None
    usage: dict[str, Any] | None
    cost: Decimal | None
    currency: str | None
    finish_reason: str | None
    target: str | None
    request_id: str | None
    traceparent: str | None
    cancel_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    first_token_at: datetime | None
    finished_at: datetime | None
    last_updated: datetime


@dataclass(frozen=True, slots=True)
class SavedEvents:
    """The stored events of one epoch, in as many rows as ``saves``: of checkpoints, or of the archive after the end."""

    epoch: int
    events: int
    saves: int


def find(tx: Tx, wanted: Wanted, limit: int) -> tuple[list[str], str | None]:
    """The ids of up to ``limit`` generations that match, newest first, and the id of the last one looked at.

    That id is None when as many as ``limit`` match, and when there is no other generation to look at.
    """
    row = fetch_one(
        tx,
        """SELECT ids, looked_to FROM find_generations(:status, CAST(:stuck AS boolean), :user, :model, :worker,
               :request_id, :since, :until, CAST(:first AS uuid), CAST(:before AS uuid), :stuck_seconds, :looks,
               :limit)""",
        status=wanted.status,
        stuck=wanted.stuck,
        user=wanted.user,
        model=wanted.model,
        worker=wanted.worker,
        request_id=wanted.request_id,
        since=wanted.since,
        until=wanted.until,
        first=wanted.first,
        before=wanted.before,
        stuck_seconds=STUCK_SECONDS,
        looks=MOST_LOOKS,
        limit=limit,
    )
    assert row is not None, "a function has a result"
    return row.ids, row.looked_to


def some(tx: Tx, generation_ids: Sequence[str]) -> list[Watched]:
    """The generations with these ids that exist, newest first."""
    rows = fetch(
        tx,
        "SELECT * FROM seen_generations(CAST(:ids AS uuid[]), :stuck_seconds) ORDER BY id DESC",
        ids=list(generation_ids),
        stuck_seconds=STUCK_SECONDS,
    )
    return [Watched(**row._mapping) for row in rows]


def saved_events(tx: Tx, generation_id: str) -> list[SavedEvents]:
    """The stored events of a generation, by epoch."""
    rows = fetch(tx, "SELECT * FROM saved_events(CAST(:id AS uuid))", id=generation_id)
    return [SavedEvents(**row._mapping) for row in rows]


def census(tx: Tx, lost: float = LOST_SECONDS) -> dict[str, float]:
    """Counts of the live generations of all users, by name.

    ``working``: running under a valid lease. ``lost``: running, and their worker has not reported for ``lost`` seconds.
    ``stuck``: the lost ones and those that the operator's filter ``stuck`` finds. ``oldest_queued_seconds``: the
    longest wait of a queued one. ``abandoned_seconds``: the longest time that a running one has been without a lease.
    """
    row = fetch_one(
        tx,
        """SELECT queued, running, working, stuck, lost, oldest, abandoned
           FROM generation_census(CAST(:lost AS float8), CAST(:stuck AS float8))""",
        lost=lost,
        stuck=STUCK_SECONDS,
    )
    assert row is not None, "an aggregate has a row"
    return {
        "queued": row.queued,
        "running": row.running,
        "working": row.working,
        "stuck": row.stuck,
        "lost": row.lost,
        "oldest_queued_seconds": float(row.oldest),
        "abandoned_seconds": max(0.0, float(row.abandoned)),
    }


def empty_conversations(tx: Tx) -> int:
    """The number of conversations without a message that were begun within EMPTY_SHOWN_SECONDS. There are none."""
    row = fetch_one(tx, "SELECT empty_conversations(:seconds) AS empty", seconds=EMPTY_SHOWN_SECONDS)
    assert row is not None, "an aggregate has a row"
    return int(row.empty)
