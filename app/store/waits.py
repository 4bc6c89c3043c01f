"""The facts that explain why an unfinished generation has nothing new to show."""

from __future__ import annotations

from app.domain.waiting import WaitFacts
from app.store.database import Tx, fetch_one, mine


def facts(tx: Tx, generation_id: str, quiet: float) -> WaitFacts | None:
    """The facts of a queued or running generation; None for another one.

    A lease of which fewer than ``quiet`` seconds are left was not renewed in time.
    """
    row = fetch_one(
        tx,
        f"""SELECT g.status, g.epoch, g.cancel_at IS NOT NULL AS is_cancelled, g.lease_until,
                coalesce(g.lease_until < now() + make_interval(secs => :quiet), true) AS is_quiet,
                g.moments -> -1 AS moment,
                EXISTS (SELECT FROM generations ahead WHERE ahead.conversation_id = g.conversation_id
                    AND ahead.seq < g.seq AND ahead.status IN ('queued', 'running')) AS is_behind,
                (SELECT count(*) FROM generations r WHERE r.user_id = g.user_id AND r.status = 'running') AS running
            FROM generations g WHERE g.id = :id AND {mine("g.user_id")} AND g.status IN ('queued', 'running')""",
        id=generation_id,
        quiet=quiet,
    )
    return WaitFacts(**row._mapping) if row else None
