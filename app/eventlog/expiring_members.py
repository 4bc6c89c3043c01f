"""Members that expire unless they are renewed, counted over all processes; described in members.lua."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis

from app.eventlog.deferred_scripts import DeferredScripts, Scripts
from app.eventlog.log import Script, redis_errors

# Seconds. Three renewals fit in; after a crash, what a process held is free again in this time.
TTL_SECONDS = 60.0

_MEMBERS = Script.load("members.lua")


class Counts(NamedTuple):
    """The number of members now, and before the change."""

    now: int
    before: int


class ExpiringMembers:
    """Sets of members, each under the key that ``key`` makes of its owner's id.

    Every method raises LogDown when Redis does not answer in time.
    """

    def __init__(self, client: redis.Redis, key: Callable[[str], str], scripts: Scripts | None = None) -> None:
        """``scripts`` sends reservations; by default, each leaves at once."""
        self._client = client
        self._scripts = scripts or DeferredScripts(client)
        self._key = key

    @classmethod
    def of_streams(cls, client: redis.Redis, namespace: str) -> ExpiringMembers:
        """The open streams of each user."""
        return cls(client, lambda user: f"{namespace}:streams:{user}")

    @classmethod
    def of_feeds(cls, client: redis.Redis, namespace: str) -> ExpiringMembers:
        """The connections that follow each feed."""
        return cls(client, lambda feed: f"{namespace}:{{{feed}}}:presence")

    @classmethod
    def of_exports(cls, client: redis.Redis, namespace: str) -> ExpiringMembers:
        """The running exports of each user."""
        return cls(client, lambda user: f"{namespace}:exports:{user}")

    def through(self, scripts: Scripts) -> ExpiringMembers:
        """These sets, with reservations that ``scripts`` sends. It belongs to a client of this Redis."""
        return ExpiringMembers(self._client, self._key, scripts)

    def reserve(self, owner: str, member: str, limit: int, left: Sequence[str] = ()) -> Callable[[], bool]:
        """Add ``member`` unless the owner has ``limit`` members already, and remove ``left``.

        The command is sent first. The returned function waits for the reply, whether the member was added, and has to
        be called once.
        """
        with redis_errors():
            reply = self._scripts.send(_MEMBERS, *self._arguments(owner, limit, left, [member]))

        def admitted() -> bool:
            with redis_errors():
                return int(reply()[0]) == 1

        return admitted

    def renew(self, owner: str, members: Sequence[str], left: Sequence[str] = ()) -> Counts:
        """Add or renew ``members``, and remove ``left``."""
        arguments = self._arguments(owner, 0, left, members)
        with redis_errors():
            try:
                reply = self._client.execute_command("EVALSHA", _MEMBERS.digest, 1, *arguments)
            except redis.exceptions.NoScriptError:
                reply = self._client.execute_command("EVAL", _MEMBERS.source, 1, *arguments)
        return Counts(int(reply[1]), int(reply[2]))

    def _arguments(self, owner: str, limit: int, left: Sequence[str], members: Sequence[str]) -> list[Any]:
        return [self._key(owner), limit, int(TTL_SECONDS * 1000), len(left), *left, *members]
