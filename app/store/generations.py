"""The generation row: how it was asked for, how far it is, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.cursor import START, Cursor
from app.store.database import Database, Tx, as_json, execute, fetch, fetch_one
from app.store.leases import Lease


@dataclass(frozen=True, slots=True)
class Standing:
    """As much of a generation's row as following it takes: what it belongs to, and how far it is."""

    id: str
    conversation_id: str
    message_id: str
    user_message_id: str
    status: str
    epoch: int
    final: Cursor | None


@dataclass(frozen=True, slots=True)
class Generation(Standing):
    """A generation's row as people may see it; its content lives in the log and in the message."""

    user_id: str
    seq: int
    model: str
    tries: int
    cancel_at: datetime | None
    metadata: dict[str, Any]
    attempts: list[Any]
    sha256: str | None
    finish_reason: str | None
    error: dict[str, Any] | None
    usage: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    first_token_at: datetime | None
    finished_at: datetime | None
    last_updated: datetime
    cost: Decimal | None
    currency: str | None


_COLUMNS = """g.id, g.user_id, g.conversation_id, g.message_id, g.user_message_id, g.seq, g.model, g.status, g.epoch,
    g.tries, g.cancel_at, g.metadata, g.attempts, g.final_epoch, g.final_n, g.sha256, g.finish_reason, g.error, g.usage,
    g.created_at, g.started_at, g.first_token_at, g.finished_at, g.last_updated, g.cost, g.currency"""

_ONE = f"SELECT {_COLUMNS} FROM generations g WHERE g.id = :id"
# The other columns take PostgreSQL as long again, and whoever comes back waits for it.
_STANDING = """SELECT g.id, g.conversation_id, g.message_id, g.user_message_id, g.status, g.epoch,
    g.final_epoch, g.final_n FROM generations g WHERE g.id = :id"""


def add(
    tx: Tx,
    *,
    generation_id: str,
    user_id: str,
    conversation_id: str,
    message_id: str,
    user_message_id: str,
    seq: int,
    model: str,
    parameters: dict[str, Any],
    metadata: dict[str, Any],
    idempotency_key: str | None,
    request_hash: bytes,
    grace: float,
) -> None:
    """Add a queued generation. The sweeper leaves it alone for ``grace`` seconds: the enqueue is on its way."""
    execute(
        tx,
        """INSERT INTO generations (id, user_id, conversation_id, message_id, user_message_id, seq, model, parameters,
               metadata, idempotency_key, request_hash, next_dispatch_at)
           VALUES (:id, :user_id, :conversation_id, :message_id, :user_message_id, :seq, :model, :parameters,
               :metadata, :idempotency_key, :request_hash, now() + make_interval(secs => :grace))""",
        id=generation_id,
        user_id=user_id,
        conversation_id=conversation_id,
        message_id=message_id,
        user_message_id=user_message_id,
        seq=seq,
        model=model,
        parameters=as_json(parameters),
        metadata=as_json(metadata),
        idempotency_key=idempotency_key,
        request_hash=request_hash,
        grace=grace,
    )


def hold_key(tx: Tx, user_id: str, key: str) -> None:
    """Make simultaneous requests with one idempotency key wait for each other, until the transaction ends."""
    fetch(tx, "SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))", key=f"{user_id} {key}")


def by_key(tx: Tx, key: str) -> tuple[Generation, bytes] | None:
    """The user's generation under an idempotency key, with the hash of the request that made it."""
    row = fetch_one(tx, f"SELECT {_COLUMNS}, g.request_hash FROM generations g WHERE g.idempotency_key = :key", key=key)
    return (_generation(row), bytes(row.request_hash)) if row else None


def get(tx: Tx, generation_id: str) -> Generation | None:
    """One generation."""
    row = fetch_one(tx, _ONE, id=generation_id)
    return _generation(row) if row else None


def of_user(database: Database, user_id: str, generation_id: str) -> Standing | None:
    """How far one is, if this user has it: all that resuming its stream asks of PostgreSQL, so in one round trip."""
    row = database.ask(user_id, _STANDING, id=generation_id)
    if row is None:
        return None
    final = _final(row)
    return Standing(**row, final=final)


def live_in(tx: Tx, conversation_id: str) -> list[Generation]:
    """What is queued or running in a conversation, oldest first."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM generations g
            WHERE g.conversation_id = :id AND g.status IN ('queued', 'running') ORDER BY g.seq""",
        id=conversation_id,
    )
    return [_generation(row) for row in rows]


def live_of(tx: Tx, user_id: str) -> list[Generation]:
    """What is queued or running for a user, oldest first."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM generations g
            WHERE g.user_id = :user_id AND g.status IN ('queued', 'running') ORDER BY g.id""",
        user_id=user_id,
    )
    return [_generation(row) for row in rows]


def some(tx: Tx, generation_ids: Sequence[str]) -> list[Generation]:
    """Those of them that exist."""
    rows = fetch(
        tx,
        f"SELECT {_COLUMNS} FROM generations g WHERE g.id = ANY(CAST(:ids AS uuid[])) ORDER BY g.id",
        ids=list(generation_ids),
    )
    return [_generation(row) for row in rows]


