"""Deliveries to webhooks as their user sees them: their attempts, their replay, and the end of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from app.store.database import Tx, execute, fetch, fetch_one, mine

State = Literal["waiting", "delivered", "dead"]
# The newest attempts that a list shows of one delivery. The schedule has ten, and each replay begins it again.
ATTEMPTS_SHOWN = 20
# The reason of a test that no worker has sent in time.
NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to a receiver. ``status`` None: there was no response, and ``error`` has the reason.

    ``excerpt``: the first bytes of the response's body, as text. ``latency_ms``: milliseconds until the response.
    """

    n: int
    at: datetime
    status: int | None
    latency_ms: int
    error: str | None
    excerpt: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one receiver. ``endpoint_id`` None: the receiver is the ``webhook_url`` of a request.

    ``reason`` is that of a dead delivery. ``attempts`` is their number; ``next_attempt_at`` is that of a waiting one.
    """

    id: str
    event_id: str
    event_type: str
    endpoint_id: str | None
    url: str
    generation_id: str | None
    is_test: bool
    state: State
    reason: str | None
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """A filter of deliveries; fields that are None do not filter."""

    state: State | None = None
    endpoint_id: str | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """The finished deliveries of one state that were created at ``since`` or later and before ``until``."""

    since: datetime
    until: datetime
    state: State
    endpoint_id: str | None = None


_COLUMNS = """d.id, d.event_id, d.event_type, d.endpoint_id, d.url, d.generation_id, d.is_test, d.state, d.reason,
    d.attempts, CASE WHEN d.state = 'waiting' THEN d.next_attempt_at END AS next_attempt_at, d.created_at,
    d.finished_at"""
# A delivery can be replayed while its receiver exists and receives events; the address may be another one by now.
_REPLAY = f"""UPDATE webhook_deliveries d SET state = 'waiting', reason = NULL, finished_at = NULL,
        attempts_before = d.attempts, next_attempt_at = now(), claimed_until = NULL,
        url = coalesce((SELECT e.url FROM webhook_endpoints e WHERE e.id = d.endpoint_id), d.url)
    WHERE {mine("d.user_id")} AND d.state <> 'waiting' AND NOT d.is_test AND (d.endpoint_id IS NULL OR EXISTS (
        SELECT FROM webhook_endpoints e WHERE e.id = d.endpoint_id AND e.disabled_at IS NULL))"""


def page(tx: Tx, user_id: str, wanted: DeliveryFilter, limit: int, before: str | None) -> list[Delivery]:
    """Up to ``limit`` deliveries of a user, newest first, older than the delivery ``before``."""
    # A condition for each given filter: PostgreSQL then finds the index of a state.
    conditions = ["true"]
    values: dict[str, Any] = {"user_id": user_id, "limit": limit}
    if wanted.state is not None:
        conditions.append(f"d.state = '{wanted.state}'")
    if wanted.endpoint_id is not None:
        conditions.append("d.endpoint_id = CAST(:endpoint AS uuid)")
        values["endpoint"] = wanted.endpoint_id
    if before is not None:
        conditions.append("d.id < CAST(:before AS uuid)")
        values["before"] = before
    sql = f"""SELECT {_COLUMNS} FROM webhook_deliveries d
        WHERE d.user_id = :user_id AND {mine("d.user_id")} AND {" AND ".join(conditions)}
        ORDER BY d.id DESC LIMIT :limit"""
    return [Delivery(**row._mapping) for row in fetch(tx, sql, **values)]


def get(tx: Tx, delivery_id: str) -> Delivery | None:
    """One delivery of the user."""
    sql = f"SELECT {_COLUMNS} FROM webhook_deliveries d WHERE d.id = :id AND {mine('d.user_id')}"
    row = fetch_one(tx, sql, id=delivery_id)
    return Delivery(**row._mapping) if row else None


def attempts(tx: Tx, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    """The newest ATTEMPTS_SHOWN attempts of each delivery, oldest first."""
    rows = fetch(
        tx,
        f"""SELECT a.* FROM unnest(CAST(:ids AS uuid[])) AS wanted(id) CROSS JOIN LATERAL (
                SELECT delivery_id, n, at, status, latency_ms, error, excerpt FROM webhook_attempts
                WHERE delivery_id = wanted.id AND {mine()} ORDER BY n DESC LIMIT {ATTEMPTS_SHOWN}) a
            ORDER BY a.delivery_id, a.n""",
        ids=list(delivery_ids),
    )
    found: dict[str, list[Attempt]] = {}
    for row in rows:
        fields = dict(row._mapping)
        found.setdefault(fields.pop("delivery_id"), []).append(Attempt(**fields))
    return found


def waiting(tx: Tx, user_id: str, most: int) -> int:
    """The number of a user's waiting deliveries, counted up to ``most``."""
    row = fetch_one(
        tx,
        f"""SELECT count(*) AS n FROM (SELECT FROM webhook_deliveries
            WHERE user_id = :user_id AND {mine()} AND state = 'waiting' LIMIT :most) counted""",
        user_id=user_id,
        most=most,
    )
    return int(row.n) if row else 0


def hold_waiting(tx: Tx, user_id: str) -> None:
    """Hold the number of deliveries that a user's replays add, until the transaction ends."""
    fetch(tx, "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=f"webhook replays {user_id}")


def replay(tx: Tx, delivery_id: str) -> bool:
    """Have a finished delivery sent again, with the event's own id. False: it cannot be."""
    return bool(execute(tx, f"{_REPLAY} AND d.id = :id", id=delivery_id))


def replay_range(tx: Tx, user_id: str, wanted: Range, limit: int) -> int:
    """Have up to ``limit`` deliveries of a range sent again, oldest first; their number.

    Deliveries whose receiver is gone are left out.
    """
    return execute(
        tx,
        # An array is made once; PostgreSQL may run the subquery of IN again for each row, and pass the limit.
        f"""{_REPLAY} AND d.id = ANY(ARRAY(
                SELECT w.id FROM webhook_deliveries w WHERE w.user_id = :user_id AND w.state = '{wanted.state}'
                  AND NOT w.is_test AND w.created_at >= :since AND w.created_at < :until
                  AND (CAST(:endpoint AS uuid) IS NULL OR w.endpoint_id = CAST(:endpoint AS uuid))
                  AND (w.endpoint_id IS NULL OR EXISTS (
                      SELECT FROM webhook_endpoints e WHERE e.id = w.endpoint_id AND e.disabled_at IS NULL))
                ORDER BY w.id LIMIT :limit FOR UPDATE))""",
        user_id=user_id,
        since=wanted.since,
        until=wanted.until,
        endpoint=wanted.endpoint_id,
        limit=limit,
    )


def give_up(tx: Tx, delivery_id: str, reason: str) -> bool:
    """End a waiting delivery as dead. False: it has ended."""
    return bool(
        execute(
            tx,
            f"""UPDATE webhook_deliveries SET state = 'dead', reason = :reason, finished_at = clock_timestamp(),
                    claimed_until = NULL WHERE id = :id AND {mine()} AND state = 'waiting'""",
            id=delivery_id,
            reason=reason,
        )
    )


def prune(tx: Tx, days: float, limit: int) -> int:
    """Remove up to ``limit`` deliveries of all users that have ended more than ``days`` ago; their number."""
    return execute(
        tx,
        """DELETE FROM webhook_deliveries WHERE id = ANY(ARRAY(
               SELECT id FROM webhook_deliveries WHERE finished_at < now() - make_interval(secs => :seconds)
               ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED))""",
        seconds=days * 86_400,
        limit=limit,
    )
