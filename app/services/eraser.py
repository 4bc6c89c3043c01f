"""Removes logs of deleted generations and cached histories of deleted conversations from Redis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from app.domain.errors import LogDown
from app.eventlog.log import RedisLog
from app.services.history import History
from app.store import deletions
from app.store.database import Database

# A process that read a conversation before its deletion may write its cached history after it: every sweep removes the
# keys again until the deletion is this old.
SETTLED_SECONDS = 15.0
# Ids in one command to Redis and in one transaction.
ERASED_AT_ONCE = 500
_FIRST = "00000000-0000-0000-0000-000000000000"


class Eraser:
    """The keys in Redis of deleted conversations and generations. Each id has either a log or a history."""

    def __init__(self, database: Database, log: RedisLog, history: History) -> None:
        self._database = database
        self._log = log
        self._history = history

    def erase_now(self, ids: Sequence[str]) -> None:
        """Remove the keys behind a committed deletion. A sweep removes them when Redis does not answer."""
        with suppress(LogDown):
            for begin in range(0, len(ids), ERASED_AT_ONCE):
                self._remove(ids[begin : begin + ERASED_AT_ONCE])

    def sweep(self) -> None:
        """Remove the keys of every deletion that is kept, then the deletions that have settled.

        Raises DatabaseDown, LogDown.
        """
        ids = [_FIRST]
        while ids:
            with self._database.system() as tx:
                ids = deletions.page(tx, ids[-1], ERASED_AT_ONCE)
            if ids:
                self._remove(ids)
                with self._database.system() as tx:
                    deletions.forget(tx, ids, SETTLED_SECONDS)

    def _remove(self, ids: Sequence[str]) -> None:
        self._log.unlink(ids, [self._history.key(one) for one in ids])
