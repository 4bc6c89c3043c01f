"""Limits on accepting generations: the queue of everybody, the queue of one user, and budgets."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.commands import User
from app.domain.errors import OwnQueueFull, QueueFull
from app.services.budgets import Budgets
from app.store import admission
from app.store.database import Tx

# With fewer free places than this in the queue, one request at a time is admitted, so that no two take the last place.
NEARLY_FULL = 100


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits. ``queued`` and ``queued_per_user`` count waiting generations."""

    queued: int
    queued_per_user: int
    budgets: Budgets

    def check_queue(self, tx: Tx) -> None:
        """Raise QueueFull when the queue of everybody is full."""
        if admission.queued_total(tx) + NEARLY_FULL < self.queued:
            return
        admission.hold_admission(tx)
        if admission.queued_total(tx) >= self.queued:
            raise QueueFull(
                f"{self.queued} generations are waiting already, which is all that may wait (MAX_QUEUED). "
                "Try again a little later."
            )

    def check_queue_of(self, tx: Tx, user_id: str) -> None:
        """Raise OwnQueueFull when the queue of this user is full. Generations that are being cancelled do not count."""
        if admission.hold_queue(tx, user_id) >= self.queued_per_user:
            raise OwnQueueFull(
                f"{self.queued_per_user} of your generations are waiting already, which is all that may wait for one "
                "user (MAX_QUEUED_PER_USER). Try again when one of them has begun."
            )

    def check_quota(self, tx: Tx, user: User) -> None:
        """Raise QuotaUsed when a budget of the user or of the API key is used up."""
        self.budgets.check(tx, user)
