"""A raw, pipelined connection to Redis for an asyncio loop: many commands written at once, replies in order.

It exists for the token path: a call of a client library costs more than everything else that is done for a token.
It never retries: its user knows which commands may be repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis.connection import UnixDomainSocketConnection, parse_url

from app.domain.errors import LogDown
from app.eventlog.tls import tls_context

Reply = Any  # bytes, int, list, None, or an hiredis.ReplyError
# Takes the next replies to the commands of one write, in their order: all at once, or in as many parts as they come.
OnReplies = Callable[[list[Reply]], None]

_CONNECT_SECONDS = 2.0


class RedisWire(asyncio.Protocol):
    """One connection. Commands are answered in order; when it breaks, ``on_lost`` is called, and no reply comes."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[int, OnReplies]] = deque()  # how many replies to whom
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, url: str, on_lost: Callable[[], None]) -> RedisWire:
        """Connect and authenticate. Raises LogDown."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await cls._connect(url, on_lost)
        except (OSError, TimeoutError, hiredis.HiredisError) as error:
            raise LogDown(f"Redis does not answer: {type(error).__name__}") from error

    @classmethod
    async def _connect(cls, url: str, on_lost: Callable[[], None]) -> RedisWire:
        options = parse_url(url)
        loop = asyncio.get_running_loop()
        if options.get("connection_class") is UnixDomainSocketConnection:
            _, pipe = await loop.create_unix_connection(lambda: cls(on_lost), options["path"])
        else:
            host, port = options.get("host", "localhost"), options.get("port", 6379)
            _, pipe = await loop.create_connection(lambda: cls(on_lost), host, port, ssl=tls_context(options))
        try:
            if password := options.get("password"):
                user = (options["username"],) if options.get("username") else ()
                await pipe.ask("AUTH", *user, password)
            if database := options.get("db"):
                await pipe.ask("SELECT", str(database))
        except BaseException:
            pipe.close()
            raise
        return pipe

    @property
    def is_open(self) -> bool:
        """True while commands can be written."""
        return self._transport is not None

    @property
    def waiting_bytes(self) -> int:
        """The bytes that have been written and wait for the network."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def write(self, parts: list[bytes], expected: int, receive: OnReplies) -> None:
        """Send packed commands in one write; ``expected`` replies go to ``receive``."""
        assert self._transport, "written to while open"
        self._waiting.append((expected, receive))
        self._transport.write(b"".join(parts))

    async def ask(self, *command: Any) -> Reply:
        """Send one command and wait for its reply. Raises hiredis.ReplyError, LogDown."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def receive(replies: list[Reply]) -> None:
            if not answer.done():
                answer.set_result(replies[0])

        self.write([packed(command)], 1, receive)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reply = await answer
        except TimeoutError:
            self.close()
            raise LogDown("Redis does not answer in time.") from None
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        """Break the connection."""
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        replies: list[Reply] = []
        try:
            while (reply := self._reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError:
            self.close()
        self._hand_over(replies)

    def _hand_over(self, replies: list[Reply]) -> None:
        while replies:
            if not self._waiting:
                self.close()  # a reply without a command
                return
            expected, receive = self._waiting.popleft()
            part, replies = replies[:expected], replies[expected:]
            if len(part) < expected:
                self._waiting.appendleft((expected - len(part), receive))
            receive(part)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._on_lost()


def packed(command: tuple[Any, ...]) -> bytes:
    """A command encoded for the wire."""
    line: bytes = hiredis.pack_command(command)
    return line
