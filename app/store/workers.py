"""The rows of worker processes: their heartbeats, and the requests to drain. Only PostgreSQL's clock counts here.

The state ``draining`` of a row is what its worker reports. ``drain_requested_at`` is set while an operator wants the
worker to take nothing new; the worker reads it with each heartbeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.workers import DrainMode, DrainOrder, DrainRequest, WorkerState
from app.store.database import Tx, execute, fetch, fetch_one

# A row that was not renewed for this many days is removed. Until then an operator sees the worker as lost.
KEPT_DAYS = 1
# Seconds for which a worker that has stopped reporting is counted as lost: its operator may have removed it for good.
LOST_SHOWN_SECONDS = 600

# Takes answers: condition of a row ``w``.
_WORKING = """(w.state = 'working' AND w.drain_requested_at IS NULL
    AND w.last_seen > now() - make_interval(secs => :lost))"""

# Has not left on purpose: an earlier release, which does not know ``left_at``, may have begun under the name since.
_THERE = "(w.left_at IS NULL OR w.last_seen > w.left_at)"

_COLUMNS = """w.name, w.version, w.slots, w.running, w.started, w.last_seen, w.drain_requested_at, w.drain_mode,
    w.drain_reason, w.may_stop, CASE WHEN w.last_seen <= now() - make_interval(secs => :lost) THEN 'lost'
        WHEN w.state = 'draining' OR w.drain_requested_at IS NOT NULL THEN 'draining' ELSE 'working' END AS state"""


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a worker process. ``may_stop``: it is drained on request, and nothing runs in it."""

    name: str
    version: str
    state: str
    slots: int
    running: int
    may_stop: bool = False


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process that has not left on purpose."""

    name: str
    version: str
    state: WorkerState
    slots: int
    running: int
    started: datetime
    last_seen: datetime
    drain: DrainRequest | None
    may_stop: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """``alive``: workers that take answers, with ``slots`` in all. ``drained``: living ones on request.

    ``leaving``: those that began to drain, or have left, a moment ago. ``lost``: workers that stopped reporting without
    leaving, at most LOST_SHOWN_SECONDS ago.
    """

    alive: int
    leaving: int
    lost: int
    slots: int
    drained: int


def register(tx: Tx, report: Report, lost: float) -> DrainOrder | None:
    """Begin a life of this worker; the request that it is under. Old rows are removed.

    The row of an earlier process of this name is replaced. A request to drain ends with the process that left on
    purpose or was allowed to stop. It stays in force when that process died before: a supervisor has started it again.
    """
    execute(tx, "DELETE FROM workers WHERE last_seen < now() - make_interval(days => :days)", days=KEPT_DAYS)
    ended = "w.left_at IS NOT NULL OR w.may_stop"
    kept = ", ".join(
        f"{name} = CASE WHEN {ended} THEN NULL ELSE w.{name} END"
        for name in ("drain_requested_at", "drain_mode", "drain_reason")
    )
    return _write(tx, report, lost, f"started = now(), {kept}, ")


def beat(tx: Tx, report: Report, lost: float) -> DrainOrder | None:
    """Renew the row of this worker; the request that it is under."""
    return _write(tx, report, lost, "")


def leave(tx: Tx, report: Report, lost: float) -> DrainOrder | None:
    """Write that this process has given everything back and ends. A request to drain it has reached its aim."""
    _write(tx, report, lost, "drain_requested_at = NULL, drain_mode = NULL, drain_reason = NULL, ")
    execute(tx, "UPDATE workers SET left_at = now() WHERE name = :name", name=report.name)
    return None


def _write(tx: Tx, report: Report, lost: float, also: str) -> DrainOrder | None:
    row = fetch_one(
        tx,
        f"""INSERT INTO workers AS w (name, version, state, slots, running)
            VALUES (:name, :version, :state, :slots, :running)
            ON CONFLICT (name) DO UPDATE SET {also}version = EXCLUDED.version, state = EXCLUDED.state,
                slots = EXCLUDED.slots, running = EXCLUDED.running, last_seen = now(), left_at = NULL,
                -- A report that was on its way while the request was ended.
                may_stop = :may_stop AND w.drain_requested_at IS NOT NULL
            RETURNING w.drain_mode AS mode""",
        name=report.name,
        version=report.version,
        state=report.state,
        slots=report.slots,
        running=report.running,
        may_stop=report.may_stop,
    )
    assert row is not None, "an upsert has a row"
    return DrainOrder(row.mode, free_elsewhere(tx, report.name, lost)) if row.mode else None


def free_elsewhere(tx: Tx, name: str, lost: float) -> int:
    """The number of free slots of the other workers that take answers.

    Only those count that have reported within half of ``lost`` seconds: what is handed over to a worker that has just
    been killed waits.
    """
    row = fetch_one(
        tx,
        f"""SELECT coalesce(sum(greatest(w.slots - w.running, 0)), 0) AS free FROM workers w
            WHERE w.name <> :name AND {_WORKING}""",
        name=name,
        lost=lost / 2,
    )
    assert row is not None, "an aggregate has a row"
    return int(row.free)


def tally(tx: Tx, lost: float, gap: float) -> Tally:
    """Count the workers. A worker is alive when it has reported within ``lost`` seconds and takes answers.

    One that left, or was requested to drain, counts as leaving for ``gap`` seconds from then.
    """
    row = fetch_one(
        tx,
        f"""SELECT count(*) FILTER (WHERE {_WORKING}) AS alive,
                  coalesce(sum(w.slots) FILTER (WHERE {_WORKING}), 0) AS slots,
                  count(*) FILTER (WHERE (w.state = 'draining' OR w.drain_requested_at IS NOT NULL)
                      AND coalesce(w.drain_requested_at, w.last_seen) > now() - make_interval(secs => :gap)) AS leaving,
                  count(*) FILTER (WHERE (w.state = 'working' OR w.drain_requested_at IS NOT NULL)
                      AND w.last_seen <= now() - make_interval(secs => :lost)
                      AND w.last_seen > now() - make_interval(secs => :shown)) AS lost,
                  count(*) FILTER (WHERE w.drain_requested_at IS NOT NULL
                      AND w.last_seen > now() - make_interval(secs => :lost)) AS drained
           FROM workers w""",
        lost=lost,
        gap=gap,
        shown=LOST_SHOWN_SECONDS,
    )
    assert row is not None, "an aggregate has a row"
    return Tally(row.alive, row.leaving, row.lost, int(row.slots), row.drained)


def total_slots(tx: Tx, lost: float) -> int:
    """The number of slots of all workers that take answers together."""
    row = fetch_one(tx, f"SELECT coalesce(sum(w.slots), 0) AS total FROM workers w WHERE {_WORKING}", lost=lost)
    assert row is not None, "an aggregate has a row"
    return int(row.total)


def every(tx: Tx, lost: float) -> list[Worker]:
    """The workers that have not left on purpose, by name."""
    rows = fetch(tx, f"SELECT {_COLUMNS} FROM workers w WHERE {_THERE} ORDER BY w.name", lost=lost)
    return [_worker(row) for row in rows]


def get(tx: Tx, name: str, lost: float) -> Worker | None:
    """One of them; the row is locked until the transaction ends."""
    row = fetch_one(
        tx, f"SELECT {_COLUMNS} FROM workers w WHERE w.name = :name AND {_THERE} FOR UPDATE", name=name, lost=lost
    )
    return _worker(row) if row else None


def request_drain(tx: Tx, name: str, mode: DrainMode, reason: str | None) -> None:
    """Request a worker to drain. Of a request that is under way the time stays, and the reason where none is given."""
    execute(
        tx,
        """UPDATE workers SET drain_requested_at = coalesce(drain_requested_at, now()), drain_mode = :mode,
               drain_reason = coalesce(:reason, drain_reason), may_stop = false WHERE name = :name""",
        name=name,
        mode=mode,
        reason=reason,
    )


def end_drain(tx: Tx, name: str) -> None:
    """End a request: the worker takes answers again when it reads the row."""
    execute(
        tx,
        """UPDATE workers SET drain_requested_at = NULL, drain_mode = NULL, drain_reason = NULL, may_stop = false
           WHERE name = :name""",
        name=name,
    )


def _worker(row: Any) -> Worker:
    drain = DrainRequest(row.drain_requested_at, row.drain_mode, row.drain_reason) if row.drain_requested_at else None
    return Worker(
        row.name,
        row.version,
        row.state,
        row.slots,
        row.running,
        row.started,
        row.last_seen,
        drain,
        row.may_stop,
    )
