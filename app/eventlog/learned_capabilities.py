"""The learned capabilities of upstreams' models, shared by all workers: one hash, bounded, which expires.

PostgreSQL has no part in it: a lost entry costs one refused request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
import redis

from app.eventlog.log import redis_errors

# The most entries of the hash; a full one is emptied, and its entries are learned again.
MOST_ENTRIES = 1000
# The most characters of an entry that is read.
MOST_ENTRY_CHARS = 4000


class Entry(NamedTuple):
    """The capabilities that a model lacks, until a time of the epoch."""

    upstream: str
    model: str
    lacks: tuple[str, ...]
    until: float


class LearnedCapabilities:
    """The hash of one deployment. Every method raises LogDown when Redis does not answer in time."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._key = f"{namespace}:capabilities"

    def read(self) -> list[Entry]:
        """Every entry that can be read."""
        with redis_errors():
            values: Any = self._client.hgetall(self._key)
        return [entry for value in values.values() if (entry := _entry(value)) is not None]

    def write(self, entries: Iterable[Entry], keep_seconds: float) -> None:
        """Add or replace entries; the hash expires ``keep_seconds`` after the last one."""
        fields: dict[Any, Any] = {
            orjson.dumps([entry.upstream, entry.model]): orjson.dumps(list(entry)) for entry in entries
        }
        if not fields:
            return
        with redis_errors():
            if self._client.hlen(self._key) + len(fields) > MOST_ENTRIES:
                self._client.delete(self._key)
            self._client.hset(self._key, mapping=fields)
            self._client.expire(self._key, int(keep_seconds))


def _entry(value: bytes) -> Entry | None:
    if len(value) > MOST_ENTRY_CHARS:
        return None
    try:
        upstream, model, lacks, until = orjson.loads(value)
    except (ValueError, TypeError):
        return None
    if not (isinstance(upstream, str) and isinstance(model, str) and isinstance(lacks, list)):
        return None
    if not isinstance(until, int | float) or not all(isinstance(name, str) for name in lacks):
        return None
    return Entry(upstream, model, tuple(lacks), float(until))
