"""Rows of files that are to go, and bytes that are to follow them. Statements of workers.

A trigger notes the key of each row that is removed, by a sweep, an erasure or a cascade, in ``file_removals``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.store.database import Tx, execute, fetch, fetch_one


def not_held(table: str) -> str:
    """The condition that nobody has placed a hold on a row's user, and nobody can while the transaction lasts."""
    return f"""pg_try_advisory_xact_lock_shared(hashtextextended('hold of ' || CAST({table}.user_id AS text), 0))
    AND NOT EXISTS (SELECT FROM holds h WHERE h.user_id = {table}.user_id)"""


_NOT_HELD = not_held("f")

_OLD = """(f.is_attachment AND f.used_at < now() - make_interval(secs => :unused)
    OR f.used_at < now() - make_interval(secs => CAST(:kept AS float8)))"""


@dataclass(frozen=True, slots=True)
class Ages:
    """Seconds after which a pending file, an attachment without a message, and any file without a message, are removed.

    ``kept``: the third is RETENTION_DAYS; None: such files stay.
    """

    pending: float
    unused: float
    kept: float | None


def remove_due(tx: Tx, pending_seconds: float, limit: int) -> int:
    """Remove up to ``limit`` rows that were deleted, have expired, or were never completed; their number."""
    rows = fetch(
        tx,
        f"""SELECT f.id FROM files f WHERE f.id IN (
                (SELECT f.id FROM files f WHERE f.status = 'deleted' AND {_NOT_HELD} LIMIT :limit)
                UNION ALL
                (SELECT f.id FROM files f WHERE f.status = 'pending'
                   AND f.used_at < now() - make_interval(secs => :seconds) AND {_NOT_HELD} LIMIT :limit)
                UNION ALL
                (SELECT f.id FROM files f WHERE f.expires_at < now() AND {_NOT_HELD} LIMIT :limit)
            ) LIMIT :limit FOR UPDATE SKIP LOCKED""",
        seconds=pending_seconds,
        limit=limit,
    )
    return _remove(tx, [row.id for row in rows], "true")


def unused_behind(tx: Tx, after: str, ages: Ages, limit: int) -> tuple[list[str], str | None]:
    """Look at the next ``limit`` files behind an id; hold and return those without a message that are old enough.

    Returns also the id to go on behind; None at the end.
    """
    looked = fetch(
        tx,
        "SELECT f.id FROM files f WHERE f.id > :after ORDER BY f.id LIMIT :limit",
        after=after,
        limit=limit,
    )
    if not looked:
        return [], None
    rows = fetch(
        tx,
        f"""SELECT f.id FROM files f WHERE f.id > :after AND f.id <= :until AND f.status = 'ready' AND {_OLD}
              AND NOT EXISTS (SELECT FROM file_references r WHERE r.file_id = f.id) AND {_NOT_HELD}
            FOR UPDATE SKIP LOCKED""",
        after=after,
        until=looked[-1].id,
        unused=ages.unused,
        kept=ages.kept,
    )
    return [row.id for row in rows], looked[-1].id if len(looked) == limit else None


def remove_unused(tx: Tx, file_ids: Sequence[str]) -> int:
    """Remove those of the held files that still have no message; their number."""
    return _remove(tx, file_ids, "NOT EXISTS (SELECT FROM file_references r WHERE r.file_id = f.id)")


def _remove(tx: Tx, file_ids: Sequence[str], condition: str) -> int:
    """A statement of its own, behind the locks: it sees the holds and messages committed before they were taken."""
    return execute(
        tx,
        f"""DELETE FROM files f WHERE f.id = ANY(CAST(:ids AS text[])) AND {condition}
              AND NOT EXISTS (SELECT FROM holds h WHERE h.user_id = f.user_id)""",
        ids=list(file_ids),
    )


def removals(tx: Tx, after: str, limit: int) -> list[str]:
    """Up to ``limit`` keys of bytes that are to be removed, behind a key."""
    sql = "SELECT r.key FROM file_removals r WHERE r.key > :after ORDER BY r.key LIMIT :limit"
    return [row.key for row in fetch(tx, sql, after=after, limit=limit)]


def hold_key(tx: Tx, key: str) -> bool:
    """Hold the bytes of a key: until ``tx`` ends, no upload counts on them. False: an upload is counting on them."""
    row = fetch_one(tx, "SELECT pg_try_advisory_xact_lock(hashtextextended('bytes of ' || :key, 0)) AS held", key=key)
    return bool(row and row.held)


def is_needed(tx: Tx, user_id: str, sha256: str) -> bool:
    """True when a file of the user, or a part of an upload, has these bytes."""
    row = fetch_one(
        tx,
        """SELECT 1 FROM files WHERE user_id = CAST(:user_id AS uuid) AND sha256 = decode(:sha256, 'hex')
           UNION ALL
           SELECT 1 FROM upload_parts WHERE user_id = CAST(:user_id AS uuid) AND sha256 = decode(:sha256, 'hex')
           LIMIT 1""",
        user_id=user_id,
        sha256=sha256,
    )
    return row is not None


def forget(tx: Tx, key: str) -> None:
    """Remove the note of a key whose bytes are gone, or needed."""
    execute(tx, "DELETE FROM file_removals WHERE key = :key", key=key)


def is_settled(tx: Tx, user_id: str) -> bool:
    """True when no bytes of the user are left to be removed."""
    sql = "SELECT 1 FROM file_removals r WHERE r.key > :first AND r.key < :last LIMIT 1"
    # The sign behind a slash.
    return fetch_one(tx, sql, first=f"{user_id}/", last=f"{user_id}0") is None
