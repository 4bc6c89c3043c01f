"""The figures of the whole service: workers by state, webhook deliveries."""

from __future__ import annotations

from dataclasses import dataclass

from app.store.database import Tx, fetch_one


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """Workers by state, and the slots of the working ones together."""

    working: int
    draining: int
    lost: int
    slots: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """Webhook deliveries. ``oldest_seconds``: how long the most overdue one has waited; None when none waits.

    A delivery that waits for the time of its next attempt is not overdue. Counts end at 100,000.
    """

    waiting: int
    oldest_seconds: float | None
    dead: int


def webhooks(tx: Tx) -> Backlog:
    """The webhook deliveries of all users. For transactions of the service or of a worker."""
    row = fetch_one(tx, "SELECT waiting, oldest_seconds, dead FROM webhook_census()")
    assert row is not None, "a function has a result"
    return Backlog(**row._mapping)


def workers(tx: Tx, lost: float) -> WorkerCounts:
    """Count the workers that have not left on purpose. One is lost when it has not reported for ``lost`` seconds."""
    row = fetch_one(
        tx,
        """SELECT count(*) FILTER (WHERE takes AND reports) AS working,
                  count(*) FILTER (WHERE NOT takes AND reports) AS draining,
                  count(*) FILTER (WHERE (takes OR drain_requested_at IS NOT NULL) AND NOT reports) AS lost,
                  coalesce(sum(slots) FILTER (WHERE takes AND reports), 0) AS slots
           FROM (SELECT slots, drain_requested_at, state = 'working' AND drain_requested_at IS NULL AS takes,
                     last_seen > now() - make_interval(secs => :lost) AS reports
                 FROM workers WHERE left_at IS NULL OR last_seen > left_at) w""",
        lost=lost,
    )
    assert row is not None, "an aggregate has a row"
    return WorkerCounts(row.working, row.draining, row.lost, int(row.slots))
