"""Receivers of webhooks: real servers on loopback addresses, with or without TLS, honest and hostile."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trustme

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Seen:
    """The content of one request."""

    line: str
    headers: dict[str, str]
    body: bytes
    names: list[str | None] = field(default_factory=list)


@dataclass
class Receiver:
    """A listening server. ``connections`` counts the accepted ones, ``seen`` has the complete requests."""

    port: int
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)


class Authority:
    """A certificate authority of the tests."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def client(self) -> ssl.SSLContext:
        """The TLS of a sender that trusts this authority alone."""
        context = ssl.create_default_context(cadata="")
        self._ca.configure_trust(context)
        return context

    def server(self, *names: str) -> ssl.SSLContext:
        """The TLS of a receiver with these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context


@asynccontextmanager
async def listening(
    handler: Handler | bytes, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A server; bytes are its whole response to each complete request."""
    receiver = Receiver(port)
    if context is not None:
        context.sni_callback = lambda _, name, __: receiver.names.append(name)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.connections += 1
        task = asyncio.current_task()
        assert task is not None, "the server runs it in one"
        tasks.add(task)
        try:
            if isinstance(handler, bytes):
                receiver.seen.append(await request_of(reader))
                writer.write(handler)
                await writer.drain()
            else:
                await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            with suppress(OSError):
                writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def request_of(reader: asyncio.StreamReader) -> Seen:
    """One complete request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    line, *rest = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in rest)}
    return Seen(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))
