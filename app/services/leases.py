"""A worker's hold on generations: claim, renew, begin anew, give back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.domain.errors import LeaseLost
from app.store import feed, generations, leases
from app.store.database import Database
from app.store.leases import Checkpoint, Claimed, Lease


class Leases:
    """Leases of ``lease`` seconds for the worker of this name; ``total`` seconds is a generation's whole life."""

    def __init__(self, database: Database, worker: str, lease: float, total: float) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease
        self._total = total

    def claim(self, generation_id: str, late: float = 0.0) -> Claimed | None:
        """Take a generation that waits, or whose worker has gone. None: there is nothing to take."""
        with self._database.system() as tx:
            claimed = leases.claim(tx, generation_id, self._worker, self._lease, self._total, late)
            if claimed:
                generations.mark_running(tx, claimed.message_id)
                feed.record_running(tx, generation_id)
            return claimed

    def renew(self, checkpoints: Sequence[Checkpoint]) -> set[str]:
        """Renew leases and save checkpoints in one transaction. The ids whose lease still held."""
        with self._database.system() as tx:
            return leases.renew(tx, checkpoints, self._lease)

    def keep(self, claimed: Claimed) -> bool:
        """Renew one lease without saving anything; whether it still held."""
        beat = Checkpoint(claimed.lease, claimed.user_id, 0, 0, None, None)
        return bool(self.renew([beat]))

    def advance(self, lease: Lease, attempts: list[Any]) -> Claimed:
        """Begin a new revision under the same hold. Raises LeaseLost."""
        with self._database.system() as tx:
            claimed = leases.advance(tx, lease, attempts, self._lease)
        if claimed is None:
            raise LeaseLost(lease.generation_id)
        return claimed

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still in force."""
        with self._database.system() as tx:
            return leases.holds(tx, lease)

    def leave(self, lease: Lease) -> None:
        """Let it expire now, for somebody who sees more; this try does not count."""
        with self._database.system() as tx:
            leases.leave(tx, lease)

    def release(self, lease: Lease, attempts: list[Any]) -> bool:
        """Give it back, with the attempts so far, so that another worker continues at once."""
        with self._database.system() as tx:
            return leases.release(tx, lease, attempts)
