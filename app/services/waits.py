"""The reason for which an unfinished answer has nothing new to show, for its user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.domain.cursor import Cursor
from app.domain.waiting import WaitFacts, Waiting, waiting
from app.store import waits
from app.store.database import Tx

# Heartbeats that a worker may miss before it counts as quiet. Renewals of a busy worker come a little late.
MISSED_HEARTBEATS = 2.5


@dataclass(frozen=True, slots=True)
class Waits:
    """Explains waits. ``most_running``: the cap on the running answers of one user; may open a transaction.

    ``lease`` and ``heartbeat`` are in seconds.
    """

    most_running: Callable[[], int]
    lease: float
    heartbeat: float

    def facts(self, tx: Tx, generation_id: str) -> WaitFacts | None:
        """The facts of a queued or running generation; None for another one."""
        return waits.facts(tx, generation_id, max(0.0, self.lease - MISSED_HEARTBEATS * self.heartbeat))

    def reason(self, facts: WaitFacts | None, cursor: Cursor) -> Waiting | None:
        """The reason of a wait; ``cursor`` is the position of the newest known event. No transaction is open."""
        if facts is None:
            return None
        return waiting(facts, cursor.epoch == facts.epoch and cursor.n > 0, self.most_running)
