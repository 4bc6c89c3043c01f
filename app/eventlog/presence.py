"""How many connections follow a conversation's feed, counted over all processes; described in presence.lua."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from app.domain.events import NOTICE
from app.eventlog.bell import Bell
from app.eventlog.log import Script, answering

# Three renewals fit in; after a crash the connections of a process are forgotten in this time.
TTL_SECONDS = 60.0

_PRESENCE = Script.load("presence.lua")


class PresenceBook:
    """The shared count. Every method raises LogDown when Redis does not answer in time."""

    def __init__(self, client: redis.Redis, namespace: str, bell: Bell) -> None:
        self._client = client
        self._namespace = namespace
        self._bell = bell

    def count(self, key: str, present: Sequence[str], left: Sequence[str] = ()) -> tuple[int, int]:
        """``present`` are there, ``left`` are not any more: how many there are now, and were before."""
        args = [f"{self._namespace}:{{{key}}}:presence", int(TTL_SECONDS * 1000), len(left), *left, *present]
        with answering():
            try:
                now, before = self._client.execute_command("EVALSHA", _PRESENCE.digest, 1, *args)
            except redis.exceptions.NoScriptError:
                now, before = self._client.execute_command("EVAL", _PRESENCE.source, 1, *args)
        return int(now), int(before)

    def tell(self, key: str, block: bytes) -> None:
        """Have everybody who follows this feed just now be sent ``block``."""
        with answering():
            self._client.publish(self._bell.channel(key), NOTICE + block)
