"""What one thread does in turn: sockets that are ready, calls from other threads, calls that are due."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from select import EPOLLET, EPOLLIN, epoll
from time import monotonic
from typing import Any

from app.relay.pool import Pool


class Loop:
    """``post`` and ``work`` may be called from any thread, the rest from the one whose loop it is.

    ``now`` is the time of the monotonic clock, not older than this part of a round.
    """

    def __init__(self) -> None:
        # Opened in the process that serves.
        self.epoll: epoll
        self.now = monotonic()
        self._wake = -1
        self._awake = False
        self._posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def open(self) -> None:
        """Make what descriptors are registered with: after the fork."""
        self.epoll = epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Edge-triggered: every ring is reported once, and none has to be read.
        self.epoll.register(self._wake, EPOLLIN | EPOLLET)

    def close(self) -> None:
        """Nothing is waited for any more."""
        self.epoll.close()

    def post(self, call: Callable[..., None], *arguments: Any) -> None:
        """Have something called in this loop's thread."""
        self._posted.append((call, arguments))
        if not self._awake:
            self._awake = True
            os.eventfd_write(self._wake, 1)

    def work(self, pool: Pool, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run ``job`` in a thread of the pool; ``then`` gets its result, or its exception, here."""

        def run() -> None:
            try:
                outcome = job()
            except Exception as error:
                outcome = error
            self.post(then, outcome)

        pool.submit(run)

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        """Have something called at this time."""
        heappush(self._timers, (when, next(self._order), call, arguments))

    def wait(self, until: float) -> list[tuple[int, int]]:
        """The descriptors that are ready, with their events, as soon as there is anything to do; latest ``until``.

        One that nobody knows has done what it is for: it has ended the wait.
        """
        if self._posted:
            left = 0.0
        else:
            timers = self._timers
            left = (timers[0][0] if timers and timers[0][0] < until else until) - monotonic()
        ready = self.epoll.poll(left if left > 0.0 else 0.0)
        self.now = monotonic()
        return ready

    def run_posted(self) -> None:
        """Make the calls that were posted before now; what they post waits for the next round."""
        self._awake = False
        self.now = monotonic()
        for _ in range(len(self._posted)):
            call, arguments = self._posted.popleft()
            call(*arguments)

    def run_timers(self) -> None:
        """Make the calls that are due."""
        while self._timers and self._timers[0][0] <= self.now:
            _, _, call, arguments = heappop(self._timers)
            call(*arguments)
