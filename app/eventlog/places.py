"""How many streams a user has open, counted over all processes; described in streams.lua."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis

from app.eventlog.asking import Questions
from app.eventlog.log import Script, answering

# Three renewals fit in; after a crash the places of a process are free again in this time.
TTL_SECONDS = 60.0

_STREAMS = Script.load("streams.lua")


class PlaceBook:
    """The shared count. Every method raises LogDown when Redis does not answer in time."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._questions = Questions(client)
        self._namespace = namespace

    def ask(self, user: str, stream: str, limit: int, ended: Sequence[str] = ()) -> Callable[[], bool]:
        """Count ``stream``, unless the user has ``limit`` already. ``ended`` count no more.

        It is asked at once; what is returned waits for the answer, and has to be called once.
        """
        with answering():
            answer = self._questions.ask(_STREAMS, *self._arguments(user, limit, ended, [stream]))

        def admitted() -> bool:
            with answering():
                return int(answer()) == 1

        return admitted

    def renew(self, user: str, streams: Iterable[str], ended: Sequence[str] = ()) -> None:
        """``streams`` are still open, ``ended`` are not."""
        args = self._arguments(user, 0, ended, list(streams))
        with answering():
            try:
                self._client.execute_command("EVALSHA", _STREAMS.digest, 1, *args)
            except redis.exceptions.NoScriptError:
                self._client.execute_command("EVAL", _STREAMS.source, 1, *args)

    def _arguments(self, user: str, limit: int, ended: Sequence[str], streams: Sequence[str]) -> list[Any]:
        return [f"{self._namespace}:streams:{user}", limit, int(TTL_SECONDS * 1000), len(ended), *ended, *streams]
