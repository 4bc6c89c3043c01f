"""The sweeper: begins generations whose doorbell was lost, takes over generations without a lease, runs chores."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic

import structlog

from app.domain.errors import UnbrokenError
from app.store import leases
from app.store.database import Database

# Generations begun in one round at most.
BEGUN_AT_ONCE = 100
# Seconds between two runs of a chore that removes old rows.
TIDY_SECONDS = 3600.0
# A period is varied by this part, so that processes that start together do not sweep together.
JITTER = 0.25

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DueGenerations:
    """Generations that are to begin now: queued ones without a doorbell, and running ones without a lease.

    ``lease`` is the seconds of a lease. ``most`` returns how many generations of one user may run at the same time,
    ``room`` how many this process may begin, and ``takeover_delay`` for how many seconds an expired lease is left to
    other processes.
    """

    database: Database
    lease: float
    most: Callable[[], int]
    room: Callable[[], int] = lambda: BEGUN_AT_ONCE
    takeover_delay: Callable[[], float] = lambda: 0.0

    def take(self) -> dict[str, str | None]:
        """The ids of due generations with the ids of their requests. The next round leaves them alone for a while.

        A generation for which there is no room stays due. Raises DatabaseDown.
        """
        room = min(self.room(), BEGUN_AT_ONCE)
        if room <= 0:
            return {}
        most = self.most()
        with self.database.system() as tx:
            return leases.due(tx, room, self.lease, most, self.takeover_delay())


@dataclass(frozen=True, slots=True)
class Chore:
    """Work that a sweeper does beside sweeping, every ``period`` seconds; 0: in every round.

    ``run`` returns true when it is not at its end; the next round goes on with it.
    """

    name: str
    run: Callable[[], object]
    period: float


class Sweeper:
    """Sweeps every ``period`` seconds, with jitter, in a thread of its own.

    A sweep calls ``handle`` with each due generation. A chore with a period runs first at a random moment of it.
    """

    def __init__(
        self, due: DueGenerations, handle: Callable[[str], None], period: float, chores: Sequence[Chore] = ()
    ) -> None:
        self._due = due
        self._handle = handle
        self._period = period
        self._chores = {chore: monotonic() + random.uniform(0, chore.period) for chore in chores}  # by when it is due
        self._stopped = Event()
        self._paused = False
        self._is_busy = False
        self._thread = Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further round."""
        self._stopped.set()

    @property
    def is_idle(self) -> bool:
        """True between two rounds."""
        return not self._is_busy

    def pause(self) -> None:
        """Begin nothing; a round that is under way comes to its end."""
        self._paused = True

    def resume(self) -> None:
        """Begin rounds again."""
        self._paused = False

    def sweep(self) -> list[str]:
        """Handle the due generations once; their ids. Raises DatabaseDown."""
        due = self._due.take()
        for generation_id, request_id in due.items():
            _log.info("generation found waiting", action="sweep", generation_id=generation_id, request_id=request_id)
            self._handle(generation_id)
        return list(due)

    def _run(self) -> None:
        while not self._stopped.wait(self._period * _jitter()):
            self._is_busy = True  # before the look: a pause then finds the round
            if not self._paused:
                self._round()
            self._is_busy = False

    def _round(self) -> None:
        _try(self.sweep, "sweep")
        for chore, due_at in self._chores.items():
            if monotonic() >= due_at and not self._paused:
                self._chores[chore] = monotonic() + chore.period * _jitter()
                if _try(chore.run, chore.name) is True:
                    self._chores[chore] = 0.0


def _jitter() -> float:
    return random.uniform(1 - JITTER, 1 + JITTER)


def _try(action: Callable[[], object], name: str) -> object:
    """Run an action; its result. An error is logged, and gives None."""
    try:
        return action()
    except UnbrokenError as error:
        _log.warning("chore postponed", action="sweep", chore=name, error=error.detail)
    except Exception:
        _log.exception("chore failed", action="sweep", chore=name)
    return None
