"""A few threads for what blocks. Daemons: a read that hangs must not keep the process from leaving."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

Job = Callable[[], None]


class Pool:
    """Runs jobs in the order they come, ``size`` at a time. Threads start with the first job."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[Thread] = []

    def submit(self, job: Job) -> None:
        """Have ``job`` run. It must not raise."""
        self._jobs.put(job)
        if len(self._threads) < self._size:
            thread = Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Let the threads end when they have done what was submitted before."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
