"""The removal of uploads in parts that have ended. Statements of workers.

A trigger notes the bytes of each part that is removed, as for files.
"""

from __future__ import annotations

from app.store.database import Tx, execute, fetch
from app.store.removed_files import not_held

_NOT_HELD = not_held("u")


def settle(tx: Tx, limit: int) -> int:
    """Remove the parts of up to ``limit`` uploads that were completed or cancelled, or have expired; their number."""
    rows = fetch(
        tx,
        f"""SELECT u.id FROM uploads u WHERE NOT u.is_settled AND (u.status <> 'pending' OR u.expires_at < now())
              AND {_NOT_HELD} LIMIT :limit FOR UPDATE SKIP LOCKED""",
        limit=limit,
    )
    ids = [row.id for row in rows]
    if not ids:
        return 0
    # Statements of their own, behind the locks: they see the holds that were committed before.
    held = "NOT EXISTS (SELECT FROM holds h WHERE h.user_id = u.user_id)"
    execute(
        tx,
        f"""DELETE FROM upload_parts p USING uploads u WHERE u.id = p.upload_id AND u.id = ANY(CAST(:ids AS text[]))
              AND {held}""",
        ids=ids,
    )
    return execute(
        tx, f"UPDATE uploads u SET is_settled = true WHERE u.id = ANY(CAST(:ids AS text[])) AND {held}", ids=ids
    )


def remove_old(tx: Tx, seconds: float, limit: int) -> int:
    """Remove up to ``limit`` uploads without parts that expired so many seconds ago; their number."""
    return execute(
        tx,
        f"""DELETE FROM uploads u WHERE u.id IN (
                SELECT u.id FROM uploads u WHERE u.is_settled
                  AND u.expires_at < now() - make_interval(secs => :seconds) AND {_NOT_HELD}
                LIMIT :limit FOR UPDATE SKIP LOCKED)""",
        seconds=seconds,
        limit=limit,
    )
