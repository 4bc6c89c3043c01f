"""Open streams count as a use of their sessions: somebody who only reads is not signed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread

import structlog

from app.domain.errors import UnbrokenError

# Seconds between two notes of the use by open streams, at most; a shorter idle time makes it shorter.
KEEP_SECONDS = 600.0
# Sessions noted in one transaction.
KEPT_AT_ONCE = 1000

_log = structlog.get_logger()


class SessionKeeper:
    """Notes, in a thread of its own, the use of all sessions that have open streams in this process.

    ``touch`` notes the use of sessions by their ids. ``idle_seconds``: the time without use after which one ends.
    """

    def __init__(self, touch: Callable[[Sequence[str]], None], idle_seconds: float) -> None:
        self._touch = touch
        self._period = min(KEEP_SECONDS, idle_seconds / 4)
        self._open: Counter[str] = Counter()
        self._lock = Lock()
        self._closed = Event()
        self._thread = Thread(target=self._run, name="session keeper", daemon=True)

    def start(self) -> None:
        """Start the thread: after the fork."""
        self._thread.start()

    def close(self) -> None:
        """Begin no further round."""
        self._closed.set()

    def joined(self, session_id: str) -> None:
        """Count a stream that opens."""
        with self._lock:
            self._open[session_id] += 1

    def left(self, session_id: str) -> None:
        """Count a stream that has ended. Never blocks for long."""
        with self._lock:
            self._open[session_id] -= 1
            if self._open[session_id] <= 0:
                del self._open[session_id]

    def keep(self) -> None:
        """Note the use of all sessions with open streams. Raises DatabaseDown."""
        with self._lock:
            ids = list(self._open)
        for first in range(0, len(ids), KEPT_AT_ONCE):
            self._touch(ids[first : first + KEPT_AT_ONCE])

    def _run(self) -> None:
        while not self._closed.wait(self._period):
            try:
                self.keep()
            except UnbrokenError as error:
                _log.warning("sessions not kept", action="sessions", error=error.detail)
            except Exception:
                _log.exception("sessions not kept", action="sessions")
