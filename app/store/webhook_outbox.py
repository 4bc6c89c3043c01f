"""Webhook deliveries that are due: claimed by workers under a lease, and settled after their attempt.

A delivery is due when it waits and its ``next_attempt_at`` has come. A claim moves that time to the end of its lease,
so that the delivery of a killed worker is due again then. ``claimed_until`` names the claim: a claim that was replaced
settles nothing. Only PostgreSQL's clock counts here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.webhook_schedule import Attempt, Verdict
from app.store.database import Tx, execute, fetch

# The reason of an endpoint that is switched off because its receiver has answered 410.
GONE_REASON = "gone"
# No lane comes before it.
FIRST = "00000000-0000-0000-0000-000000000000"

# The oldest due deliveries that a claim looks at. Where there are more, it also looks at the newest ones and at so many
# lanes in their order, from where the claim before it has stopped: a receiver with ten thousand due deliveries hides no
# other one.
WINDOW = 500
NEWEST = 100
LANES = 100

_DUE = """SELECT lane, count(*) AS due FROM (
        SELECT lane FROM webhook_deliveries WHERE state = 'waiting' AND next_attempt_at <= now()
        ORDER BY next_attempt_at, id LIMIT :window
    ) d GROUP BY lane"""
_NEWEST = """SELECT DISTINCT lane FROM (
        SELECT lane FROM webhook_deliveries WHERE state = 'waiting' AND next_attempt_at <= now()
        ORDER BY next_attempt_at DESC, id DESC LIMIT :newest
    ) d"""
_LANES = """WITH RECURSIVE lanes AS (
        (SELECT lane, 1 AS n FROM webhook_deliveries WHERE state = 'waiting' AND lane > CAST(:after AS uuid)
         ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT d.lane, l.n + 1 FROM lanes l CROSS JOIN LATERAL (
            SELECT lane FROM webhook_deliveries WHERE state = 'waiting' AND lane > l.lane ORDER BY lane LIMIT 1
        ) d WHERE l.n < :lanes
    )
    SELECT lane FROM lanes ORDER BY lane"""
# Conditions on the time stand where no index can serve them: statistics from before an outage count no due delivery,
# and the planner would read all of them for each lane.
_CLAIM = """WITH busy AS (
        SELECT lane, user_id, count(*) AS n FROM webhook_deliveries
        WHERE claimed_until > now() AND state = 'waiting' GROUP BY lane, user_id
    ), lanes AS (
        SELECT lane, coalesce(held.n, 0) AS n FROM unnest(CAST(:lanes AS uuid[])) AS given(lane)
        LEFT JOIN (SELECT lane, sum(n) AS n FROM busy GROUP BY lane) held USING (lane)
    ), in_lanes AS (
        SELECT d.* FROM lanes l CROSS JOIN LATERAL (
            SELECT id, user_id, next_attempt_at FROM webhook_deliveries
            WHERE state = 'waiting' AND lane = l.lane
            ORDER BY next_attempt_at
            LIMIT greatest(:per_lane - l.n, 0)
        ) d WHERE d.next_attempt_at <= now()
    ), in_turn AS (
        SELECT id, next_attempt_at, row_number() OVER (PARTITION BY user_id ORDER BY next_attempt_at, id)
            + coalesce(held.n, 0) AS place
        FROM in_lanes LEFT JOIN (SELECT user_id, sum(n) AS n FROM busy GROUP BY user_id) held USING (user_id)
    ), chosen AS (
        SELECT id FROM webhook_deliveries
        WHERE id IN (SELECT id FROM in_turn WHERE place <= :per_user ORDER BY place, next_attempt_at LIMIT :room)
            AND state || '' = 'waiting' AND next_attempt_at + interval '0' <= now()
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE webhook_deliveries d SET claimed_until = c.until, next_attempt_at = c.until
        FROM (SELECT id, clock_timestamp() + make_interval(secs => :lease) AS until FROM chosen) c
        WHERE d.id = c.id RETURNING d.*
    )
    SELECT d.id, d.user_id, d.endpoint_id, d.lane, d.event_id, d.event_type, d.body, d.is_test, d.request_id,
        d.traceparent, d.generation_id, d.claimed_until, d.attempts + 1 AS number,
        d.attempts - d.attempts_before + 1 AS round, coalesce(e.url, d.url) AS url,
        CASE WHEN u.blocked_at IS NOT NULL OR u.erasing_at IS NOT NULL THEN 'user_blocked'
            WHEN d.endpoint_id IS NOT NULL AND e.id IS NULL THEN 'endpoint_gone'
            WHEN e.disabled_at IS NOT NULL THEN 'endpoint_disabled' END AS obstacle,
        CASE WHEN d.endpoint_id IS NULL THEN s.secret ELSE e.secret END AS secret,
        CASE WHEN d.endpoint_id IS NULL AND s.previous_secret_until > now() THEN s.previous_secret
            WHEN d.endpoint_id IS NOT NULL AND e.previous_secret_until > now() THEN e.previous_secret END AS previous
    FROM claimed d JOIN users u ON u.id = d.user_id
    LEFT JOIN webhook_endpoints e ON e.id = d.endpoint_id AND e.user_id = d.user_id
    LEFT JOIN webhook_secrets s ON s.user_id = d.user_id"""
_SETTLE = """WITH settled AS (
        UPDATE webhook_deliveries SET state = :state, reason = :reason, attempts = attempts + 1,
            claimed_until = NULL, finished_at = CASE WHEN :state <> 'waiting' THEN now() END,
            next_attempt_at = now() + make_interval(secs => coalesce(:retry_in, 0))
        WHERE id = :id AND claimed_until = :claim AND state = 'waiting' RETURNING id, attempts, user_id
    )
    INSERT INTO webhook_attempts (delivery_id, n, user_id, at, status, latency_ms, error, excerpt)
    SELECT id, attempts, user_id, clock_timestamp() - make_interval(secs => CAST(:latency AS float8) / 1000), :status,
        :latency, :error, :excerpt
    FROM settled"""
_END = """UPDATE webhook_deliveries SET state = 'dead', reason = :reason, claimed_until = NULL, finished_at = now()
    WHERE id = :id AND claimed_until = :claim AND state = 'waiting'"""
_SWITCH_OFF = """UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = :reason, updated_at = now()
    WHERE id = :endpoint AND disabled_at IS NULL"""
_END_LANE = """UPDATE webhook_deliveries SET state = 'dead', reason = 'endpoint_gone', finished_at = now()
    WHERE endpoint_id = :endpoint AND state = 'waiting' AND claimed_until IS NULL"""
_GIVE_BACK = """UPDATE webhook_deliveries SET claimed_until = NULL, next_attempt_at = now()
    WHERE id = :id AND claimed_until = :claim AND state = 'waiting'"""


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A claimed delivery, with what its attempt needs.

    ``number`` counts the attempts with this one, ``round`` those since the last replay. ``secrets`` has the newest
    first. ``obstacle`` is the reason for which no attempt may be made, or None.
    """

    id: str
    user_id: str
    endpoint_id: str | None
    lane: str
    url: str = field(repr=False)
    event_id: str
    event_type: str
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    is_test: bool
    number: int
    round: int
    obstacle: str | None
    generation_id: str | None
    request_id: str | None
    traceparent: str | None
    claimed_until: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """The bounds of a claim: ``room`` deliveries, and the claimed ones of a lane and of a user in all processes.

    Two processes that claim at one moment may exceed the bounds of a lane and of a user together.
    """

    room: int
    per_lane: int
    per_user: int


def claim(
    tx: Tx, share: Share, lease: float, paused: Collection[str] = (), after: str = FIRST
) -> tuple[list[DueDelivery], str]:
    """Claim deliveries for ``lease`` seconds, those of users with few claimed ones first. None of ``paused`` lanes.

    ``after`` is the lane at which the claim before has stopped. Returns the deliveries, and the lane for the next one.
    """
    due = fetch(tx, _DUE, window=WINDOW)
    lanes = {row.lane for row in due}
    if sum(row.due for row in due) >= WINDOW:
        following = [row.lane for row in fetch(tx, _LANES, after=after, lanes=LANES)]
        lanes.update(following, (row.lane for row in fetch(tx, _NEWEST, newest=NEWEST)))
        after = following[-1] if len(following) == LANES else FIRST
    lanes.difference_update(paused)
    if not lanes:
        return [], after
    rows = fetch(
        tx,
        _CLAIM,
        room=share.room,
        per_lane=share.per_lane,
        per_user=share.per_user,
        lease=lease,
        lanes=sorted(lanes),
    )
    return [_delivery(row) for row in rows], after


def settle(tx: Tx, due: DueDelivery, attempt: Attempt, verdict: Verdict) -> bool:
    """Record an attempt and its verdict. False for a claim that was replaced, whose attempt is not recorded."""
    reason = _reason(due, verdict) if verdict.state == "dead" else None
    is_settled = execute(
        tx,
        _SETTLE,
        id=due.id,
        claim=due.claimed_until,
        state=verdict.state,
        reason=reason,
        retry_in=verdict.retry_in,
        status=attempt.status,
        latency=attempt.latency_ms,
        error=attempt.error,
        excerpt=attempt.excerpt,
    )
    if not is_settled:
        return False
    if verdict.is_gone and due.endpoint_id is not None:
        execute(tx, _SWITCH_OFF, endpoint=due.endpoint_id, reason=GONE_REASON)
        execute(tx, _END_LANE, endpoint=due.endpoint_id)
    return True


def end(tx: Tx, due: DueDelivery, reason: str) -> bool:
    """End a delivery without an attempt. False for a claim that was replaced."""
    return execute(tx, _END, id=due.id, claim=due.claimed_until, reason=reason) > 0


def give_back(tx: Tx, due: Sequence[DueDelivery]) -> None:
    """Make claimed deliveries due at once, for other workers. Their attempts do not count."""
    for one in sorted(due, key=lambda one: one.id):
        execute(tx, _GIVE_BACK, id=one.id, claim=one.claimed_until)


def _reason(due: DueDelivery, verdict: Verdict) -> str:
    if verdict.is_gone:
        return "endpoint_gone"
    return "test_failed" if due.is_test else "attempts_exhausted"


def _delivery(row: Any) -> DueDelivery:
    return DueDelivery(
        id=row.id,
        user_id=row.user_id,
        endpoint_id=row.endpoint_id,
        lane=row.lane,
        url=row.url,
        event_id=row.event_id,
        event_type=row.event_type,
        body=bytes(row.body),
        secrets=tuple(secret for secret in (row.secret, row.previous) if secret),
        is_test=row.is_test,
        number=row.number,
        round=row.round,
        obstacle=row.obstacle or (None if row.secret else "secret_missing"),
        generation_id=row.generation_id,
        request_id=row.request_id,
        traceparent=row.traceparent,
        claimed_until=row.claimed_until,
    )
