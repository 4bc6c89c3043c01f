"""The cap on the running generations of one user."""

from __future__ import annotations

from time import monotonic

from app.domain.errors import DatabaseDown
from app.store import workers
from app.store.database import Database

# Seconds for which a process keeps the number of slots that it has read; it changes seldom.
LOOK_SECONDS = 1.0


class Slots:
    """The cap on the running generations of one user, kept for LOOK_SECONDS.

    ``given`` is the cap that an operator chose; without one it is half of the slots of all living workers. While no
    worker reports, ``own`` stands for the slots of all.
    """

    def __init__(self, database: Database, given: int | None, own: int, lost: float) -> None:
        self._database = database
        self._given = given
        self._own = self._total = own
        self._lost = lost
        self._look_at = 0.0

    def most_per_user(self) -> int:
        """The number of generations of one user that may run at the same time: at least 1."""
        if self._given is not None:
            return self._given
        if monotonic() >= self._look_at:
            self._look_at = monotonic() + LOOK_SECONDS
            self._total = self._count()
        return max(1, self._total // 2)

    def _count(self) -> int:
        try:
            with self._database.without_user() as tx:
                return workers.total_slots(tx, self._lost) or self._own
        except DatabaseDown:
            return self._total
