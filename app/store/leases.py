"""The lease of a generation: who may write it, under which epoch, for how long. Only PostgreSQL's clock counts here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.store.database import Tx, as_json, execute, fetch, fetch_one

# A row of checkpoints grows up to this many bytes: larger ones do not find room in their page again when many grow.
ROW_BYTES = 512


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write under one epoch. Every write shows it."""

    generation_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed generation: the lease, and what is needed to work on it. ``remaining``: seconds to its deadline;
    ``age``: seconds since it was accepted, at the claim.
    """

    lease: Lease
    user_id: str
    conversation_id: str
    message_id: str
    user_message_id: str
    model: str
    parameters: dict[str, Any]
    attempts: list[Any]
    tries: int
    cancelled: bool
    remaining: float | None
    age: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A renewal of a lease, with the packed events since the last one, if any. ``body`` None: only the lease.

    ``first_token_age``: how long ago, in seconds, the first piece of the answer came; None: not yet.
    """

    lease: Lease
    user_id: str
    first_n: int
    last_n: int
    body: bytes | None
    first_token_age: float | None


_CLAIMED = """RETURNING id, epoch, user_id, conversation_id, message_id, user_message_id, model, parameters, attempts,
    tries, cancel_at IS NOT NULL AS cancelled, CAST(extract(epoch FROM deadline - now()) AS float8) AS remaining,
    CAST(extract(epoch FROM now() - created_at) AS float8) AS age"""

# Free: given back (no lease), or expired. A database that was away longer than a lease makes every lease
# look expired: the workers get the time of one lease to renew first.
_FREE = """(status = 'running' AND (lease_until IS NULL
    OR lease_until < now() - make_interval(secs => :late)
       AND pg_postmaster_start_time() < now() - make_interval(secs => :lease)))"""


# Answers of one conversation are made one after the other, whatever is queued.
_TURN = """NOT EXISTS (SELECT FROM generations ahead WHERE ahead.conversation_id = g.conversation_id
    AND ahead.seq < g.seq AND ahead.status IN ('queued', 'running'))"""


def claim(tx: Tx, generation_id: str, worker: str, lease: float, total: float, late: float = 0.0) -> Claimed | None:
    """Take over a queued generation, or a running one whose lease has expired. None: somebody else has it.

    ``late``: for so many seconds an expired lease is left to others.
    """
    row = fetch_one(
        tx,
        f"""UPDATE generations g SET epoch = epoch + 1, status = 'running', tries = tries + 1, dispatches = 0,
                worker = :worker, lease_until = now() + make_interval(secs => :lease), next_dispatch_at = now(),
                started_at = coalesce(started_at, now()),
                deadline = coalesce(deadline, now() + make_interval(secs => :total))
            WHERE id = :id AND (status = 'queued' AND {_TURN} OR {_FREE}) {_CLAIMED}""",
        id=generation_id,
        worker=worker,
        lease=lease,
        total=total,
        late=late,
    )
    return _claimed(row) if row else None


def claim_to_cancel(tx: Tx, generation_id: str, worker: str, lease: float) -> Claimed | None:
    """Take a live generation away from whoever has it, for good: whoever takes over later must cancel too.

    None: it has ended, or somebody is cancelling it already; taking that over would only make both begin anew.
    """
    row = fetch_one(
        tx,
        f"""UPDATE generations SET epoch = epoch + 1, status = 'running', worker = :worker,
                cancel_at = coalesce(cancel_at, now()), next_dispatch_at = now(),
                started_at = coalesce(started_at, now()), lease_until = now() + make_interval(secs => :lease)
            WHERE id = :id AND status IN ('queued', 'running')
              AND (cancel_at IS NULL OR lease_until IS NULL OR lease_until < now()) {_CLAIMED}""",
        id=generation_id,
        worker=worker,
        lease=lease,
    )
    return _claimed(row) if row else None


