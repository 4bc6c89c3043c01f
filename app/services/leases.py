"""The leases of a worker: claim, renew, advance, release."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.domain.errors import LeaseLost
from app.domain.lease import Claimed, Lease
from app.domain.upstreams import UpstreamRun
from app.store import feed, generations, lease_notes, leases, messages
from app.store.checkpoints import Checkpoint
from app.store.database import Database, Tx


class Leases:
    """Leases of ``lease`` seconds for the worker of this name. A generation has ``total`` seconds from its first claim.

    ``most`` returns how many generations of one user may run at the same time.
    """

    def __init__(
        self, database: Database, worker: str, lease: float, total: float, most: Callable[[], int] = lambda: 1
    ) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease
        self._total = total
        self._most = most

    def claim(self, generation_id: str, takeover_delay: float = 0.0) -> Claimed | None:
        """Claim a queued generation, or a running one whose lease is free. None: it has ended, or another has it."""
        with self._database.system() as tx:
            return self._claim(tx, generation_id, takeover_delay)

    def claim_next(self, doorbell: str, takeover_delay: float = 0.0) -> tuple[Claimed | None, bool]:
        """Claim the generation whose turn it is, or the one of the doorbell if that runs and its lease is free.

        The claim, None when nothing may begin; and whether another doorbell is owed: the one that was answered was on
        its way for a generation that still waits.
        """
        most = self._most()
        with self._database.system() as tx:
            turn = leases.take_turn(tx, doorbell, most, self._lease, takeover_delay)
            claimed = self._claim(tx, turn.generation_id, takeover_delay) if turn else None
            # Another worker has claimed the free lease first: this doorbell has served no generation yet.
            return claimed, turn is not None and (claimed is None or not turn.was_rung)

    def _claim(self, tx: Tx, generation_id: str, takeover_delay: float) -> Claimed | None:
        claimed = leases.claim(tx, generation_id, self._worker, self._lease, self._total, takeover_delay)
        if claimed:
            messages.mark_running(tx, claimed.message_id)
            feed.record_running(tx, generation_id)
        return claimed

    def renew(self, checkpoints: Sequence[Checkpoint]) -> set[str]:
        """Renew leases and save checkpoints in one transaction. The ids whose lease still held."""
        with self._database.system() as tx:
            return leases.renew(tx, checkpoints, self._lease)

    def keep(self, claims: Sequence[Claimed]) -> set[str]:
        """Renew leases without saving anything. The ids whose lease still held."""
        return self.renew([Checkpoint(claimed.lease, claimed.user_id, 0, 0, None, None) for claimed in claims])

    def advance(self, lease: Lease, attempts: list[Any], target: str | None = None) -> Claimed:
        """Begin a new revision under the lease; ``target`` was called last. Raises LeaseLost."""
        with self._database.system() as tx:
            claimed = leases.advance(tx, lease, attempts, self._lease, target)
        if claimed is None:
            raise LeaseLost(lease.generation_id)
        return claimed

    def note_target(self, lease: Lease, target: str, attempts: list[Any]) -> None:
        """Store the target that is called from now on, and the attempts before; a worker that takes over keeps it."""
        with self._database.system() as tx:
            lease_notes.note_target(tx, lease, target, attempts)

    def note_pause(self, lease: Lease, error: str, attempt: int, seconds: float) -> None:
        """Store that ``attempt`` begins in so many seconds, after a failure with the code ``error``."""
        with self._database.system() as tx:
            lease_notes.note_pause(tx, lease, error, attempt, seconds)

    def note_run(self, lease: Lease, run: UpstreamRun | None) -> None:
        """Store the run that a call has begun, so that a takeover comes back to it; None: so that none does.

        Raises LeaseLost.
        """
        with self._database.system() as tx:
            if not lease_notes.note_run(tx, lease, run):
                raise LeaseLost(lease.generation_id)

    def holds(self, lease: Lease) -> bool:
        """True while the lease is in force."""
        with self._database.system() as tx:
            return leases.holds(tx, lease)

    def fate(self, generation_id: str) -> tuple[str, str | None] | None:
        """The final status of a generation and the code of its error; a cancel that is under way counts as done."""
        with self._database.system() as tx:
            row = generations.get(tx, generation_id)
        if row is None:
            return "deleted", None
        if row.final is None:
            return ("cancelled", None) if row.cancel_at else None
        return row.status, row.error["code"] if row.error else None

    def leave(self, lease: Lease) -> None:
        """Expire a lease now, for a worker that can read the log. This try does not count."""
        with self._database.system() as tx:
            leases.leave(tx, lease)

    def release(self, lease: Lease, attempts: list[Any], target: str | None = None) -> bool:
        """Release a lease with the attempts so far; another worker continues at once. ``target`` was called last."""
        with self._database.system() as tx:
            return leases.release(tx, lease, attempts, target)
