"""Events for webhooks: one delivery for each receiver, added in the transaction that ends a generation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.webhook_event import AnswerEnd
from app.store.database import Tx, execute, mine

# The reason of a delivery that is dead from the beginning, because too many of its user wait already.
TOO_MANY_WAITING = "too_many_waiting"


@dataclass(frozen=True, slots=True)
class TestEvent:
    """A delivery that is attempted once, to try an endpoint."""

    id: str
    event_id: str
    event_type: str
    body: bytes


def add_end(tx: Tx, user_id: str, end: AnswerEnd, at: datetime, *, is_full: bool) -> int:
    """Add the event of an end for each endpoint that wants its type, and for the ``webhook_url`` of the generation.

    ``at`` is the time of the end. ``is_full``: too many deliveries of the user wait already. The new ones are dead from
    the beginning then, with the reason TOO_MANY_WAITING, and can be replayed. Returns the number of new deliveries; 0
    for an event that was added before. The receivers are held, so that none is deleted meanwhile.
    """
    return execute(
        tx,
        f"""WITH held AS (
                SELECT e.id, e.url FROM webhook_endpoints e
                WHERE e.user_id = CAST(:user AS uuid) AND {mine("e.user_id")} AND e.disabled_at IS NULL
                  AND :type = ANY(e.event_types)
                ORDER BY e.id FOR KEY SHARE
            ), receivers AS (
                SELECT id, url FROM held
                UNION ALL
                SELECT NULL, g.webhook_url FROM generations g
                WHERE g.id = CAST(:generation AS uuid) AND {mine("g.user_id")} AND g.webhook_url IS NOT NULL
            )
            INSERT INTO webhook_deliveries (id, user_id, endpoint_id, url, event_id, event_type, body, generation_id,
                created_at, request_id, traceparent, state, reason, finished_at)
            SELECT uuidv7(), g.user_id, r.id, r.url, :event, :type, :body, g.id, :at, g.request_id, g.traceparent,
                CASE WHEN :is_full THEN 'dead' ELSE 'waiting' END,
                CASE WHEN :is_full THEN '{TOO_MANY_WAITING}' END,
                CASE WHEN :is_full THEN clock_timestamp() END
            FROM receivers r JOIN generations g ON g.id = CAST(:generation AS uuid)
            ON CONFLICT (event_id, endpoint_id) DO NOTHING""",
        user=user_id,
        generation=end.generation_id,
        event=end.event_id,
        type=end.event_type,
        body=end.body(at),
        at=at,
        is_full=is_full,
    )


def add_test(tx: Tx, endpoint_id: str, test: TestEvent) -> bool:
    """Add a test for an endpoint of the user. False: there is no such endpoint, or it is disabled."""
    return bool(
        execute(
            tx,
            f"""INSERT INTO webhook_deliveries (id, user_id, endpoint_id, url, event_id, event_type, body, is_test)
                SELECT :id, e.user_id, e.id, e.url, :event, :type, :body, true FROM webhook_endpoints e
                WHERE e.id = CAST(:endpoint AS uuid) AND {mine("e.user_id")} AND e.disabled_at IS NULL
                FOR KEY SHARE""",
            id=test.id,
            endpoint=endpoint_id,
            event=test.event_id,
            type=test.event_type,
            body=test.body,
        )
    )
