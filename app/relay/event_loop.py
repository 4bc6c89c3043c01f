"""One thread's event loop: descriptors that are ready, calls posted by other threads, calls that are due.

Each call has an exception boundary of its own: a call that fails is reported to ``on_failure``, and the next one runs.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from select import EPOLLET, EPOLLIN, epoll
from time import monotonic
from typing import Any

from app.relay.thread_pool import Pool

Failure = Callable[[Exception], None]


class EventLoop:
    """``post`` and ``run_in`` may be called from any thread, the rest only from the thread that runs the loop.

    ``now`` is the time of ``clock``, not older than the current part of a round. ``idle`` are the seconds so far in
    which the loop waited for something to do.
    """

    def __init__(self, on_failure: Failure, clock: Callable[[], float] = monotonic) -> None:
        # Opened in the process that serves.
        self.epoll: epoll
        self.clock = clock
        self.now = clock()
        self.idle = 0.0
        self._on_failure = on_failure
        self._wake = -1
        self._awake = False
        self._posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def open(self) -> None:
        """Create the epoll object and the eventfd: after the fork."""
        poller = epoll()
        try:
            self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            poller.close()
            raise
        # Edge-triggered: every write is reported once, and none has to be read.
        poller.register(self._wake, EPOLLIN | EPOLLET)
        self.epoll = poller

    def close(self) -> None:
        """Close the epoll object. The eventfd stays, because another thread may be posting."""
        self.epoll.close()

    def post(self, call: Callable[..., None], *arguments: Any) -> None:
        """Have ``call`` made in the loop's thread."""
        self._posted.append((call, arguments))
        if not self._awake:
            self._awake = True
            os.eventfd_write(self._wake, 1)

    def run_in(self, pool: Pool, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run ``job`` in a thread of the pool; ``then`` receives its result, or its exception, in the loop's thread."""

        def run() -> None:
            try:
                outcome = job()
            except Exception as error:
                outcome = error
            self.post(then, outcome)

        try:
            pool.submit(run)
        except RuntimeError as error:
            self.post(then, error)

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        """Have ``call`` made at the time ``when``."""
        heappush(self._timers, (when, next(self._order), call, arguments))

    def wait(self, until: float) -> list[tuple[int, int]]:
        """The descriptors that are ready, with their events, as soon as there is anything to do; latest at ``until``.

        An unknown descriptor is the eventfd; waking the loop was its only purpose.
        """
        began = self.clock()
        if self._posted:
            left = 0.0
        else:
            timers = self._timers
            left = (timers[0][0] if timers and timers[0][0] < until else until) - began
        ready = self.epoll.poll(left if left > 0.0 else 0.0)
        self.now = self.clock()
        self.idle += self.now - began
        return ready

    def run_posted(self) -> None:
        """Make the calls posted before this moment; calls that they post wait for the next round."""
        self._awake = False
        self.now = self.clock()
        for _ in range(len(self._posted)):
            self._run(*self._posted.popleft())

    def run_timers(self) -> None:
        """Make the calls that are due."""
        while self._timers and self._timers[0][0] <= self.now:
            _, _, call, arguments = heappop(self._timers)
            self._run(call, arguments)

    def _run(self, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            call(*arguments)
        except Exception as error:
            self._on_failure(error)
