"""HTTP/1.1 straight on asyncio and llhttp, for the token path.

At one token per packet the way from the socket to the reader is most of what a token costs: this one took half the
CPU of aiohttp's, whose stream layer runs three Python callbacks and a chain of coroutines per chunk.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from worker.providers.http import (
    CONNECT_SECONDS,
    KEEPALIVE_SECONDS,
    RELEASE_SECONDS,
    Answer,
    CannotConnect,
    ConnectionBroken,
    ConnectTimeout,
    Sink,
)

MAX_HEADER_BYTES = 64 * 1024
# Unread bytes at which the socket is left alone until they are read.
HIGH_WATER_BYTES = 256 * 1024


class Origin(NamedTuple):
    """Where a connection leads, and so which requests may share it."""

    tls: bool
    host: str
    port: int


class DirectTransport:
    """A Transport without a proxy. Its pool has no upper limit: the worker's own slots are one."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[_Connection]] = {}
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

    def _reusable(self, origin: Origin) -> _Connection | None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._idle, self._loop = {}, loop
        connections = self._idle.get(origin)
        # The last one used is the least likely to be closed by now.
        return connections.pop().wake() if connections else None

    async def _connect(self, origin: Origin) -> _Connection:
        loop = asyncio.get_running_loop()
        context = _tls() if origin.tls else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._idle.setdefault(origin, [])), origin.host, origin.port, ssl=context
                )
        except TimeoutError as error:
            raise ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise CannotConnect from error
        return connection


class _Connection(asyncio.Protocol):
    """One socket: idle (listed in ``pool``), or busy with one answer."""

    __slots__ = ("_answer", "_feed", "_pool", "_timer", "transport")

    transport: asyncio.Transport

    def __init__(self, pool: list[_Connection]) -> None:
        self._pool = pool
        self._answer: _Answer | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, request: bytes) -> _Answer:
        answer = self._answer = _Answer(self)
        self._feed = answer.parser.feed_data
        if self.transport.is_closing():
            answer.lost(clean=False)
        else:
            self.transport.write(request)
        return answer

    def wake(self) -> _Connection:
        if self._timer is not None:
            self._timer.cancel()
        return self

    def rest(self) -> None:
        """The answer is complete: be of use to the next request."""
        self._answer = None
        self._pool.append(self)
        self._timer = asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self.transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.transport.abort()  # nobody asked
            return
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade):
            answer.lost(clean=False)
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.wake()
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.lost(clean=error is None)
        with suppress(ValueError):
            self._pool.remove(self)


class _Answer:
    """An Answer, filled by the callbacks of its parser (``on_…``)."""

    __slots__ = ("_chunks", "_complete", "_connection", "_decompress", "_failure", "_header_bytes", "_loop", "_sink",
                 "_sink_error", "_sized", "_started", "_unread", "_unwanted", "_waiter",
                 "headers", "parser", "status")  # fmt: skip

    def __init__(self, connection: _Connection) -> None:
        self.parser = HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: list[bytes] = []
        self._unread = 0
        self._sink: Sink | None = None  # takes what comes, instead of a reader who waits for it
        self._sink_error: Exception | None = None
        self._header_bytes = 0
        self._started = False
        self._sized = False  # whether the headers say where the body ends
        self._complete = False
        self._unwanted = False
        self._failure: ConnectionBroken | None = None
        self._decompress: zlib._Decompress | None = None

    # --- the reader's side

    async def begun(self) -> None:
        """Wait for the headers."""
        while not self._started:
            if self._failure is not None:
                raise self._failure
            await self._wait()

    async def read(self) -> bytes:
        while True:
            chunks = self._chunks
            if chunks:
                data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                chunks.clear()
                if self._unread > HIGH_WATER_BYTES:
                    self._connection.transport.resume_reading()
                self._unread = 0
                if self._decompress is not None:
                    data = self._inflate(data)
                if data:
                    return data
            elif self._complete:
                return b""
            elif self._failure is not None:
                raise self._failure
            else:
                await self._wait()

    async def pour(self, sink: Sink) -> bool:
        """See Answer.pour. The sink is called from the socket's callback: nothing wakes for a token."""
        self._sink = sink
        chunks, self._chunks = self._chunks, []
        for chunk in chunks:
            self.on_body(chunk)
        if self._unread > HIGH_WATER_BYTES:
            self._connection.transport.resume_reading()
        self._unread = 0
        try:
            while self._sink is not None and not self._complete and self._failure is None:
                await self._wait()
            enough = self._sink is None
        finally:
            self._sink = None
        if self._sink_error is not None:
            raise self._sink_error
        if self._failure is not None and not enough:
            raise self._failure
        return enough

    def release(self) -> None:
        self._unwanted = True
        self._chunks.clear()
        if not self._complete:
            if self._unread > HIGH_WATER_BYTES:
                self._connection.transport.resume_reading()
            self._loop.call_later(RELEASE_SECONDS, self.close)

    def close(self) -> None:
        if not self._complete:
            self._connection.transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _inflate(self, data: bytes) -> bytes:
        assert self._decompress is not None
        try:
            return self._decompress.decompress(data)
        except zlib.error as error:
            raise ConnectionBroken("the compressed body is damaged") from error

    # --- the connection's side

    def wake(self) -> None:
        """Let the reader go on, if this is what it waits for. A token that is poured wakes nobody."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._complete or (self._sink is None and (self._chunks or self._started)):
            waiter.set_result(None)

    def lost(self, *, clean: bool) -> None:
        """The connection is gone. A body of unknown length ends this way, if cleanly."""
        if self._complete:
            return
        if clean and self._started and not self._sized:
            self._complete = True
        elif self._failure is None:
            self._failure = ConnectionBroken("the connection ended before the answer did")
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ConnectionBroken("the headers are too large")
        if not self._started:  # otherwise they are trailers
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:  # "continue" and the like: the answer is still to come
            self.headers.clear()
            return
        self.status = status
        self._sized = "content-length" in self.headers or "transfer-encoding" in self.headers or status in (204, 304)
        if self.headers.get("content-encoding", "identity") in ("gzip", "deflate"):
            self._decompress = zlib.decompressobj(wbits=47)
        self._started = True
        self.wake()

    def on_body(self, data: bytes) -> None:
        sink = self._sink
        if sink is not None:
            try:
                if self._decompress is not None and not (data := self._inflate(data)):
                    return
                if sink(data):
                    self._sink = None
                    self.wake()
            except Exception as error:  # the parser is no place for it: it belongs to the one who pours
                self._sink, self._sink_error = None, error
                self.wake()
            return
        if self._unwanted or self._sink_error is not None:
            return
        self._chunks.append(data)
        before = self._unread
        self._unread = before + len(data)
        if before <= HIGH_WATER_BYTES < self._unread:
            self._connection.transport.pause_reading()
        self.wake()

    def on_message_complete(self) -> None:
        if not self._started:
            return
        self._complete = True
        if self.parser.should_keep_alive() and not self._connection.transport.is_closing():
            if self._unread > HIGH_WATER_BYTES:
                self._connection.transport.resume_reading()
            self._unread = 0
            self._connection.rest()
        else:
            self._connection.transport.close()
        self.wake()


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
