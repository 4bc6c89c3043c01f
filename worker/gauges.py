"""The gauges of a worker process, set by its loop once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from app.broker.queue import Queue
from app.ops import metrics
from worker.checkpoint import Checkpointer

SECONDS = 1.0


class Gauges:
    """Shows the load of a process. ``running`` returns the number of its generations at work."""

    def __init__(self, slots: int, running: Callable[[], int], checkpointer: Checkpointer, queue: Queue) -> None:
        self._running = running
        self._checkpointer = checkpointer
        self._queue = queue
        metrics.WORKER_SLOTS.set(slots)

    async def run(self) -> None:
        """Set the gauges until cancelled."""
        while True:
            self.publish()
            await asyncio.sleep(SECONDS)

    def publish(self) -> None:
        """Set the gauges once."""
        metrics.WORKER_RUNNING.set(self._running())
        metrics.CHECKPOINT_LAG.set(self._checkpointer.lag(monotonic()))
        metrics.DOORBELLS_LOST.inc(self._queue.take_lost())
