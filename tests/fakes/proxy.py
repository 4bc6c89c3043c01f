"""A TCP proxy that misbehaves on command: in front of PostgreSQL, Redis, an upstream or the web server.

    with TcpProxy("127.0.0.1", 5432) as proxy:          # or TcpProxy.before(url), and proxy.url(url)
        proxy.pass_()                                    # everything passes unchanged (the state at the beginning)
        proxy.cut()                                      # reset every connection now; new ones are accepted
        proxy.refuse()                                   # reset every connection, and each new one at once
        proxy.delay(0.2)                                 # every chunk waits, in both directions
        proxy.black_hole()                               # connections stay open, nothing moves: half-open
        proxy.drop_reply_to(lambda data: b"COMMIT" in data)   # the server gets it, the client no reply but a reset
        proxy.drop_request(lambda data: b"COMMIT" in data)    # the server never gets it, both sides get a reset
        proxy.black_hole_at(lambda data: b"COMMIT" in data)   # a black hole from this request on
        proxy.cut_reply_after(1000)                      # each connection is reset after so many bytes of replies
        proxy.drop_replies(0.05, seed=7)                 # 5 % of the replies get lost, and their connection with them

Everything may be called from any thread at any time. It runs on one asyncio loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

Predicate = Callable[[bytes], bool]

_CHUNK = 64 * 1024


@dataclass
class Rules:
    """The proxy's present treatment of traffic."""

    refusing: bool = False
    seconds: float = 0.0
    holed: bool = False
    predicate: Predicate | None = None  # of a request whose reply is lost
    forwarded: bool = True  # the server gets such a request
    swallowing: bool = False  # such a request makes a black hole
    remaining: int = 0  # number of such requests still to come
    reply_bytes: int | None = None
    loss: float = 0.0


class _Link:
    """One client connection and its connection to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.replied = 0
        self.losing = False  # the next reply is not to arrive

    def reset(self) -> None:
        for writer in (self.client, self.server):
            _linger(writer)
            writer.transport.abort()


class TcpProxy:
    """A proxy before the server at ``host`` and ``port``. Its attribute ``port`` is its own port, on 127.0.0.1."""

    def __init__(self, host: str, port: int, listen: int = 0) -> None:
        self.target = (host, port)
        self.port = listen
        self.connections = 0  # accepted so far
        self.lost_replies = 0
        self.rules = Rules()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dice = random.Random(0)
        self._flowing: asyncio.Event

    @classmethod
    def before(cls, url: str) -> TcpProxy:
        """A proxy in front of the server of a URL."""
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        return cls(parts.hostname, parts.port)

    def url(self, url: str) -> str:
        """The URL with this proxy's address in the place of the server's."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()

    # --- commands -----------------------------------------------------------------------------------------------

    def pass_(self) -> None:
        """End all misbehaviour; data that was held up goes on."""
        self._do(lambda: self._set(Rules()))

    def cut(self) -> None:
        self._do(self._reset_all)

    def refuse(self) -> None:
        def act() -> None:
            self._set(Rules(refusing=True))
            self._reset_all()

        self._do(act)

    def delay(self, seconds: float) -> None:
        self._do(lambda: self._set(Rules(seconds=seconds)))

    def black_hole(self) -> None:
        self._do(lambda: self._set(Rules(holed=True)))

    def drop_reply_to(self, predicate: Predicate, times: int = 1) -> None:
        """Lose the replies to the next ``times`` requests that match, and their connections. The server gets them."""
        self._do(lambda: self._set(Rules(predicate=predicate, remaining=times)))

    def drop_request(self, predicate: Predicate, times: int = 1) -> None:
        """Lose the next ``times`` requests that match, and their connections."""
        self._do(lambda: self._set(Rules(predicate=predicate, remaining=times, forwarded=False)))

    def black_hole_at(self, predicate: Predicate) -> None:
        """Become a black hole at the first request that matches; that request is held up, too."""
        self._do(lambda: self._set(Rules(predicate=predicate, remaining=1, swallowing=True)))

    def cut_reply_after(self, count: int) -> None:
        self._do(lambda: self._set(Rules(reply_bytes=count)))

    def drop_replies(self, share: float, seed: int = 0) -> None:
        def act() -> None:
            self._dice = random.Random(seed)
            self._set(Rules(loss=share))

        self._do(act)

    @property
    def open(self) -> int:
        """The number of connections open now."""
        return len(self._links)

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> TcpProxy:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(ready)), name="tcp-proxy", daemon=True)
        self._thread.start()
        if not ready.wait(60):
            raise RuntimeError("the proxy did not start")
        return self

    def stop(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def __enter__(self) -> TcpProxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _main(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        server.close()
        self._reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _do(self, act: Callable[[], None]) -> None:
        """Run ``act`` on the loop; return when it is done."""
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(run)
        if not done.wait(60):
            raise RuntimeError("the proxy does not answer")

    def _set(self, rules: Rules) -> None:
        self.rules = rules
        if rules.holed:
            self._flowing.clear()
        else:
            self._flowing.set()

    def _reset_all(self) -> None:
        for link in list(self._links):
            link.reset()

    # --- traffic ------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        with suppress(asyncio.CancelledError):
            await self._flowing.wait()
        if self._stopped.is_set():
            writer.transport.abort()
            return
        if self.rules.refusing:
            _linger(writer)
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.target)
        except OSError:
            _linger(writer)
            writer.transport.abort()
            return
        link = _Link(writer, server_writer)
        if self.rules.refusing:  # since the server was dialled
            link.reset()
            return
        for each in (writer, server_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.add(link)
        try:
            await asyncio.gather(self._requests(reader, link), self._replies(server_reader, link))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cancelled only by ``stop``, and the reset below is all there is to do
        finally:
            self._links.discard(link)
            link.reset()

    async def _requests(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while data := await reader.read(_CHUNK):
            await self._held_up()
            rules = self.rules
            # Of a connection whose reply is lost already, nothing else can be.
            if rules.predicate and rules.remaining and not link.losing and rules.predicate(data):
                rules.remaining -= 1
                if rules.swallowing:
                    self._set(Rules(holed=True))
                    await self._flowing.wait()
                elif not rules.forwarded:
                    raise ConnectionResetError
                else:
                    link.losing = True
            link.server.write(data)
            await link.server.drain()
        with suppress(OSError):
            link.server.write_eof()

    async def _replies(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while data := await reader.read(_CHUNK):
            await self._held_up()
            rules = self.rules
            if link.losing or (rules.loss and self._dice.random() < rules.loss):
                self.lost_replies += 1
                raise ConnectionResetError
            if rules.reply_bytes is not None and link.replied + len(data) > rules.reply_bytes:
                link.client.write(data[: rules.reply_bytes - link.replied])
                await link.client.drain()
                raise ConnectionResetError
            link.replied += len(data)
            link.client.write(data)
            await link.client.drain()
        with suppress(OSError):
            link.client.write_eof()

    async def _held_up(self) -> None:
        if self.rules.seconds:
            await asyncio.sleep(self.rules.seconds)
        await self._flowing.wait()


def _linger(writer: asyncio.StreamWriter) -> None:
    """Make a close send a reset instead of an orderly end."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
