"""The connection of a worker process to the log in Redis: kept open, and broken when Redis does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import hiredis
import structlog

from app.domain.backoff import Backoff
from app.domain.errors import LogDown
from app.eventlog.log import APPEND
from app.eventlog.redis_wire import OnReplies, RedisWire, Reply, packed

# A Redis that does not answer a write for this long is treated as gone, in seconds.
REPLY_SECONDS = 2.0
# Pauses before the next attempt to connect, in seconds. A connection that held for so long begins with the first again.
BACKOFF = Backoff(first=0.05, longest=1.0)
SOUND_SECONDS = 5.0

_log = structlog.get_logger()


class LogConnection:
    """Keeps one connection. ``opened`` is called when there is a new one, ``lost`` when it has ended."""

    def __init__(self, redis_url: str, opened: Callable[[], None], lost: Callable[[], None]) -> None:
        self._url = redis_url
        self._opened = opened
        self._lost = lost
        self._wire: RedisWire | None = None
        self._oldest_unanswered: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and keep connected."""
        self._task = asyncio.ensure_future(self._stay_connected())

    def close(self) -> None:
        """Connect no more."""
        if self._task:
            self._task.cancel()
        self.break_off()

    @property
    def wire(self) -> RedisWire | None:
        """The connection if it can be written to; it may have ended before ``lost`` is called."""
        return self._wire if self._wire is not None and self._wire.is_open else None

    def write(self, commands: list[bytes], replies: int, receive: OnReplies) -> None:
        """Send packed commands in one write, while there is a connection. ``receive`` has to call ``note_reply``."""
        assert self._wire, "written to while open"
        self._oldest_unanswered = self._oldest_unanswered or monotonic()
        self._wire.write(commands, replies, receive)

    def write_unread(self, commands: list[bytes]) -> None:
        """Send packed commands of which only an error reply matters: it breaks the connection."""
        self.write(commands, len(commands), self._receive_unread)

    def note_reply(self) -> None:
        """Redis has answered."""
        self._oldest_unanswered = None

    def check(self) -> None:
        """Break the connection when Redis has not answered for ``REPLY_SECONDS``."""
        if self._oldest_unanswered and monotonic() - self._oldest_unanswered > REPLY_SECONDS:
            _log.warning("Redis does not reply", action="reconnect", limit="REPLY_SECONDS")
            self.break_off()

    def ping(self) -> None:
        """Send a command that needs no draft, unless a reply is awaited already: silence of Redis has to be noticed."""
        if self._oldest_unanswered is None:
            self.write_unread([packed(("PING",))])

    def refuse(self, error: Reply) -> None:
        """Break the connection after an error reply: NOSCRIPT after a restart, out of memory, a replica, loading."""
        _log.warning("Redis refused a write", action="append", error=str(error).split("\n")[0][:200])
        self.break_off()

    def break_off(self) -> None:
        """End the connection; another one is made after a pause."""
        self._oldest_unanswered = None
        if self._wire:
            self._wire.close()

    def _receive_unread(self, replies: list[Reply]) -> None:
        self.note_reply()
        if refused := [reply for reply in replies if isinstance(reply, hiredis.ReplyError)]:
            self.refuse(refused[0])

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            began, lost = monotonic(), asyncio.Event()
            try:
                wire = await self._connect(lost.set)
            except (LogDown, hiredis.HiredisError) as error:
                _log.warning("connection to Redis failed", action="connect", error=str(error)[:200])
                await asyncio.sleep(BACKOFF.pause(failures))
                failures += 1
                continue
            self._wire, self._oldest_unanswered = wire, None
            self._opened()
            await lost.wait()
            self._wire = None
            self._lost()
            # The pauses grow for a server that accepts connections and refuses commands (loading, out of memory).
            is_sound = monotonic() - began > SOUND_SECONDS
            failures = 0 if is_sound else failures + 1
            await asyncio.sleep(BACKOFF.pause(failures))

    async def _connect(self, on_lost: Callable[[], None]) -> RedisWire:
        """A connection to a server that knows append.lua. Raises LogDown, HiredisError."""
        wire = await RedisWire.connect(self._url, on_lost)
        try:
            await wire.ask("SCRIPT", "LOAD", APPEND.source)
        except BaseException:
            wire.close()
            raise
        return wire
