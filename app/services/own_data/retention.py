"""Retention: conversations without activity for RETENTION_DAYS are removed in small batches, temporary ones sooner."""

from __future__ import annotations

import time
from time import monotonic
from uuid import UUID

import structlog

from app.store import expired
from app.store.database import Database

# Conversations removed in one transaction, and the seconds for which one sweep goes on.
RETENTION_BATCH = 50
SWEEP_SECONDS = 1.0
# Seconds between two removals of temporary conversations by one worker.
TEMPORARY_SECONDS = 30.0
# Seconds from the end of one pass over all conversations to the next.
PASS_SECONDS = 3600.0
_FIRST = "00000000-0000-0000-0000-000000000000"

_log = structlog.get_logger()


class Retention:
    """Removes conversations. ``days`` None: none of them. Each worker goes over all; a conversation is held by one.

    Temporary ones are removed after ``temporary`` seconds without activity, whatever ``days`` is. The last activity is
    the newest message, or the end of the newest answer. An imported conversation is as old as its import.
    """

    def __init__(self, database: Database, days: float | None, temporary: float) -> None:
        self._database = database
        self._days = days
        self._temporary = temporary
        self._after = _FIRST
        self._next_pass = monotonic()

    def sweep(self) -> int:
        """Go on with the pass for some time; the number of conversations removed. Raises DatabaseDown."""
        removed, until = 0, monotonic() + SWEEP_SECONDS
        while self._days is not None and self._next_pass <= monotonic() < until:
            removed += self._batch(self._days)
        if removed:
            _log.info("old conversations removed", action="retention", conversations=removed)
        return removed

    def sweep_temporary(self) -> int:
        """Remove the temporary conversations that are due; their number. Raises DatabaseDown."""
        removed, batch = 0, RETENTION_BATCH
        while batch == RETENTION_BATCH:
            with self._database.system() as tx:
                found = expired.take_temporary(tx, self._temporary, RETENTION_BATCH)
                for one in found:
                    expired.remove(tx, one)
            batch = len(found)
            removed += batch
        if removed:
            _log.info("temporary conversations removed", action="retention", conversations=removed)
        return removed

    def _batch(self, days: float) -> int:
        # Ids are in order of their creation: conversations with higher ids are not old enough.
        end = _id_at(time.time() - days * 86_400)
        with self._database.system() as tx:
            within = expired.next_range(tx, self._after, end)
            # A range with an error is left to the next pass.
            self._after = within.until
            found = expired.take(tx, within, days, RETENTION_BATCH)
            for one in found:
                expired.remove(tx, one)
        if len(found) == RETENTION_BATCH:
            self._after = found[-1].id
        elif within.until >= end:
            self._after, self._next_pass = _FIRST, monotonic() + PASS_SECONDS
        return len(found)


def _id_at(seconds: float) -> str:
    """The lowest UUIDv7 of a time since 1970."""
    return str(UUID(int=max(0, int(seconds * 1000)) << 80))
