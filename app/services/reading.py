"""One log, wherever its parts are: Redis first, PostgreSQL for what Redis does not have. Never a hole."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from app.domain.cursor import Cursor
from app.domain.errors import LogDown
from app.domain.events import Entry
from app.domain.transcript import merge
from app.eventlog.log import PAGE, EventLog
from app.store import checkpoints, generations
from app.store.database import ONE_MOMENT, Database

REDIS_PAUSE_SECONDS = 1.0


class LogReader:
    """Reads logs for whoever has already been allowed to."""

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
        """What Redis has. One that did not answer is left alone for a moment: not every reader should wait for it."""
        if monotonic() < self._ask_redis_at:
            return []
        try:
            return self._log.read(generation_id, after, limit)
        except LogDown:
            self._ask_redis_at = monotonic() + REDIS_PAUSE_SECONDS
            return []

    def _stored(self, generation_id: str, after: Cursor) -> list[Entry]:
        # The end of an answer puts the archive in the place of the checkpoints: one of them must be seen.
        with self._database.system(ONE_MOMENT) as tx:
            entries = checkpoints.archived(tx, generation_id)
            if not entries:
                entries = checkpoints.chunks(tx, generation_id, after.epoch, after.n + 1)
        return entries

    def ends(self, generation_ids: Sequence[str]) -> dict[str, Cursor | None]:
        """For each that exists: the position of its ``done``, or of the newest event stored; None: none yet."""
        with self._database.system() as tx:
            return generations.ends(tx, generation_ids)

    def queue_positions(self, generation_ids: Sequence[str]) -> dict[str, int]:
        """The queue position of each that still waits."""
        with self._database.system() as tx:
            return generations.queue_positions(tx, generation_ids)


def _is_whole(after: Cursor, entries: Sequence[Entry]) -> bool:
    """Whether nothing can be missing. Where a revision begins, that is unknown: Redis may have lost what was before."""
    epoch, n = after if after.epoch else (1, -1)
    return all(cursor == (epoch, expected) for expected, (cursor, _) in enumerate(entries, n + 1))
