"""The doorbell of feeds: that something happened, said to whoever listens. Lost rings are found by those who look."""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

import redis
import structlog

# More than this is waiting for a Redis that does not answer: who listens looks by itself.
_PENDING = 10_000
_RING = b"ring"

_log = structlog.get_logger()


class Bell:
    """Rings in the background: a Redis that is slow or away costs the caller nothing."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace.encode()
        self._lock = Lock()
        self._waiting: set[str] = set()
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="feed-bell")

    def channel(self, key: str) -> bytes:
        """The channel of a feed: of the conversation or the user with this id."""
        return b"%b:{%b}:feed" % (self._namespace, key.encode())

    def ring(self, keys: Set[str]) -> None:
        """Say that something happened to these, soon and probably. What is on its way is not said twice."""
        with self._lock:
            idle = not self._waiting
            if len(self._waiting) < _PENDING:
                self._waiting |= keys
        if idle:
            with suppress(RuntimeError):  # after close
                self._sender.submit(self._send)

    def close(self) -> None:
        """Ring no more."""
        self._sender.shutdown(wait=False, cancel_futures=True)

    def _send(self) -> None:
        with self._lock:
            keys, self._waiting = self._waiting, set()
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.publish(self.channel(key), _RING)
                pipe.execute()
        except redis.RedisError as error:
            _log.warning("feed bell not heard", action="ring", feeds=len(keys), error=type(error).__name__)
