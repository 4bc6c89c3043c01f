"""Reads logs without a hole: from Redis, and from PostgreSQL where Redis does not have the entries."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from app.domain.cursor import Cursor
from app.domain.errors import LogDown
from app.domain.events import Entry
from app.domain.transcript import merge
from app.eventlog import allowance
from app.eventlog.log import PAGE, EventLog
from app.store import checkpoints, generations
from app.store.database import ONE_MOMENT, Database

REDIS_PAUSE_SECONDS = 1.0
# Seconds that one read waits for Redis before PostgreSQL is read, where no request has a smaller allowance.
REDIS_SECONDS = 1.0


class LogReader:
    """Reads logs of any user; the caller has authorised the reader."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database = database
        self._log = log
        self._ask_redis_at = 0.0

    def read(self, generation_id: str, after: Cursor, limit: int = PAGE) -> list[Entry]:
        """Up to ``limit`` entries past ``after`` without a hole; empty when there is nothing new.

        Raises DatabaseDown when Redis does not have them and PostgreSQL does not answer.
        """
        logged = self._logged(generation_id, after, limit)
        if logged and _is_whole(after, logged):
            return logged
        stored = self._stored(generation_id, after)
        return merge(stored, logged, after=after)[:limit]

    def _logged(self, generation_id: str, after: Cursor, limit: int) -> list[Entry]:
        """The entries in Redis; none for REDIS_PAUSE_SECONDS after an unanswered read, so that few readers wait."""
        if monotonic() < self._ask_redis_at:
            return []
        try:
            with allowance.at_most(REDIS_SECONDS):
                return self._log.read(generation_id, after, limit)
        except LogDown:
            self._ask_redis_at = monotonic() + REDIS_PAUSE_SECONDS
            return []

    def _stored(self, generation_id: str, after: Cursor) -> list[Entry]:
        # One moment: the end of an answer replaces the checkpoints by the archive.
        with self._database.owner("generation", generation_id, ONE_MOMENT) as tx:
            entries = checkpoints.archived(tx, generation_id)
            if not entries:
                entries = checkpoints.chunks(tx, generation_id, after.epoch, after.n + 1)
        return entries

    def ends(self, generation_ids: Sequence[str]) -> dict[str, Cursor | None]:
        """By id: the position of ``done``, or of the newest stored event; None: no event. Unknown ids are missing."""
        with self._database.without_user() as tx:
            return generations.ends(tx, generation_ids)

    def queue_positions(self, generation_ids: Sequence[str]) -> dict[str, int]:
        """The queue position of each queued generation."""
        with self._database.without_user() as tx:
            return generations.queue_positions(tx, generation_ids)


def _is_whole(after: Cursor, entries: Sequence[Entry]) -> bool:
    """True when the entries follow ``after`` without a gap.

    At the beginning of a revision this is unknown: Redis may have lost the end of the earlier one. Then it is False.
    """
    epoch, n = after if after.epoch else (1, -1)
    return all(cursor == (epoch, expected) for expected, (cursor, _) in enumerate(entries, n + 1))