def queued_total(tx: Tx) -> int:
    """How many generations of everybody wait."""
    row = fetch_one(tx, "SELECT queued_total() AS total")
    return int(row.total) if row else 0


def tokens_today(tx: Tx, user_id: str) -> tuple[int, int]:
    """The tokens of a user's answers that ended this UTC day, and the seconds that are left of it.

    Deleting them afterwards does not give the tokens back.
    """
    row = fetch_one(
        tx,
        """SELECT coalesce(sum(input_tokens + output_tokens), 0) AS used,
               ceil(extract(epoch FROM date_trunc('day', now(), 'UTC') + interval '1 day' - now())) AS left
           FROM usage_days WHERE user_id = :user_id AND day = CAST(now() AT TIME ZONE 'UTC' AS date)""",
        user_id=user_id,
    )
    assert row is not None, "an aggregate has a row"
    return int(row.used), int(row.left)


def queue_position(tx: Tx, generation_id: str) -> int:
    """How many of everybody's queued generations are at or before this one: 1 is the next."""
    row = fetch_one(tx, "SELECT queue_position(CAST(:id AS uuid)) AS position", id=generation_id)
    return int(row.position) if row else 0


def finish(
    tx: Tx,
    lease: Lease,
    *,
    status: str,
    final_n: int,
    sha256: str,
    finish_reason: str | None,
    error: dict[str, Any] | None,
    usage: dict[str, Any] | None,
    attempts: list[Any],
    first_token_age: float | None,
    cost: Decimal | None,
    currency: str | None,
) -> bool:
    """Write the end. False when the lease is not in force any more."""
    return (
        execute(
            tx,
            """UPDATE generations SET status = :status, final_epoch = epoch, final_n = :final_n, sha256 = :sha256,
                   finish_reason = :finish_reason, error = :error, usage = :usage, attempts = :attempts,
                   cost = :cost, currency = :currency,
                   first_token_at = coalesce(first_token_at, now() - make_interval(secs => :age)),
                   finished_at = clock_timestamp(), lease_until = NULL
               WHERE id = :id AND epoch = :epoch AND status = 'running'""",
            id=lease.generation_id,
            epoch=lease.epoch,
            status=status,
            final_n=final_n,
            sha256=sha256,
            finish_reason=finish_reason,
            error=as_json(error) if error is not None else None,
            usage=as_json(usage) if usage is not None else None,
            attempts=as_json(attempts),
            age=first_token_age,
            cost=cost,
            currency=currency,
        )
        == 1
    )


def mark_running(tx: Tx, message_id: str) -> None:
    """Show in the message that its answer has begun."""
    execute(tx, "UPDATE messages SET status = 'running' WHERE id = :id AND status = 'queued'", id=message_id)


def ends(tx: Tx, generation_ids: Sequence[str]) -> dict[str, Cursor | None]:
    """For each that exists: the position of its ``done``; while it is live, of the newest event that is stored.

    None: it runs, and nothing of it is stored yet.
    """
    rows = fetch(
        tx,
        """SELECT g.id, g.status, coalesce(g.final_epoch, c.epoch) AS epoch, coalesce(g.final_n, c.last_n) AS n
           FROM generations g LEFT JOIN LATERAL (
               SELECT epoch, last_n FROM generation_chunks WHERE generation_id = g.id
               ORDER BY epoch DESC, first_n DESC LIMIT 1
           ) c ON g.final_epoch IS NULL
           WHERE g.id = ANY(CAST(:ids AS uuid[]))""",
        ids=list(generation_ids),
    )
    return {row.id: _newest(row) for row in rows}


def _newest(row: Any) -> Cursor | None:
    if row.epoch is not None:
        return Cursor(row.epoch, row.n)
    return START if row.status == "queued" else None


def queue_positions(tx: Tx, generation_ids: Sequence[str]) -> dict[str, int]:
    """The queue position of each that still waits."""
    rows = fetch(
        tx,
        """SELECT id, queue_position(id) AS position FROM generations
           WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'queued'""",
        ids=list(generation_ids),
    )
    return {row.id: int(row.position) for row in rows}


def census(tx: Tx) -> dict[str, float]:
    """What an operator looks at first: how many wait and run, and how long the oldest has waited, in seconds.

    ``working`` are the running ones whose worker has shown itself within its lease.
    """
    row = fetch_one(
        tx,
        """SELECT count(*) FILTER (WHERE status = 'queued') AS queued,
                  count(*) FILTER (WHERE status = 'running') AS running,
                  count(*) FILTER (WHERE status = 'running' AND lease_until > now()) AS working,
                  coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE status = 'queued')), 0) AS oldest
           FROM generations WHERE status IN ('queued', 'running')""",
    )
    assert row is not None, "an aggregate has a row"
    return {
        "queued": row.queued,
        "running": row.running,
        "working": row.working,
        "oldest_queued_seconds": float(row.oldest),
    }


def _generation(row: Any) -> Generation:
    fields = dict(row._mapping)
    fields.pop("request_hash", None)
    final = _final(fields)
    return Generation(**fields, final=final)


def _final(fields: dict[str, Any]) -> Cursor | None:
    """Takes the two columns of the end out of a row."""
    epoch, n = fields.pop("final_epoch"), fields.pop("final_n")
    return None if epoch is None else Cursor(epoch, n)
