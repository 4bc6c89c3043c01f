"""HTTP/1.1 straight on asyncio and llhttp, for the token path.

At one token per packet the way from the socket to the reader is most of what a token costs: this one took half the
CPU of aiohttp's, whose stream layer runs three Python callbacks and a chain of coroutines per chunk.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from worker.providers.http.body import Body
from worker.providers.http.interface import (
    CONNECT_SECONDS,
    HEADER_BYTES,
    KEEPALIVE_SECONDS,
    RELEASE_SECONDS,
    Answer,
    CannotConnect,
    ConnectionBroken,
    ConnectTimeout,
    Sink,
    TooLarge,
)


class Origin(NamedTuple):
    """The server of a connection; requests to one origin share connections."""

    tls: bool
    host: str
    port: int


class DirectTransport:
    """A Transport without a proxy. Its pool has no upper limit: the worker's own slots are one.

    ``header_bytes``: the most bytes of an answer that are not its body.
    """

    def __init__(self, header_bytes: int = HEADER_BYTES) -> None:
        self._header_bytes = header_bytes
        self._idle: dict[Origin, list[Connection]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Transport.open."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        host = parts.hostname or ""
        origin = Origin(tls, host, parts.port or (443 if tls else 80))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = _request(method, target, parts.netloc.rpartition("@")[2], headers, body)
        connection = self._reusable(origin) or await self._connect(origin)
        answer = connection.ask(request)
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    async def close(self) -> None:
        """See Transport.close."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.transport.abort()

    def _reusable(self, origin: Origin) -> Connection | None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._idle, self._loop = {}, loop
        connections = self._idle.get(origin)
        # The last one used is the least likely to be closed by now.
        return connections.pop().wake() if connections else None

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        context = _tls() if origin.tls else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._idle.setdefault(origin, []), self._header_bytes),
                    origin.host,
                    origin.port,
                    ssl=context,
                )
        except TimeoutError as error:
            raise ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise CannotConnect from error
        return connection


class Connection(asyncio.Protocol):
    """One socket: idle (listed in ``pool``), or busy with one answer."""

    __slots__ = ("_answer", "_feed", "_header_bytes", "_pool", "_timer", "transport")

    transport: asyncio.Transport

    def __init__(self, pool: list[Connection], header_bytes: int) -> None:
        self._pool = pool
        self._header_bytes = header_bytes
        self._answer: _Answer | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, request: bytes) -> _Answer:
        answer = self._answer = _Answer(self, self._header_bytes)
        self._feed = answer.parser.feed_data
        if self.transport.is_closing():
            answer.lost(clean=False)
        else:
            self.transport.write(request)
        return answer

    def wake(self) -> Connection:
        if self._timer is not None:
            self._timer.cancel()
        return self

    def rest(self) -> None:
        """Return to the pool: the answer is complete."""
        self._answer = None
        self._pool.append(self)
        self._timer = asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self.transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.transport.abort()  # no request is open
            return
        body = answer.body
        body.quiet += len(data)
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade):
            answer.lost(clean=False)
            self.transport.abort()
        # llhttp keeps a header until it is whole: what is counted is what was read.
        if body.quiet > self._header_bytes and self._answer is answer:
            answer.refuse()

    def connection_lost(self, error: Exception | None) -> None:
        self.wake()
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.lost(clean=error is None)
        with suppress(ValueError):
            self._pool.remove(self)


class _Answer:
    """An Answer, filled by the callbacks of its parser (``on_…``)."""

    __slots__ = ("_connection", "_header_room", "_loop", "_sized", "_started", "body", "headers", "on_body", "parser",
                 "status")  # fmt: skip

    def __init__(self, connection: Connection, header_bytes: int) -> None:
        self.body = Body(self._throttle)
        self.on_body = self.body.take
        self.parser = HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._connection = connection
        self._header_room = header_bytes
        self._loop = asyncio.get_running_loop()
        self._started = False
        self._sized = False  # whether the headers say where the body ends

    # --- the reader's side

    async def begun(self) -> None:
        """Wait for the headers."""
        while not self._started:
            if self.body.failure is not None:
                raise self.body.failure
            await self.body.wait()

    async def read(self) -> bytes:
        return await self.body.read()

    async def pour(self, sink: Sink) -> bool:
        return await self.body.pour(sink)

    def pause(self) -> None:
        self.body.pause()

    def resume(self) -> None:
        self.body.resume()

    def release(self) -> None:
        self.body.drop()
        if not self.body.is_complete:
            self._loop.call_later(RELEASE_SECONDS, self.close)

    def close(self) -> None:
        if not self.body.is_complete:
            self._connection.transport.abort()

    # --- the connection's side

    def _throttle(self, throttled: bool) -> None:
        transport = self._connection.transport
        if not transport.is_closing():
            if throttled:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def lost(self, *, clean: bool) -> None:
        """The connection is gone. A body of unknown length ends this way, if cleanly."""
        if clean and self._started and not self._sized and self.body.failure is None:
            self.body.end()
        else:
            self.body.fail(ConnectionBroken("the connection ended before the answer did"))

    def refuse(self) -> None:
        """End the exchange: its headers, or what else frames the body, are too large."""
        self.body.fail(TooLarge())
        self._connection.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_room -= len(name) + len(value)
        if self._header_room < 0:
            self.refuse()
        elif not self._started:  # otherwise they are trailers
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._header_room < 0:
            return
        status = self.parser.get_status_code()
        if status < 200:  # "continue" and the like: the answer is still to come
            self.headers.clear()
            return
        self.status = status
        self._sized = "content-length" in self.headers or "transfer-encoding" in self.headers or status in (204, 304)
        self._started = True
        self.body.begin(self.headers.get("content-encoding", ""))

    def on_message_complete(self) -> None:
        if not self._started:
            return
        if self.parser.should_keep_alive() and not self._connection.transport.is_closing():
            self.body.end()
            self._connection.rest()
        else:
            self.body.end()
            self._connection.transport.close()


def _request(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    fields = {"Host": host, "Accept-Encoding": "identity", "User-Agent": "unbroken", **headers}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
