"""The row of a generation: its request, its progress and its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.cursor import START, Cursor
from app.domain.lease import Lease
from app.store.database import Database, Tx, as_json, fetch, fetch_one, mine


@dataclass(frozen=True, slots=True)
class Standing:
    """The part of a generation's row that a stream needs: its conversation and messages, status, epoch and end."""

    id: str
    conversation_id: str
    message_id: str
    user_message_id: str
    status: str
    epoch: int
    final: Cursor | None


@dataclass(frozen=True, slots=True)
class Generation(Standing):
    """The part of a generation's row that its user may see. Its text is in the log and in the message."""

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


@dataclass(frozen=True, slots=True)
class Ended:
    """A written end. ``has_receivers``: its user has webhook endpoints, or its request has named a ``webhook_url``."""

    at: datetime
    has_receivers: bool


_COLUMNS = """g.id, g.user_id, g.conversation_id, g.message_id, g.user_message_id, g.seq, g.model, g.status, g.epoch,
    g.tries, g.cancel_at, g.metadata, g.attempts, g.final_epoch, g.final_n, g.sha256, g.finish_reason, g.error, g.usage,
    g.created_at, g.started_at, g.first_token_at, g.finished_at, g.last_updated, g.cost, g.currency"""

_MINE = mine("g.user_id")
_ONE = f"SELECT {_COLUMNS} FROM generations g WHERE g.id = :id AND {_MINE}"
# Without the other columns PostgreSQL takes half the time, and a resuming client waits for this statement.
_STANDING = f"""SELECT g.id, g.conversation_id, g.message_id, g.user_message_id, g.status, g.epoch,
    g.final_epoch, g.final_n FROM generations g WHERE g.id = :id AND {_MINE}"""

_OF_USERS = "SELECT * FROM generations_of_users(CAST(:owners AS uuid[]), CAST(:wanted AS uuid[]))"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a generation, as its row keeps it.

    ``final_n``: the number of its last event. ``sha256``: of the text, in hex. ``first_token_age``: seconds since the
    first piece of the answer; None where there is none. ``cost`` is in ``currency``.
    """

    status: str
    final_n: int
    sha256: str
    finish_reason: str | None
    error: dict[str, Any] | None
    usage: dict[str, Any] | None
    attempts: list[Any]
    first_token_age: float | None
    cost: Decimal | None
    currency: str | None


def hold_key(tx: Tx, user_id: str, key: str) -> None:
    """Hold the lock of an idempotency key until the transaction ends: requests that repeat the key wait for it."""
    fetch(tx, "SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))", key=f"{user_id} {key}")


def by_key(tx: Tx, key: str) -> tuple[Generation, bytes] | None:
    """The user's generation under an idempotency key, with the hash of the request that created it."""
    sql = f"SELECT {_COLUMNS}, g.request_hash FROM generations g WHERE g.idempotency_key = :key AND {_MINE}"
    row = fetch_one(tx, sql, key=key)
    return (_generation(row), bytes(row.request_hash)) if row else None


def by_hash(tx: Tx, user_id: str, request_hash: bytes, live_for: float, done_for: float) -> Generation | None:
    """The user's newest generation for a request with this hash that a repeated request can have.

    It is queued, running or completed. ``live_for``: seconds that a generation can be queued or running. ``done_for``:
    seconds since its end.
    """
    row = fetch_one(
        tx,
        f"""SELECT {_COLUMNS} FROM generations g
            WHERE g.user_id = :user_id AND {_MINE} AND g.created_at > now() - make_interval(secs => :live_for)
              AND g.request_hash = :request_hash AND g.cancel_at IS NULL
              AND (g.status IN ('queued', 'running')
                OR (g.status = 'completed' AND g.finished_at > now() - make_interval(secs => :done_for)))
            ORDER BY g.created_at DESC LIMIT 1""",
        user_id=user_id,
        request_hash=request_hash,
        live_for=live_for,
        done_for=done_for,
    )
    return _generation(row) if row else None


def get(tx: Tx, generation_id: str) -> Generation | None:
    """One generation."""
    row = fetch_one(tx, _ONE, id=generation_id)
    return _generation(row) if row else None


def webhook_url_of(tx: Tx, generation_id: str) -> str | None:
    """The receiver that the request of a generation has named, or None."""
    row = fetch_one(tx, f"SELECT g.webhook_url FROM generations g WHERE g.id = :id AND {_MINE}", id=generation_id)
    return row.webhook_url if row else None


def get_queued(tx: Tx, generation_id: str) -> tuple[Generation, int]:
    """A generation that this transaction has added, and its place in the queue, in one statement."""
    sql = f"""SELECT {_COLUMNS}, (SELECT place FROM places_in_queue(ARRAY[g.id])) AS place
              FROM generations g WHERE g.id = :id AND {_MINE}"""
    row = fetch_one(tx, sql, id=generation_id)
    assert row is not None, "this transaction has added it"
    return _generation(row), int(row.place)


