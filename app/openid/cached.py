"""A document that is fetched when it is needed, by one thread at a time, and kept for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from typing import Generic, TypeVar

from app.domain.errors import ProviderDown, SignInFailed

# Seconds after a failure in which no further thread waits for a fetch.
FAILED_SECONDS = 2.0
# Seconds between two fetches out of turn.
REFETCH_SECONDS = 60.0
# Threads that wait for a fetch, the fetching one included: a silent provider must not hold all threads of a process.
MOST_WAITING = 16

T = TypeVar("T")


class Cached(Generic[T]):
    """The newest value of ``fetch``. ``stale`` are the seconds for which it stands in while a fetch fails."""

    def __init__(
        self, fetch: Callable[[], T], fresh: float, stale: float = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._fresh = fresh
        self._stale = stale
        self._clock = clock
        self._lock = Lock()
        self._places = BoundedSemaphore(MOST_WAITING)
        self._value: T | None = None
        self._fetched_at = self._refetched_at = self._failed_at = float("-inf")
        self._failure: ProviderDown | SignInFailed | None = None

    def get(self) -> T:
        """The value; fetched when it is not fresh. Raises ProviderDown, SignInFailed."""
        with self._turn():
            if self._value is not None and self._age() < self._fresh:
                return self._value
            return self._fetched()

    def again(self, known: T) -> T:
        """A newer value than ``known``, which lacks something. It is fetched at most once a minute."""
        with self._turn():
            if self._value is not None and self._value is not known:
                return self._value
            if self._clock() - self._refetched_at < REFETCH_SECONDS:
                return known
            self._refetched_at = self._clock()
            return self._fetched()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise ProviderDown("as many threads as are allowed wait for it")
        try:
            with self._lock:
                yield
        finally:
            self._places.release()

    def _fetched(self) -> T:
        if self._failure is not None and self._clock() - self._failed_at < FAILED_SECONDS:
            return self._stand_in(self._failure)
        try:
            self._value = self._fetch()
        except (ProviderDown, SignInFailed) as failure:
            self._failure, self._failed_at = failure, self._clock()
            return self._stand_in(failure)
        self._failure, self._fetched_at = None, self._clock()
        return self._value

    def _stand_in(self, failure: ProviderDown | SignInFailed) -> T:
        if self._value is not None and isinstance(failure, ProviderDown) and self._age() < self._stale:
            return self._value
        raise type(failure)(failure.reason)

    def _age(self) -> float:
        return self._clock() - self._fetched_at