def take(tx: Tx, generation_id: str, worker: str, lease: float) -> Claimed | None:
    """Take a live generation away from whoever has it, to end it otherwise than by a cancel."""
    row = fetch_one(
        tx,
        f"""UPDATE generations SET epoch = epoch + 1, status = 'running', worker = :worker, next_dispatch_at = now(),
                started_at = coalesce(started_at, now()), lease_until = now() + make_interval(secs => :lease)
            WHERE id = :id AND status IN ('queued', 'running') AND cancel_at IS NULL {_CLAIMED}""",
        id=generation_id,
        worker=worker,
        lease=lease,
    )
    return _claimed(row) if row else None


def renew(tx: Tx, checkpoints: Sequence[Checkpoint], lease: float) -> set[str]:
    """Renew leases and add their checkpoints. The ids whose lease still held."""
    rows = fetch(
        tx,
        """UPDATE generations g SET lease_until = now() + make_interval(secs => :lease),
               first_token_at = coalesce(g.first_token_at, now() - make_interval(secs => given.age))
           FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS int[]), CAST(:ages AS float8[])) AS given(id, epoch, age)
           WHERE g.id = given.id AND g.epoch = given.epoch AND g.status = 'running'
               -- One that was given back stays free, also for a renewal that was on its way.
               AND g.lease_until IS NOT NULL
           RETURNING g.id""",
        ids=[c.lease.generation_id for c in checkpoints],
        epochs=[c.lease.epoch for c in checkpoints],
        ages=[c.first_token_age for c in checkpoints],
        lease=lease,
    )
    held = {row.id for row in rows}
    if fresh := [c for c in checkpoints if c.body is not None and c.lease.generation_id in held]:
        _save(tx, fresh)
    return held


def _save(tx: Tx, checkpoints: Sequence[Checkpoint]) -> None:
    """Add checkpoints of generations that this transaction holds: nobody else adds any to them meanwhile.

    That is why it need not be an upsert, which writes more. What goes on where the newest row ends is put in front of
    what that has, as long as it stays small: of a heap-only update PostgreSQL writes ahead what lies between the first
    and the last byte that changed, so only what is new, and neither a key nor, later, a deletion. After a lost COMMIT
    reply the same events come again, maybe with more behind them. Two saves can be on their way at once: one that
    arrives when all it has is there adds nothing.
    """
    execute(
        tx,
        """MERGE INTO generation_chunks c
           USING (
               SELECT given.*, newest.goes_on,
                   CASE WHEN newest.goes_on THEN newest.first_n ELSE given.from_n END AS first_n
               FROM unnest(CAST(:ids AS uuid[]), CAST(:users AS uuid[]), CAST(:epochs AS int[]),
                   CAST(:firsts AS int[]), CAST(:lasts AS int[]), CAST(:bodies AS bytea[]))
                   AS given(id, user_id, epoch, from_n, last_n, body)
               LEFT JOIN LATERAL (
                   SELECT first_n, last_n,
                       last_n = given.from_n - 1 AND octet_length(body) + octet_length(given.body) <= :most AS goes_on
                   FROM generation_chunks
                   WHERE generation_id = given.id AND epoch = given.epoch ORDER BY first_n DESC LIMIT 1
               ) newest ON true
               WHERE (newest.last_n >= given.last_n) IS NOT TRUE
           ) given
           ON c.generation_id = given.id AND c.epoch = given.epoch AND c.first_n = given.first_n
           WHEN MATCHED AND given.goes_on THEN UPDATE SET last_n = given.last_n, body = given.body || c.body
           WHEN MATCHED THEN UPDATE SET last_n = given.last_n, body = given.body
           WHEN NOT MATCHED THEN INSERT (generation_id, user_id, epoch, first_n, last_n, body)
               VALUES (given.id, given.user_id, given.epoch, given.first_n, given.last_n, given.body)""",
        most=ROW_BYTES,
        ids=[c.lease.generation_id for c in checkpoints],
        users=[c.user_id for c in checkpoints],
        epochs=[c.lease.epoch for c in checkpoints],
        firsts=[c.first_n for c in checkpoints],
        lasts=[c.last_n for c in checkpoints],
        bodies=[c.body for c in checkpoints],
    )


