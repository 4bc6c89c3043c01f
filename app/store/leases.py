"""Leases of generations: claims, renewals, ends. Only PostgreSQL's clock counts here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.lease import Claimed, Lease
from app.domain.trace_context import TraceContext
from app.domain.upstreams import UpstreamRun
from app.store import checkpoints
from app.store.checkpoints import Checkpoint
from app.store.database import Tx, as_json, execute, fetch, fetch_one, mine
from app.store.moments import noted

# Seconds after the lease of a cancel expired until another request may claim the cancel. A worker claims it sooner:
# within a sweep and the delay of a takeover without Redis, some 7 s with the default settings.
CANCEL_AGAIN_SECONDS = 10.0


# ``left`` and ``lease_until`` are of the row before: the worker that had it, and the end of its lease.
_TAKEN = noted(
    "takeover",
    epoch="epoch + 1",
    more="'left', worker, 'lease_until', round(extract(epoch FROM lease_until), 3)",
    when="status = 'running'",
)
_CLAIMED = """RETURNING id, epoch, user_id, conversation_id, message_id, user_message_id, model, model_version,
    parameters, attempts, tries, target, cancel_at IS NOT NULL AS cancelled,
    CAST(extract(epoch FROM deadline - now()) AS float8) AS remaining,
    CAST(extract(epoch FROM now() - created_at) AS float8) AS age,
    CAST(extract(epoch FROM now() - started_at) AS float8) AS elapsed, request_id, upstream_run, key_id,
    traceparent, tracestate"""

# A lease is free when it was released or has expired. After an outage of the database that was longer than a lease,
# every lease has expired: workers have the time of one lease to renew first.
_FREE = """(status = 'running' AND (lease_until IS NULL
    OR lease_until < now() - make_interval(secs => :takeover_delay)
       AND pg_postmaster_start_time() < now() - make_interval(secs => :lease)))"""

# The answers of one conversation are generated one after the other.
_TURN = """NOT EXISTS (SELECT FROM generations ahead WHERE ahead.conversation_id = g.conversation_id
    AND ahead.seq < g.seq AND ahead.status IN ('queued', 'running'))"""


@dataclass(frozen=True, slots=True)
class Turn:
    """A generation that a free slot may begin. ``was_rung``: a doorbell was on its way for it."""

    generation_id: str
    was_rung: bool


def take_turn(tx: Tx, doorbell: str, most: int, lease: float, takeover_delay: float = 0.0) -> Turn | None:
    """Choose the generation that a free slot has to run, and hold it until the transaction ends; None without one.

    ``doorbell`` names the generation that the message was sent for. If that one runs and its lease is free, it is
    chosen. Otherwise the queued one is chosen whose turn it is among all users, of whom each may have ``most`` running.
    """
    row = fetch_one(
        tx,
        f"""SELECT g.id AS chosen, true AS was_rung FROM generations g WHERE g.id = :doorbell AND {_FREE}
            UNION ALL
            SELECT chosen, was_rung FROM take_turn(:most)
            WHERE NOT EXISTS (SELECT FROM generations g WHERE g.id = :doorbell AND {_FREE})""",
        doorbell=doorbell,
        most=most,
        lease=lease,
        takeover_delay=takeover_delay,
    )
    return Turn(row.chosen, row.was_rung) if row is not None and row.chosen is not None else None


def claim(
    tx: Tx, generation_id: str, worker: str, lease: float, total: float, takeover_delay: float = 0.0
) -> Claimed | None:
    """Claim a queued generation, or a running one whose lease is free. None: another worker has it.

    ``takeover_delay``: seconds for which an expired lease is left to other workers.
    """
    row = fetch_one(
        tx,
        f"""UPDATE generations g SET epoch = epoch + 1, status = 'running', tries = tries + 1, dispatches = 0,
                worker = :worker, lease_until = now() + make_interval(secs => :lease), next_dispatch_at = now(),
                started_at = coalesce(started_at, now()),
                deadline = coalesce(deadline, now() + make_interval(secs => :total)), {_TAKEN}
            WHERE id = :id AND (status = 'queued' AND {_TURN} OR {_FREE}) {_CLAIMED}""",
        id=generation_id,
        worker=worker,
        lease=lease,
        total=total,
        takeover_delay=takeover_delay,
    )
    return _claimed(row, by_worker=True) if row else None


def claim_to_cancel(tx: Tx, generation_id: str, lease: float) -> Claimed | None:
    """Claim a live generation to cancel it; every later claim of it has to cancel it too.

    None: it has ended, or a cancel is under way. A cancel whose lease expired is left to the workers for
    ``CANCEL_AGAIN_SECONDS``: requests that repeat a cancel would keep them from finishing it.
    The row keeps the name of the worker that had it.
    """
    row = fetch_one(
        tx,
        f"""UPDATE generations SET epoch = epoch + 1, status = 'running',
                cancel_at = coalesce(cancel_at, now()), next_dispatch_at = now(),
                started_at = coalesce(started_at, now()), lease_until = now() + make_interval(secs => :lease),
                {noted("cancel_requested", epoch="epoch + 1")}
            WHERE id = :id AND {mine()} AND status IN ('queued', 'running')
              AND (cancel_at IS NULL OR lease_until IS NULL OR lease_until < now() - make_interval(secs => :again))
            {_CLAIMED}""",
        id=generation_id,
        lease=lease,
        again=CANCEL_AGAIN_SECONDS,
    )
    return _claimed(row) if row else None


def take(tx: Tx, generation_id: str, lease: float) -> Claimed | None:
    """Claim a live generation from its worker, to end it otherwise than by a cancel. None: it has ended.

    The row keeps the name of the worker.
    """
    row = fetch_one(
        tx,
        f"""UPDATE generations SET epoch = epoch + 1, status = 'running', next_dispatch_at = now(),
                started_at = coalesce(started_at, now()), lease_until = now() + make_interval(secs => :lease),
                {noted("fail_requested", epoch="epoch + 1")}
            WHERE id = :id AND {mine()} AND status IN ('queued', 'running') AND cancel_at IS NULL {_CLAIMED}""",
        id=generation_id,
        lease=lease,
    )
    return _claimed(row) if row else None


def renew(tx: Tx, renewals: Sequence[Checkpoint], lease: float) -> set[str]:
    """Renew leases and add their checkpoints. Returns the ids of the generations whose lease was in force.

    The rows are locked by id: the checkpoints and the kept leases of a worker are renewed at once, and have rows in
    common.
    """
    renewals = sorted(renewals, key=lambda renewal: renewal.lease.generation_id)
    rows = fetch(
        tx,
        """UPDATE generations g SET lease_until = now() + make_interval(secs => :lease),
               first_token_at = coalesce(g.first_token_at, now() - make_interval(secs => given.age))
           FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS int[]), CAST(:ages AS float8[])) AS given(id, epoch, age)
           WHERE g.id = given.id AND g.epoch = given.epoch AND g.status = 'running'
               -- A released lease stays free, also for a renewal that was on its way.
               AND g.lease_until IS NOT NULL
           RETURNING g.id""",
        ids=[c.lease.generation_id for c in renewals],
        epochs=[c.lease.epoch for c in renewals],
        ages=[c.first_token_age for c in renewals],
        lease=lease,
    )
    held = {row.id for row in rows}
    if fresh := [c for c in renewals if c.body is not None and c.lease.generation_id in held]:
        checkpoints.append(tx, fresh)
    return held


def holds(tx: Tx, lease: Lease) -> bool:
    """True while this lease is in force. The row is locked, so that it stays in force in this transaction."""
    row = fetch_one(
        tx,
        f"""SELECT id FROM generations
            WHERE id = :id AND {mine()} AND epoch = :epoch AND status = 'running' FOR UPDATE""",
        id=lease.generation_id,
        epoch=lease.epoch,
    )
    return row is not None


def advance(tx: Tx, lease: Lease, attempts: list[Any], seconds: float, target: str | None = None) -> Claimed | None:
    """Begin a new revision under the worker's own lease, and store the attempts so far. None: the lease is lost."""
    row = fetch_one(
        tx,
        f"""UPDATE generations SET epoch = epoch + 1, attempts = :attempts, target = coalesce(:target, target),
                lease_until = now() + make_interval(secs => :seconds),
                {noted("revision", epoch="epoch + 1")}
            WHERE id = :id AND epoch = :epoch AND status = 'running' {_CLAIMED}""",
        id=lease.generation_id,
        epoch=lease.epoch,
        attempts=as_json(attempts),
        target=target,
        seconds=seconds,
    )
    return _claimed(row, by_worker=True) if row else None