def of_user(database: Database, user_id: str, generation_id: str) -> Standing | None:
    """The standing of a user's generation, or None. Resuming a stream needs only this one round trip to PostgreSQL."""
    row = database.ask(user_id, _STANDING, id=generation_id)
    if row is None:
        return None
    final = _final(row)
    return Standing(**row, final=final)


def of_users(database: Database, pairs: Sequence[tuple[str, str]]) -> list[Standing | None]:
    """For each pair of a user and a generation its standing, if the user owns it, or None: one round trip for all."""
    owners, wanted = [user for user, _ in pairs], [generation for _, generation in pairs]
    found: list[Standing | None] = [None] * len(pairs)
    for row in database.ask_all("", _OF_USERS, owners=owners, wanted=wanted):
        place = row.pop("pair") - 1
        # The function has this condition, too; each of the two holds without the other.
        if (row.pop("user_id"), row["id"]) == pairs[place]:
            final = _final(row)
            found[place] = Standing(**row, final=final)
    return found


def live_in(tx: Tx, conversation_id: str) -> list[Generation]:
    """The queued and running generations of a conversation, oldest first."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM generations g
            WHERE g.conversation_id = :id AND {_MINE} AND g.status IN ('queued', 'running') ORDER BY g.seq""",
        id=conversation_id,
    )
    return [_generation(row) for row in rows]


def live_of(tx: Tx, user_id: str) -> list[Generation]:
    """The queued and running generations in the listed conversations of a user, oldest first."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM generations g
            WHERE g.user_id = :user_id AND g.status IN ('queued', 'running')
              AND EXISTS (SELECT FROM conversations c WHERE c.id = g.conversation_id AND c.listed)
            ORDER BY g.id""",
        user_id=user_id,
    )
    return [_generation(row) for row in rows]


def some(tx: Tx, generation_ids: Sequence[str]) -> list[Generation]:
    """The generations with these ids that exist, by id."""
    rows = fetch(
        tx,
        f"SELECT {_COLUMNS} FROM generations g WHERE g.id = ANY(CAST(:ids AS uuid[])) AND {_MINE} ORDER BY g.id",
        ids=list(generation_ids),
    )
    return [_generation(row) for row in rows]


def queue_position(tx: Tx, generation_id: str) -> int:
    """The place of a queued generation in the queue of all users: 1 is the next. 0: it does not wait."""
    return queue_positions(tx, [generation_id]).get(generation_id, 0)


def finish(tx: Tx, lease: Lease, end: End) -> Ended | None:
    """Write the end. None: the lease is not in force any more."""
    row = fetch_one(
        tx,
        f"""UPDATE generations g SET status = :status, final_epoch = epoch, final_n = :final_n, sha256 = :sha256,
                finish_reason = :finish_reason, error = :error, usage = :usage, attempts = :attempts,
                cost = :cost, currency = :currency,
                first_token_at = coalesce(first_token_at, now() - make_interval(secs => :age)),
                finished_at = clock_timestamp(), lease_until = NULL
            WHERE id = :id AND {mine()} AND epoch = :epoch AND status = 'running'
            RETURNING g.finished_at, g.webhook_url IS NOT NULL
                OR EXISTS (SELECT FROM webhook_endpoints e WHERE e.user_id = g.user_id) AS has_receivers""",
        id=lease.generation_id,
        epoch=lease.epoch,
        status=end.status,
        final_n=end.final_n,
        sha256=end.sha256,
        finish_reason=end.finish_reason,
        error=as_json(end.error) if end.error is not None else None,
        usage=as_json(end.usage) if end.usage is not None else None,
        attempts=as_json(end.attempts),
        age=end.first_token_age,
        cost=end.cost,
        currency=end.currency,
    )
    return Ended(row.finished_at, row.has_receivers) if row else None


def ends(tx: Tx, generation_ids: Sequence[str]) -> dict[str, Cursor | None]:
    """For each generation that exists: the position of its ``done``, or of the newest stored event while it is live.

    None: it is running, and no event is stored yet.
    """
    rows = fetch(
        tx,
        "SELECT id, status, epoch, n FROM log_ends(CAST(:ids AS uuid[]))",
        ids=list(generation_ids),
    )
    return {row.id: _newest(row) for row in rows}


def _newest(row: Any) -> Cursor | None:
    if row.epoch is not None:
        return Cursor(row.epoch, row.n)
    return START if row.status == "queued" else None


def queue_positions(tx: Tx, generation_ids: Sequence[str]) -> dict[str, int]:
    """The place of each queued generation in the queue of all users: 1 is the next."""
    rows = fetch(tx, "SELECT id, place FROM places_in_queue(CAST(:ids AS uuid[]))", ids=list(generation_ids))
    return {row.id: int(row.place) for row in rows}


def _generation(row: Any) -> Generation:
    fields = dict(row._mapping)
    for other in ("request_hash", "place"):
        fields.pop(other, None)
    final = _final(fields)
    return Generation(**fields, final=final)


def _final(fields: dict[str, Any]) -> Cursor | None:
    """Remove the two columns of the end from a row's fields, and return them as a cursor."""
    epoch, n = fields.pop("final_epoch"), fields.pop("final_n")
    return None if epoch is None else Cursor(epoch, n)
