"""Every hop of the rig: TCP proxies that cut, delay, stall, swallow, and lose replies, as a scenario tells them.

tests/fakes/proxy.py is for tests with a hop or two; here many share one thread, what passes is counted, and a
scenario can strike at an exact moment::

    with Proxies(seed=7) as proxies:
        proxy = proxies.add("worker.redis", valkey.port)
        proxy.lose_replies = 0.05      # the request is executed, its reply never arrives, the connection breaks
        proxy.cut()                    # every connection is reset, new ones are welcome
        proxy.heal()

It looks into the traffic only to count ``marks`` (such as ``FENCED`` in the replies of Redis), to know whether a
lost reply belonged to a COMMIT, and where a scenario gives it a hook.
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

# With this a close is a reset, which the other side notices at once.
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


# Called in the proxies' thread with what is about to be forwarded; False swallows it and resets the connection.
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

    # --- told from any thread

    def cut(self) -> None:
        """Reset every connection there is."""
        self._call(self._cut)

    def stall(self) -> None:
        """Forward nothing; both sides believe that all is well."""
        self._call(self._flowing.clear)

    def flow(self) -> None:
        """End a stall as if nothing had been."""
        self._call(self._flowing.set)

    def heal(self) -> None:
        """Behave. Connections that were stalled turn out to be dead, as after a partition."""
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
            # Cancelled: the rig is over.
            pass
        finally:
            self._links.discard(link)
            link.reset()

    async def _forward(self, reader: asyncio.StreamReader, from_server: asyncio.StreamReader, link: Link) -> None:
        """Until either side ends. What the server sent before an orderly close arrives before the close does."""
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
        """Forward until the end; True when it was an orderly one."""
        while data := await source.read(_CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            if not self._flowing.is_set():
                await self._flowing.wait()
            if not may(link, data):
                link.reset()
                return False
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
        """What all of them have counted."""
        # Copied in one go: they count on in their own thread.
        return sum((Counter(dict(proxy.counts)) for proxy in self.all.values()), Counter())
