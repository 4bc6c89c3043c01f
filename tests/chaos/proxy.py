"""The hops of the rig: TCP proxies that cut, delay, stall, swallow and lose replies under a scenario's control.

tests/fakes/proxy.py is for tests with a hop or two. Here many proxies share one thread, count their traffic, and let a
scenario strike at an exact moment::

    with Proxies(seed=7) as proxies:
        proxy = proxies.add("worker.redis", valkey.port)
        proxy.lose_replies = 0.05      # the request is executed, its reply never arrives, the connection breaks
        proxy.cut()                    # every connection is reset, new ones are accepted
        proxy.heal()

A proxy looks into the traffic only to count ``marks`` (such as ``FENCED`` in the replies of Redis), to recognise the
lost reply of a COMMIT, and for a scenario's hook.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

# With this option a close is a reset, which the other side notices at once.
_RESET = struct.pack("ii", 1, 0)
_CHUNK = 65536
LOST_COMMIT = "lost reply of a COMMIT"
LOST_REPLY = "lost reply"


class Link:
    """One connection through a proxy. ``notes`` belong to the hooks."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.committing = False
        self.notes: dict[str, object] = {}

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is None:
                continue
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


# Called in the proxies' thread with the bytes to forward; False swallows them and resets the connection.
Hook = Callable[[Link, bytes], bool]


class Proxy:
    """One hop. ``target`` is a port of this machine. The attributes may be set at any time, from any thread."""

    def __init__(self, name: str, target: int, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self.name = name
        self.target = target
        self.port = 0
        self.counts: Counter[str] = Counter()
        self.marks: dict[bytes, str] = {}
        self._loop = loop
        self._random = random.Random(f"{seed} {name}")
        self._links: set[Link] = set()
        self._flowing = asyncio.Event()
        self._behave()

    def _behave(self) -> None:
        self.refuse = False  # new connections are reset
        self.delay = 0.0  # seconds, each way
        self.lose_replies = 0.0  # probability, for each piece of a reply
        self.on_request: Hook | None = None
        self.on_reply: Hook | None = None

    # --- called from any thread

    def cut(self) -> None:
        """Reset every open connection."""
        self._call(self._cut)

    def stall(self) -> None:
        """Forward nothing; both sides believe that all is well."""
        self._call(self._flowing.clear)

    def hold(self, what: Callable[[bytes], bool]) -> threading.Event:
        """Stall at the first request for which ``what`` is true. Returns an event of it. ``flow`` continues."""
        held = threading.Event()

        def request(link: Link, data: bytes) -> bool:
            if not held.is_set() and what(data):
                self._flowing.clear()
                held.set()
            return True

        self.on_request = request
        return held

    def flow(self) -> None:
        """End a stall; the connections continue."""
        self._call(self._flowing.set)

    def heal(self) -> None:
        """End all faults. Connections that were stalled are reset, as after a partition."""
        self._behave()
        self._call(self._heal)

    def _call(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    # --- in the thread

    async def start(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    def _cut(self) -> None:
        for link in list(self._links):
            link.reset()

    def _heal(self) -> None:
        if not self._flowing.is_set():
            self._cut()
            self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(writer)
        self._links.add(link)
        try:
            if not self.refuse:
                await self._flowing.wait()
                from_server, link.server = await asyncio.open_connection("127.0.0.1", self.target)
                await self._forward(reader, from_server, link)
        except (OSError, asyncio.CancelledError):
            # Cancelled: the rig has ended.
            pass
        finally:
            self._links.discard(link)
            link.reset()

    async def _forward(self, reader: asyncio.StreamReader, from_server: asyncio.StreamReader, link: Link) -> None:
        """Forward until either side ends. Bytes that the server sent before a clean close arrive before the close."""
        assert link.server
        ask = asyncio.ensure_future(self._pump(reader, link.server, link, self._may_ask))
        answer = asyncio.ensure_future(self._pump(from_server, link.client, link, self._may_answer))
        _, pending = await asyncio.wait((ask, answer), return_when=asyncio.FIRST_COMPLETED)
        for pump in pending:
            pump.cancel()
        await asyncio.gather(ask, answer, return_exceptions=True)
        if answer not in pending and answer.exception() is None and answer.result():
            link.client.close()
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(link.client.wait_closed(), 5)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link, may: Hook) -> bool:
        """Forward until the end. Returns True for a clean end."""
        while data := await source.read(_CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            if not self._flowing.is_set():
                await self._flowing.wait()
            if not may(link, data):
                link.reset()
                return False
            await self._flowing.wait()
            sink.write(data)
            await sink.drain()
        return True

    def _may_ask(self, link: Link, data: bytes) -> bool:
        if b"COMMIT" in data:
            link.committing = True
        return self.on_request is None or self.on_request(link, data)

    def _may_answer(self, link: Link, data: bytes) -> bool:
        for mark, name in self.marks.items():
            if found := data.count(mark):
                self.counts[name] += found
        committing, link.committing = link.committing, False
        if self.lose_replies and self._random.random() < self.lose_replies:
            self.counts[LOST_COMMIT if committing else LOST_REPLY] += 1
            return False
        return self.on_reply is None or self.on_reply(link, data)


class Proxies:
    """A thread with a loop, and the proxies on it. Context manager."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.all: dict[str, Proxy] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __enter__(self) -> Proxies:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(self, name: str, target: int, marks: dict[bytes, str] | None = None) -> Proxy:
        """A new proxy in front of port ``target``; its own port is ``proxy.port``."""
        proxy = Proxy(name, target, self._loop, self.seed)
        proxy.marks = marks or {}
        asyncio.run_coroutine_threadsafe(proxy.start(), self._loop).result(60)
        self.all[name] = proxy
        return proxy

    def counts(self) -> Counter[str]:
        """The counts of all proxies together."""
        # Copied at once: the proxies' thread goes on counting.
        return sum((Counter(dict(proxy.counts)) for proxy in self.all.values()), Counter())
