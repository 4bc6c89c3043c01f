"""Descriptors and deadlines of the main thread, each with a boundary of its own for errors."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

import structlog

logger = structlog.get_logger()


class Timer:
    """A call that is due at a time, unless it is cancelled."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Drop the call."""
        self.call = None


class Watch:
    """Calls back when a descriptor is ready or a time has come. Only the main thread may use it."""

    def __init__(self, poller: selectors.BaseSelector) -> None:
        self._poller = poller
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()

    def add(self, fileobj: Any, events: int, ready: Callable[[], None], failed: Callable[[], None]) -> None:
        """Call ``ready`` whenever one of ``events`` can be done; ``failed`` when that raises.

        Raises OSError for a descriptor that cannot be watched.
        """

        def call(_: Any) -> None:
            _run(ready, failed)

        self._poller.register(fileobj, events, call)

    def remove(self, fileobj: Any) -> None:
        """Stop calling back for this descriptor."""
        with suppress(KeyError, ValueError, OSError):
            self._poller.unregister(fileobj)

    def at(self, when: float, call: Callable[[], None], failed: Callable[[], None]) -> Timer:
        """Call at a time of the monotonic clock."""
        timer = Timer(when, lambda: _run(call, failed))
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    def patience(self, longest: float) -> float:
        """Seconds until the next timer is due; ``longest`` at most."""
        while self._timers and self._timers[0][2].call is None:
            heappop(self._timers)
        return min(longest, max(self._timers[0][0] - monotonic(), 0.0)) if self._timers else longest

    def run_due(self) -> None:
        """Make the calls that are due."""
        now = monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heappop(self._timers)[2]
            call, timer.call = timer.call, None
            if call is not None:
                call()


def _run(call: Callable[[], None], failed: Callable[[], None]) -> None:
    """Make a call. An error of it costs only the connection that it belongs to."""
    try:
        call()
    except Exception:
        logger.exception("connection failed", action="connection")
        try:
            failed()
        except Exception:
            logger.exception("connection not closed", action="connection")