def holds(tx: Tx, lease: Lease) -> bool:
    """Whether this lease is still the one in force; holds the row so that it stays so in this transaction."""
    row = fetch_one(
        tx,
        "SELECT id FROM generations WHERE id = :id AND epoch = :epoch AND status = 'running' FOR UPDATE",
        id=lease.generation_id,
        epoch=lease.epoch,
    )
    return row is not None


def advance(tx: Tx, lease: Lease, attempts: list[Any], seconds: float) -> Claimed | None:
    """Begin a new revision under one's own lease, recording the attempts so far. None: the lease is lost."""
    row = fetch_one(
        tx,
        f"""UPDATE generations SET epoch = epoch + 1, attempts = :attempts,
                lease_until = now() + make_interval(secs => :seconds)
            WHERE id = :id AND epoch = :epoch AND status = 'running' {_CLAIMED}""",
        id=lease.generation_id,
        epoch=lease.epoch,
        attempts=as_json(attempts),
        seconds=seconds,
    )
    return _claimed(row) if row else None


def leave(tx: Tx, lease: Lease) -> None:
    """End a lease as if its time had run out: free for those at once who are not told to be late."""
    execute(
        tx,
        """UPDATE generations SET lease_until = now(), tries = greatest(tries - 1, 0), next_dispatch_at = now()
           WHERE id = :id AND epoch = :epoch AND status = 'running'""",
        id=lease.generation_id,
        epoch=lease.epoch,
    )


def release(tx: Tx, lease: Lease, attempts: list[Any]) -> bool:
    """Give a lease back: the next worker may claim at once, and this try does not count."""
    return (
        execute(
            tx,
            """UPDATE generations SET lease_until = NULL, tries = greatest(tries - 1, 0),
                   next_dispatch_at = now(), attempts = :attempts
               WHERE id = :id AND epoch = :epoch AND status = 'running'""",
            id=lease.generation_id,
            epoch=lease.epoch,
            attempts=as_json(attempts),
        )
        == 1
    )


def call_next(tx: Tx, conversation_id: str) -> str | None:
    """The conversation's next queued generation, if its turn has come; the sweeper is told to look at it at once."""
    row = fetch_one(
        tx,
        f"""UPDATE generations g SET next_dispatch_at = now()
            WHERE conversation_id = :id AND status = 'queued' AND {_TURN} RETURNING id""",
        id=conversation_id,
    )
    return row.id if row else None


def due(tx: Tx, limit: int, lease: float, late: float = 0.0, grace: float = 0.0) -> list[str]:
    """Queued generations nobody came for, running ones nobody renews. Each is put off, ever longer, until claimed.

    ``late`` as for ``claim``; for ``grace`` seconds everything is left to others.
    """
    rows = fetch(
        tx,
        f"""WITH due AS (
                SELECT id FROM generations g
                WHERE status IN ('queued', 'running') AND next_dispatch_at <= now() - make_interval(secs => :grace)
                  AND (status = 'queued' AND {_TURN} OR {_FREE})
                ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
            )
            UPDATE generations g SET dispatches = dispatches + 1,
                next_dispatch_at = now() + make_interval(secs => least(power(2, dispatches + 1), 60))
            FROM due WHERE g.id = due.id RETURNING g.id""",
        limit=limit,
        lease=lease,
        late=max(late, grace),
        grace=grace,
    )
    return [row.id for row in rows]


def _claimed(row: Any) -> Claimed:
    fields = dict(row._mapping)
    return Claimed(lease=Lease(fields.pop("id"), fields.pop("epoch")), **fields)