def leave(tx: Tx, lease: Lease) -> None:
    """End a lease as if it had expired. Workers without a delay may claim it at once."""
    execute(
        tx,
        f"""UPDATE generations SET lease_until = now(), tries = greatest(tries - 1, 0), next_dispatch_at = now(),
               {noted("released")}
           WHERE id = :id AND epoch = :epoch AND status = 'running'""",
        id=lease.generation_id,
        epoch=lease.epoch,
    )


def expire(tx: Tx, lease: Lease) -> None:
    """End a lease as if it had expired. A worker without Redis leaves it to others for a while."""
    execute(
        tx,
        f"""UPDATE generations SET lease_until = now(), next_dispatch_at = now()
            WHERE id = :id AND {mine()} AND epoch = :epoch AND status = 'running'""",
        id=lease.generation_id,
        epoch=lease.epoch,
    )


def release(tx: Tx, lease: Lease, attempts: list[Any], target: str | None = None) -> bool:
    """Release a lease: the next worker may claim at once, and this try does not count. False: it was lost."""
    return (
        execute(
            tx,
            f"""UPDATE generations SET lease_until = NULL, tries = greatest(tries - 1, 0),
                   next_dispatch_at = now(), attempts = :attempts, target = coalesce(:target, target),
                   {noted("released")}
               WHERE id = :id AND epoch = :epoch AND status = 'running'""",
            id=lease.generation_id,
            epoch=lease.epoch,
            attempts=as_json(attempts),
            target=target,
        )
        == 1
    )


