"""Notifications of feeds: a message without content, published when a feed has a new change.

A lost notification is made up for: readers of a feed also look at PostgreSQL by themselves.
"""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

import redis
import structlog

from app.domain.events import NOTICE
from app.eventlog.log import redis_errors

# Feeds that wait for a Redis that does not answer, at most; readers of further ones look by themselves.
MOST_PENDING = 10_000
_CHANGED = b"ring"

_log = structlog.get_logger()


class FeedNotifier:
    """Publishes in a thread of its own: a Redis that is slow or away costs the caller nothing."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace.encode()
        self._lock = Lock()
        self._waiting: set[str] = set()
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="feed-notifier")

    def channel(self, key: str) -> bytes:
        """The channel of a feed: of the conversation or the user with this id."""
        return b"%b:{%b}:feed" % (self._namespace, key.encode())

    def notify(self, keys: Set[str]) -> None:
        """Publish soon that these feeds have changed. A feed that waits to be published is not added again."""
        with self._lock:
            idle = not self._waiting
            if len(self._waiting) < MOST_PENDING:
                self._waiting |= keys
        if idle:
            with suppress(RuntimeError):  # after close
                self._sender.submit(self._send)

    def publish_notice(self, key: str, block: bytes) -> None:
        """Send ``block`` to the readers that follow a feed now. Raises LogDown."""
        with redis_errors():
            self._client.publish(self.channel(key), NOTICE + block)

    def close(self) -> None:
        """Publish nothing more."""
        self._sender.shutdown(wait=False, cancel_futures=True)

    def _send(self) -> None:
        with self._lock:
            keys, self._waiting = self._waiting, set()
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.publish(self.channel(key), _CHANGED)
                pipe.execute()
        except redis.RedisError as error:
            _log.warning("feeds not notified", action="notify", feeds=len(keys), error=type(error).__name__)
