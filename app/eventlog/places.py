"""How many streams a user has open, counted over all processes; described in streams.lua."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import redis

from app.eventlog.log import Script, answering

# Three renewals fit in; after a crash the places of a process are free again in this time.
TTL_SECONDS = 60.0

_STREAMS = Script.load("streams.lua")


class PlaceBook:
    """The shared count. Every method raises LogDown when Redis does not answer in time."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def take(self, user: str, stream: str, limit: int, ended: Sequence[str] = ()) -> bool:
        """Count ``stream``, unless the user has ``limit`` already. ``ended`` count no more."""
        return self._run(user, limit, ended, [stream]) == 1

    def renew(self, user: str, streams: Iterable[str], ended: Sequence[str] = ()) -> None:
        """``streams`` are still open, ``ended`` are not."""
        self._run(user, 0, ended, list(streams))

    def _run(self, user: str, limit: int, ended: Sequence[str], streams: Sequence[str]) -> int:
        args = [f"{self._namespace}:streams:{user}", limit, int(TTL_SECONDS * 1000), len(ended), *ended, *streams]
        with answering():
            try:
                return int(self._client.execute_command("EVALSHA", _STREAMS.digest, 1, *args))
            except redis.exceptions.NoScriptError:
                return int(self._client.execute_command("EVAL", _STREAMS.source, 1, *args))
