"""The open streams of all web processes: each process writes its number into one hash of Redis, every few seconds."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import cast

import redis

from app.domain.errors import LogDown
from app.eventlog.log import redis_errors

# Seconds between two reports of a process, and after which the report of a process that died does not count.
REPORT_SECONDS = 5.0
TTL_SECONDS = 20.0


class OpenStreams:
    """Reports this process's number and reads the sum of all. ``clock``: seconds since 1970, alike on all machines."""

    def __init__(self, client: redis.Redis, namespace: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._key = f"{namespace}:open-streams"
        self._clock = clock
        self._name = ""
        self._due_at = 0.0

    def report_soon(self, count: Callable[[], int]) -> None:
        """Report ``count()`` unless this process has done so a moment ago. A Redis that is away is left alone."""
        if monotonic() < self._due_at:
            return
        self._due_at = monotonic() + REPORT_SECONDS
        with suppress(LogDown):
            self.report(count())

    def report(self, count: int) -> None:
        """Report the number of streams that are open in this process. Raises LogDown."""
        # Made at the first report, after the fork: two processes must not use one name.
        self._name = self._name or secrets.token_hex(8)
        with redis_errors(), self._client.pipeline(transaction=False) as pipe:
            pipe.hset(self._key, self._name, f"{self._clock():.0f} {count}")
            pipe.expire(self._key, int(3 * TTL_SECONDS))
            pipe.execute()

    def leave(self) -> None:
        """Remove the report of this process, which ends. A Redis that is away forgets it by time."""
        with suppress(LogDown), redis_errors():
            self._client.hdel(self._key, self._name)

    def total(self) -> int:
        """The streams of all processes that report. Raises LogDown."""
        with redis_errors():
            found = cast("dict[bytes, bytes]", self._client.hgetall(self._key))
        reports = {name: report.split() for name, report in found.items()}
        old = [name for name, (at, _) in reports.items() if self._clock() - float(at) > TTL_SECONDS]
        if old:
            with suppress(LogDown), redis_errors():
                self._client.hdel(self._key, *old)
        return sum(int(count) for name, (_, count) in reports.items() if name not in old)
