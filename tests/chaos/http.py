"""HTTP and server-sent events over bare sockets: a client that shares no line with the service."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple

# Host and port.
Address = tuple[str, int]


class Unanswered(Exception):
    """No reply came, or the reply was not valid HTTP."""


class Head(NamedTuple):
    status: int
    headers: dict[str, str]


class Exchange:
    """One request on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.head: Head
        # True when the body has ended as HTTP defines; False until then, and for ever after a broken connection.
        self.complete = False

    @classmethod
    async def begin(
        cls,
        address: Address,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes = b"",
        timeout: float = 10.0,
        receive_buffer: int | None = None,
    ) -> Exchange:
        """Send a request and read the head of the reply. Raises Unanswered."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        exchange: Exchange | None = None
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(sock, address)
                # With a limit this small the bytes of a reader that does not read stay in the kernel.
                reader, writer = await asyncio.open_connection(sock=sock, limit=8192)
                exchange = cls(reader, writer)
                lines = [f"{method} {path} HTTP/1.1", f"Host: {address[0]}:{address[1]}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                lines += [f"Content-Length: {len(body)}"] if body or method == "POST" else []
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                exchange.head = await exchange._read_head()
        except BaseException as error:
            # A transport owns its socket and closes it.
            exchange.close() if exchange else sock.close()
            if isinstance(error, (OSError, ValueError, asyncio.IncompleteReadError)):
                raise Unanswered(repr(error)) from None
            raise
        return exchange

    async def _read_head(self) -> Head:
        status_line = await self._reader.readuntil(b"\r\n")
        status = int(status_line.split()[1])
        headers = {}
        while (line := await self._reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return Head(status, headers)

    async def body(self, silence: float, piece: int = 65536) -> AsyncIterator[bytes]:
        """Yields the body as it arrives, until it ends or breaks (see ``complete``) or is silent for too long."""
        with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            if self.head.headers.get("transfer-encoding", "").lower() == "chunked":
                async for data in self._chunks(silence, piece):
                    yield data
            else:
                left = int(self.head.headers.get("content-length", "0"))
                while left:
                    async with asyncio.timeout(silence):
                        data = await self._reader.read(min(piece, left))
                    if not data:
                        return
                    left -= len(data)
                    yield data
            self.complete = True

    async def _chunks(self, silence: float, piece: int) -> AsyncIterator[bytes]:
        while True:
            async with asyncio.timeout(silence):
                size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            left = size
            while left:
                async with asyncio.timeout(silence):
                    data = await self._reader.read(min(piece, left))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(data)
                yield data
            async with asyncio.timeout(silence):
                if await self._reader.readexactly(2) != b"\r\n":
                    raise ValueError("a chunk does not end where it said")
            if size == 0:
                return

    def close(self) -> None:
        self._writer.transport.abort()


async def call(
    address: Address, method: str, path: str, headers: dict[str, str], body: Any = None, timeout: float = 10.0
) -> tuple[int, Any]:
    """Send a request. Returns the status and the JSON of the reply, or None without JSON. Raises Unanswered."""
    data = json.dumps(body).encode() if body is not None else b""
    sent = {**headers, "Connection": "close", **({"Content-Type": "application/json"} if data else {})}
    exchange = await Exchange.begin(address, method, path, sent, data, timeout)
    try:
        received = b"".join([piece async for piece in exchange.body(timeout)])
        if not exchange.complete:
            raise Unanswered("the answer broke off")
    finally:
        exchange.close()
    with suppress(ValueError):
        return exchange.head.status, json.loads(received)
    return exchange.head.status, None


class EventParser:
    """A strict parser of text/event-stream: an event and its id count only after the blank line."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._id: str | None = None

    def feed(self, data: bytes) -> list[tuple[str | None, bytes]]:
        """The events that ``data`` completes, as (id, data)."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        events = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if not line:
                if self._data:
                    events.append((self._id, b"\n".join(self._data)))
                self._data, self._id = [], None
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
            elif name == b"id":
                self._id = value.decode()
        return events
