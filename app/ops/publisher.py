"""The thread of a web process that copies counts into its metrics once a second.

Where several processes share a port, a scrape reaches one of them and reads the metrics that the others have written.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import structlog

SECONDS = 1.0

_log = structlog.get_logger()


class Publisher:
    """Calls every function of ``sources`` once a second. A failure is logged once, and costs one round."""

    def __init__(self, *sources: Callable[[], None]) -> None:
        self._sources = sources
        self._stopped = Event()
        self._is_failing = False
        self._thread = Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._stopped.set()

    def publish(self) -> None:
        """Call the sources once."""
        try:
            for source in self._sources:
                source()
            self._is_failing = False
        except Exception:  # metrics never end their own thread
            if not self._is_failing:
                _log.exception("metrics not published", action="metrics")
            self._is_failing = True

    def _run(self) -> None:
        while not self._stopped.wait(SECONDS):
            self.publish()
