"""Revocations as one web process learns them: a thread reads the names that were added, several times a second.

Streams that are open, requests that wait and caches of credentials depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from threading import Event, Thread
from time import monotonic
from typing import Protocol

import structlog

from app.domain.errors import DatabaseDown
from app.domain.revoked_names import RevokedNames
from app.store import access, revocations
from app.store.database import Database, Tx
from app.store.revocations import Position

# Seconds between two reads.
POLL_SECONDS = 0.25
# A process that has not read for longer asks PostgreSQL about each credential.
FRESH_SECONDS = 1.0
# A process that has not read for longer may have missed names that were pruned: it counts everything as revoked.
LONGEST_GAP_SECONDS = revocations.KEPT_SECONDS / 2
# Seconds for a read, and between two tries while PostgreSQL is frozen.
READ_SECONDS = 1.0
RETRY_SECONDS = 0.25

_log = structlog.get_logger()


class Listener(Protocol):
    """An object that ends what was revoked. Its calls come from the reading thread and must not block."""

    def revoke(self, names: frozenset[str]) -> None:
        """End everything that depends on one of these names."""
        ...

    def revoke_everything(self) -> None:
        """End everything that depends on any name: some were missed."""
        ...


class Revocations:
    """Reads names that were revoked. Without its thread nothing is fresh, and each lookup asks PostgreSQL.

    ``database`` should have one connection and belong to this object, which closes it.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self.clock = clock
        self._recent = RevokedNames()
        self._listeners: list[Listener] = []
        self._observers: list[Callable[[], object]] = []
        self._position = Position()
        # The ids of the last read: the next one may see them again.
        self._known: frozenset[int] = frozenset()
        self._read_at = -inf
        self._closed = Event()
        self._thread: Thread | None = None
        self.count = 0

    @property
    def age(self) -> float:
        """Seconds since the beginning of the last read that succeeded; infinite before the first."""
        return self.clock() - self._read_at

    @property
    def fresh(self) -> bool:
        """True when everything is known that was revoked more than FRESH_SECONDS ago."""
        return self.age <= FRESH_SECONDS

    def ended(self, names: Iterable[str], since: float) -> bool:
        """True when one of the names was revoked since a time of the clock, as far as this process knows."""
        return self._recent.meets(names, since)

    def listen(self, listener: Listener) -> None:
        """Pass all further names to ``listener``. For the time before ``start``."""
        self._listeners.append(listener)

    def observe(self, observer: Callable[[], object]) -> None:
        """Call ``observer`` after each read, whether or not it succeeded. For the time before ``start``."""
        self._observers.append(observer)

    def start(self) -> None:
        """Start the thread: after the fork."""
        self._thread = Thread(target=self._run, name="revocations", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close the connection."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(READ_SECONDS)
        self._database.close()

    def poll(self) -> None:
        """Read everything that was committed since the last read, and pass it on. Raises DatabaseDown."""
        began = self.clock()
        page = revocations.read(self._database, self._position)
        if page.next.transaction < self._position.transaction:
            # Another server, or a restored one, counts its transactions anew.
            page, self._known = revocations.read(self._database, Position()), frozenset()
        if self._read_at > -inf and began - self._read_at > LONGEST_GAP_SECONDS:
            self._revoke_everything()
        # A row that is committed during this read is read by the next one.
        following, seen = page.next, set(page.names)
        self._pass_on(page.names)
        while page.more is not None:
            page = revocations.read(self._database, page.more)
            seen.update(page.names)
            self._pass_on(page.names)
        self._position, self._known = following, frozenset(seen)
        self._read_at = began

    def _pass_on(self, found: dict[int, str]) -> None:
        names = frozenset(name for row, name in found.items() if row not in self._known)
        if not names:
            return
        self.count += len(names)
        self._recent.add(names, self.clock())
        for listener in self._listeners:
            listener.revoke(names)

    def _revoke_everything(self) -> None:
        _log.error(
            "revocations not read for too long, all streams broken",
            action="revocations",
            seconds=round(self.age),
            limit="LONGEST_GAP_SECONDS",
        )
        self._recent.add_everything(self.clock())
        for listener in self._listeners:
            listener.revoke_everything()

    def _run(self) -> None:
        while True:
            self._try_poll()
            for observer in self._observers:
                observer()
            if self._closed.wait(POLL_SECONDS):
                return

    def _try_poll(self) -> None:
        try:
            self.poll()
        except DatabaseDown:
            # Other parts of the process log that PostgreSQL is away; /metrics has the seconds.
            return
        except Exception:
            _log.exception("revocations not read", action="revocations")


def prune(database: Database) -> Iterator[Iterator[None]]:
    """Remove names that every process has read long ago, and ended tokens that have expired, in two parts."""
    for remove in (revocations.prune, access.prune):
        yield _remove(database, remove)


def _remove(database: Database, remove: Callable[[Tx], bool]) -> Iterator[None]:
    is_more = True
    while is_more:
        with database.system() as tx:
            is_more = remove(tx)
        yield
