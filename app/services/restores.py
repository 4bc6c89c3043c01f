"""Notices that PostgreSQL was restored or replaced, and keeps cursors true that clients have from before.

A restored row has an older epoch. The next claim would count on from it, and give other events the positions of those
that readers have seen: a reader that resumes from its cursor would get the end of another text.
"""

from __future__ import annotations

import structlog

from app.store import incarnation
from app.store.database import Database

_log = structlog.get_logger()


def notice(database: Database) -> int:
    """Raise the epochs of unfinished generations where the database has begun another incarnation; their number.

    The first start on a database raises nothing. Raises DatabaseDown.
    """
    with database.system() as tx:
        name = incarnation.changed(tx)
        if name is None:
            return 0
        before = incarnation.enter(tx, name)
        if before in (None, name):
            return 0
        raised = incarnation.raise_epochs(tx)
    _log.warning("restore of the database noticed", action="restore", generations=raised)
    return raised
