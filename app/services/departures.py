"""Generations whose clients cannot resume them are cancelled when the last client has left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Thread
from time import monotonic
from typing import NamedTuple

import structlog

from app.domain.commands import User
from app.domain.errors import LogDown, StoreDown, UnbrokenError
from app.eventlog.client_count import ClientCount

# Seconds between two attempts to cancel while a store does not answer, and the number of attempts.
PAUSE_SECONDS = 2.0
ATTEMPTS = 5

_log = structlog.get_logger()


class _Departure(NamedTuple):
    """A client that has left; ``due`` is the time of the monotonic clock at which its generation may be cancelled."""

    due: float
    order: int
    user: User
    generation_id: str
    attempts: int


class Departures:
    """Cancels in a thread of its own, so that ``left`` may be called in the hub's thread."""

    def __init__(self, clients: ClientCount, cancel: Callable[[User, str], object]) -> None:
        self._clients = clients
        self._cancel = cancel
        self._waiting: list[_Departure] = []
        self._order = count()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._closed = False

    def joined(self, generation_id: str) -> bool:
        """Count another client of a generation. False when the generation is being cancelled.

        While Redis is away the client is not counted.
        """
        with suppress(LogDown):
            return self._clients.join(generation_id)
        return True

    def left(self, user: User, generation_id: str, grace: float) -> None:
        """Cancel the generation in ``grace`` seconds, unless another client waits for it then. Never blocks."""
        self._plan(_Departure(monotonic() + grace, next(self._order), user, generation_id, 0))

    def close(self) -> None:
        """End the thread. Departures that are due are handled; the generations of the others go on."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(PAUSE_SECONDS)

    def _plan(self, departure: _Departure) -> None:
        with self._changed:
            heappush(self._waiting, departure)
            if self._thread is None:
                self._thread = Thread(target=self._work, name="departures", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _work(self) -> None:
        while (departure := self._next()) is not None:
            try:
                self._handle(departure)
            except Exception:
                _log.exception("departure failed", action="departure")

    def _next(self) -> _Departure | None:
        with self._changed:
            while True:
                left = self._waiting[0].due - monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    return heappop(self._waiting)
                if self._closed:
                    return None
                self._changed.wait(left)

    def _handle(self, departure: _Departure) -> None:
        generation_id = departure.generation_id
        # A second attempt has been counted before. While Redis is away the client counts as the only one.
        with suppress(LogDown):
            if departure.attempts == 0 and not self._clients.leave(generation_id):
                return
        try:
            self._cancel(departure.user, generation_id)
            _log.info("generation cancelled without a client", action="departure", generation_id=generation_id)
        except StoreDown:
            if departure.attempts + 1 < ATTEMPTS:
                self._plan(departure._replace(due=monotonic() + PAUSE_SECONDS, attempts=departure.attempts + 1))
        except UnbrokenError:
            # The generation has been deleted.
            return
