"""A few threads for calls that block. Daemon threads: a read that hangs must not keep the process from ending."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

Job = Callable[[], None]


class Pool(Protocol):
    """Runs jobs in other threads."""

    def submit(self, job: Job) -> None:
        """Have ``job`` run; it must not raise. Raises RuntimeError when no thread can be started for it."""
        ...

    def close(self) -> None:
        """End the threads after the jobs submitted before."""
        ...


class ThreadPool:
    """Runs jobs in the order they come, ``size`` at a time. Threads start with the first jobs."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[Thread] = []

    def submit(self, job: Job) -> None:
        """Have ``job`` run; it must not raise. Raises RuntimeError when there is no thread and none can be started."""
        if not self._threads:
            self._start_thread()
        elif len(self._threads) < self._size:
            # The existing threads do the work, only more slowly.
            with suppress(RuntimeError):
                self._start_thread()
        self._jobs.put(job)

    def close(self) -> None:
        """End the threads after the jobs submitted before."""
        for _ in self._threads:
            self._jobs.put(None)

    def _start_thread(self) -> None:
        thread = Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