def raise_epoch(tx: Tx, lease: Lease, known: int) -> bool:
    """Give the lease back at a later epoch, which readers know from a log. False: the lease was lost."""
    statement = f"""UPDATE generations SET epoch = greatest(epoch, :known), lease_until = NULL, next_dispatch_at = now()
                    WHERE id = :id AND {mine()} AND epoch = :epoch AND status = 'running'"""
    return execute(tx, statement, id=lease.generation_id, epoch=lease.epoch, known=known) == 1


def next_to_ring(tx: Tx, most: int) -> str | None:
    """The queued generation whose turn has come by an end, if no doorbell is on its way for it."""
    row = fetch_one(tx, "SELECT next_to_ring(:most) AS id", most=most)
    return row.id if row else None


def due(tx: Tx, limit: int, lease: float, most: int, takeover_delay: float = 0.0) -> dict[str, str | None]:
    """The generations that a sweep begins: queued ones, and running ones whose lease is free.

    Each is put off by min(2^dispatches, 60) s until it is claimed. Returned are the ids, each with the id of its HTTP
    request or None. Of a user's queued ones only those are due that may begin when ``most`` of the user may run.
    ``takeover_delay``: seconds for which an expired lease is left to other workers.
    """
    rows = fetch(
        tx,
        f"""WITH running AS (
                SELECT user_id, count(*) AS many FROM generations WHERE status = 'running' GROUP BY user_id
            ), waiting AS (
                SELECT g.id, g.created_at, coalesce(running.many, 0) AS many,
                    row_number() OVER (PARTITION BY g.user_id ORDER BY g.created_at, g.id) AS nth
                FROM generations g LEFT JOIN running USING (user_id)
                WHERE g.status = 'queued' AND g.next_dispatch_at <= now() AND {_TURN}
            ), found AS (
                SELECT id, many + nth AS place, created_at FROM waiting WHERE many + nth <= :most
                UNION ALL
                SELECT id, 0, created_at FROM generations
                WHERE {_FREE} AND next_dispatch_at <= now()
            ), due AS (
                -- A row that changed meanwhile is checked again, by these conditions only.
                SELECT g.id FROM generations g JOIN found USING (id)
                WHERE g.next_dispatch_at <= now() AND (status = 'queued' OR {_FREE})
                ORDER BY found.place, found.created_at LIMIT :limit FOR UPDATE OF g SKIP LOCKED
            )
            UPDATE generations g SET dispatches = dispatches + 1,
                next_dispatch_at = now() + make_interval(secs => least(power(2, dispatches + 1), 60))
            FROM due WHERE g.id = due.id RETURNING g.id, g.request_id""",
        limit=limit,
        lease=lease,
        most=most,
        takeover_delay=takeover_delay,
    )
    return {row.id: row.request_id for row in rows}


def _claimed(row: Any, *, by_worker: bool = False) -> Claimed:
    """``by_worker``: the tries of the row include this claim."""
    fields = dict(row._mapping)
    begun = max(0, fields["tries"] - by_worker)
    run = UpstreamRun(**known) if (known := fields.pop("upstream_run")) else None
    trace = TraceContext.read(fields.pop("traceparent"), fields.pop("tracestate"))
    lease = Lease(fields.pop("id"), fields.pop("epoch"))
    return Claimed(lease=lease, upstream_run=run, begun=begun, trace=trace, **fields)
