"""Workers, for operators: looked at, drained and undrained."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from app.domain.audit import Actor
from app.domain.errors import NotFound, WrongState
from app.domain.workers import DrainMode
from app.store import audit, workers
from app.store.database import Tx
from app.store.workers import Worker

ALONE = "No other worker takes answers: no answer begins until one does."
ALONE_AND_RUNNING = (
    "No other worker takes answers: no answer begins until one does, and the running ones stay with this worker."
)


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A worker, and the consequence of its drain that an operator may not expect; None without one."""

    worker: Worker
    warning: str | None


@dataclass(frozen=True, slots=True)
class WorkerAdmin:
    """Workers that have not left on purpose. ``begin`` begins a transaction of an operator, or of a worker.

    ``lost``: seconds after which a silent worker counts as lost.
    """

    begin: Callable[[], AbstractContextManager[Tx]]
    lost: float

    def every(self) -> list[SeenWorker]:
        """All workers, by name."""
        with self.begin() as tx:
            return _seen(workers.every(tx, self.lost))

    def get(self, name: str) -> SeenWorker:
        """One worker. Raises NotFound."""
        with self.begin() as tx:
            return self._one(tx, name)

    def drain(self, actor: Actor, name: str, mode: DrainMode, reason: str | None) -> SeenWorker:
        """Request a worker to take nothing new. A second request of one mode changes nothing.

        Raises NotFound, and WrongState for a worker that is lost.
        """
        with self.begin() as tx:
            worker = self._living(tx, name)
            if worker.drain is None or worker.drain.mode != mode:
                workers.request_drain(tx, name, mode, reason)
                details = {"mode": mode, "reason": reason}
                audit.record(tx, actor, "worker.drained", "worker", name, details={**details})
            return self._one(tx, name)

    def undrain(self, actor: Actor, name: str, reason: str | None) -> SeenWorker:
        """End the request; the worker takes answers again within two seconds. A second call changes nothing.

        Raises NotFound, and WrongState for a worker that is lost.
        """
        with self.begin() as tx:
            if self._living(tx, name).drain is not None:
                workers.end_drain(tx, name)
                audit.record(tx, actor, "worker.undrained", "worker", name, details={"reason": reason})
            return self._one(tx, name)

    def _living(self, tx: Tx, name: str) -> Worker:
        worker = workers.get(tx, name, self.lost)
        if worker is None:
            raise NotFound("There is no such worker.")
        if worker.state == "lost":
            raise WrongState("This worker is lost: it has not reported within WORKER_LOST_SECONDS.")
        return worker

    def _one(self, tx: Tx, name: str) -> SeenWorker:
        for seen in _seen(workers.every(tx, self.lost)):
            if seen.worker.name == name:
                return seen
        raise NotFound("There is no such worker.")


def _seen(found: list[Worker]) -> list[SeenWorker]:
    anybody_works = any(worker.state == "working" for worker in found)
    return [SeenWorker(worker, None if anybody_works else _warning(worker)) for worker in found]


def _warning(worker: Worker) -> str | None:
    """The consequence of a drain while no worker takes answers."""
    if worker.drain is None or worker.state == "lost":
        return None
    return ALONE_AND_RUNNING if worker.drain.mode == "hand_over" and worker.running else ALONE
