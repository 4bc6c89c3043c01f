"""Locks by key, within one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class KeyedLocks:
    """A lock for every key; one that no thread holds or waits for takes no memory."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: dict[str, tuple[Lock, int]] = {}  # by key: the lock, and how many threads use it

    @contextmanager
    def wait(self, key: str, timeout: float) -> Iterator[None]:
        """Wait up to ``timeout`` seconds for the lock of ``key``, then run the block, with the lock or without it."""
        with self._guard:
            lock, users = self._locks.get(key, (Lock(), 0))
            self._locks[key] = lock, users + 1
        held = lock.acquire(timeout=timeout)
        try:
            yield
        finally:
            if held:
                lock.release()
            with self._guard:
                lock, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = lock, users - 1
