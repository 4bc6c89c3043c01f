"""The log in a real Redis, with the losses that only a server can cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis

from app.domain.cursor import START, Cursor
from app.domain.events import Entry
from app.eventlog.log import KEEP_TTL, AppendResult, Keys, RedisLog


def forget(client: redis.Redis, keys: Keys, kept: int) -> None:
    """Cut the log and meta to the first ``kept`` entries, as a server does that loads a cut append-only file."""
    state: dict[Any, Any] = client.hgetall(keys.meta)
    rows: list[Any] = client.execute_command("XRANGE", keys.log, "-", "+")  # type: ignore[no-untyped-call]
    lives = client.pttl(keys.log)
    client.delete(keys.log)
    for position, fields in rows[:kept]:
        client.execute_command("XADD", keys.log, position, "e", fields[1])  # type: ignore[no-untyped-call]
    earlier = sum(1 for position, _ in rows[:kept] if position.split(b"-")[0] != state[b"epoch"])
    client.hset(keys.meta, "before", earlier)
    if rows[:kept]:
        client.pexpire(keys.log, lives)


class ListenedLog:
    """RedisLog in the form that the model of the protocol drives: ``listener`` gets each new entry, in order."""

    def __init__(self, client: redis.Redis, namespace: str, listener: Callable[[str, Entry], None]) -> None:
        self._client = client
        self._log = RedisLog(client, namespace)
        self._listener = listener

    def open(self, generation_id: str, epoch: int) -> AppendResult:
        return self._log.open(generation_id, epoch)

    def append(
        self, generation_id: str, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
    ) -> AppendResult:
        before = self._log.read(generation_id)
        answer = self._log.append(generation_id, epoch, first, payloads, ttl_ms)
        for entry in self._log.read(generation_id, before[-1].cursor if before else START):
            self._listener(generation_id, entry)
        return answer

    def read(self, generation_id: str, after: Cursor = START) -> list[Entry]:
        return self._log.read(generation_id, after)

    def unlink(self, generation_ids: Sequence[str]) -> None:
        self._log.unlink(generation_ids)

    def forget(self, generation_id: str, kept: int) -> None:
        forget(self._client, self._log.keys(generation_id), kept)

    def length(self, generation_id: str) -> int | None:
        """The number of entries of the log; None when there is no log."""
        if not self._client.exists(self._log.keys(generation_id).meta):
            return None
        return len(self._log.read(generation_id))
