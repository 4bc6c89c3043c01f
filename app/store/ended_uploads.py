"""The removal of uploads in parts that have ended. Statements of workers.

A trigger notes the bytes of each part that is removed, as for files.
"""

from __future__ import annotations

from app.store.database import Tx, execute, fetch
from app.store.removed_files import not_held

_NOT_HELD = not_held("u")
_HOLD_IS_MISSING = "NOT EXISTS (SELECT FROM holds h WHERE h.user_id = u.user_id)"


# A younger part that is not ready is being written. A removal of its row would come before its bytes, which would stay.
_WRITTEN = "(p.is_ready OR p.created_at < now() - make_interval(secs => :pending))"


def settle(tx: Tx, pending: float, limit: int) -> int:
    """Remove the parts of up to ``limit`` uploads that were completed or cancelled, or have expired; their number.

    Parts that are being written stay, and their upload is looked at again. ``pending``: the seconds for which a part
    is taken to be so.
    """
    rows = fetch(
        tx,
        f"""SELECT u.id FROM uploads u WHERE NOT u.is_settled AND (u.status <> 'pending' OR u.expires_at < now())
              AND (NOT EXISTS (SELECT FROM upload_parts p WHERE p.upload_id = u.id)
                OR EXISTS (SELECT FROM upload_parts p WHERE p.upload_id = u.id AND {_WRITTEN}))
              AND {_NOT_HELD} LIMIT :limit FOR UPDATE SKIP LOCKED""",
        pending=pending,
        limit=limit,
    )
    ids = [row.id for row in rows]
    if not ids:
        return 0
    # Statements of their own, behind the locks: they see the holds that were committed before.
    execute(
        tx,
        f"""DELETE FROM upload_parts p USING uploads u WHERE u.id = p.upload_id AND u.id = ANY(CAST(:ids AS text[]))
              AND {_WRITTEN} AND {_HOLD_IS_MISSING}""",
        pending=pending,
        ids=ids,
    )
    execute(
        tx,
        f"""UPDATE uploads u SET is_settled = true WHERE u.id = ANY(CAST(:ids AS text[])) AND {_HOLD_IS_MISSING}
              AND NOT EXISTS (SELECT FROM upload_parts p WHERE p.upload_id = u.id)""",
        ids=ids,
    )
    return len(ids)


def remove_old(tx: Tx, seconds: float, limit: int) -> int:
    """Remove up to ``limit`` uploads without parts that expired so many seconds ago; their number."""
    rows = fetch(
        tx,
        f"""SELECT u.id FROM uploads u WHERE u.is_settled
              AND u.expires_at < now() - make_interval(secs => :seconds) AND {_NOT_HELD}
            LIMIT :limit FOR UPDATE SKIP LOCKED""",
        seconds=seconds,
        limit=limit,
    )
    # A statement of its own, as in ``settle``.
    return execute(
        tx,
        f"DELETE FROM uploads u WHERE u.id = ANY(CAST(:ids AS text[])) AND {_HOLD_IS_MISSING}",
        ids=[row.id for row in rows],
    )
