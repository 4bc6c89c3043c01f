"""Log lines of the hub's thread, written by another thread: a log that takes no lines must stop no stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

import structlog

from app import logs
from app.relay.stats import RelayStats

logger = structlog.get_logger()

# Reports that wait; beyond this many they are dropped and counted.
MOST_WAITING = 10_000
# Calls whose lines are written in one piece.
MOST_TOGETHER = 100
CLOSE_SECONDS = 1.0

Report = tuple[Callable[..., object], tuple[Any, ...]]


class Reports:
    """Makes calls that may block, in order, in a daemon thread. ``submit`` and ``log`` never block."""

    def __init__(self, stats: RelayStats) -> None:
        self._stats = stats
        self._waiting: SimpleQueue[Report | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._starting = Lock()

    def open(self) -> None:
        """Start the thread: after the fork."""
        with self._starting:
            if self._thread is None:
                thread = Thread(target=self._work, name="relay-reports", daemon=True)
                thread.start()
                self._thread = thread

    def submit(self, call: Callable[..., object], *arguments: Any) -> None:
        """Have ``call`` made by the thread; dropped and counted while too many calls wait."""
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put((call, arguments))
        else:
            self._stats.reports_dropped += 1

    def warn(self, event: str, action: str, **fields: Any) -> None:
        """Log a warning."""
        self.submit(_log, logger.warning, event, {"action": action, **fields})

    def error(self, event: str, action: str, error: Exception, **fields: Any) -> None:
        """Log an error with its traceback."""
        self.submit(_log, logger.error, event, {"action": action, "exc_info": error, **fields})

    def close(self) -> None:
        """Wait for what was submitted before, at most ``CLOSE_SECONDS``."""
        if self._thread is None:
            return
        self._waiting.put(None)
        self._thread.join(CLOSE_SECONDS)
        with suppress(Empty):
            while True:
                self._waiting.get_nowait()

    def _work(self) -> None:
        is_open = True
        while is_open:
            taken = self._take()
            with logs.together():
                is_open = _call_all(taken)

    def _take(self) -> list[Report | None]:
        """Wait for a report. Returns it with those behind it."""
        taken = [self._waiting.get()]
        with suppress(Empty):
            while len(taken) < MOST_TOGETHER:
                taken.append(self._waiting.get_nowait())
        return taken


def _call_all(reports: Sequence[Report | None]) -> bool:
    """Make the calls in order. False at the end of all reports."""
    for report in reports:
        if report is None:
            return False
        call, arguments = report
        try:
            call(*arguments)
        except Exception:
            with suppress(Exception):
                logger.exception("report of the relay failed", action="report_failed")
    return True


def _log(write: Callable[..., object], event: str, fields: dict[str, Any]) -> None:
    write(event, **fields)
