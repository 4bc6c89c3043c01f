"""Ids of deleted conversations and generations, kept until Redis has nothing of them. Triggers add them."""

from __future__ import annotations

from app.store.database import Tx, execute, fetch


def page(tx: Tx, after: str, limit: int) -> list[str]:
    """Up to ``limit`` ids above ``after``, in order."""
    sql = "SELECT id FROM deletions WHERE id > CAST(:after AS uuid) ORDER BY id LIMIT :limit"
    return [row.id for row in fetch(tx, sql, after=after, limit=limit)]


def forget(tx: Tx, ids: list[str], seconds: float) -> None:
    """Remove those of the ids that were deleted more than so many seconds ago."""
    execute(
        tx,
        """DELETE FROM deletions WHERE id = ANY(CAST(:ids AS uuid[]))
           AND deleted_at < now() - make_interval(secs => :seconds)""",
        ids=ids,
        seconds=seconds,
    )
