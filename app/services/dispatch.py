"""Finds what a lost message left: queued generations nobody came for, running ones nobody renews. And tidies up."""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

import structlog

from app.domain.errors import UnbrokenError
from app.store import leases
from app.store.database import Database

_MOST = 100
TIDY_SECONDS = 3600.0

_log = structlog.get_logger()


class Sweeper:
    """Looks every ``period`` seconds, with jitter, and hands each due generation to ``handle``.

    ``room`` says how many may be handed out in one round; nothing is put off that nobody can take. For ``late``
    seconds an expired lease is left to others. ``grace``: who only rings for others lets those look first who claim
    by themselves; a ring can get lost, and what was rung for is put off. ``tidy`` is called about every
    ``tidy_period`` seconds, not at the same moment in every process.
    """

    def __init__(
        self,
        database: Database,
        lease: float,
        period: float,
        handle: Callable[[str], None],
        room: Callable[[], int] = lambda: _MOST,
        late: Callable[[], float] = lambda: 0.0,
        grace: float = 0.0,
        tidy: Callable[[], None] = lambda: None,
        tidy_period: float = TIDY_SECONDS,
    ) -> None:
        self._database = database
        self._lease = lease
        self._period = period
        self._handle = handle
        self._room = room
        self._late = late
        self._grace = grace
        self._tidy = tidy
        self._tidy_period = tidy_period
        self._tidy_at = monotonic() + random.uniform(0, tidy_period)
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin sweeping in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._stopped.set()

    def sweep(self) -> list[str]:
        """One round; the generations handed out."""
        room = min(self._room(), _MOST)
        if room <= 0:
            return []
        with self._database.system() as tx:
            due = leases.due(tx, room, self._lease, self._late(), self._grace)
        for generation_id in due:
            _log.info("generation found waiting", action="sweep", generation_id=generation_id)
            self._handle(generation_id)
        return due

    def _run(self) -> None:
        while not self._stopped.wait(self._period * random.uniform(0.75, 1.25)):
            self._try(self.sweep, "sweep")
            if monotonic() >= self._tidy_at:
                self._tidy_at = monotonic() + self._tidy_period * random.uniform(0.75, 1.25)
                self._try(self._tidy, "tidy")

    def _try(self, action: Callable[[], object], name: str) -> None:
        try:
            action()
        except UnbrokenError as error:
            _log.warning(f"{name} put off", action=name, error=error.detail)
        except Exception:
            _log.exception(f"{name} failed", action=name)
