"""A hub with its stores and its clients, for tests of the hub."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from math import inf
from pathlib import Path
from threading import Event
from typing import Any

from app.domain.cursor import START, Cursor
from app.eventlog.log import RedisLog
from app.relay.encoded_log import chunk
from app.relay.hub import Hub
from app.relay.log_type import LogType
from app.relay.stream_connection import StreamConnection, StreamRequest
from tests.fakes.relay import NAMESPACE, Shelf, TestSource, Watcher, Writer, client_of
from tests.stack import until


class Place:
    """A hub, its stores, and the watchers of one test."""

    def __init__(self, url: str, directory: Path, stack: ExitStack) -> None:
        self.url = url
        self.shelf = Shelf(directory)
        # A read waits 1 s for Redis; entries that it then lacks are on the shelf.
        self.source = TestSource(RedisLog(client_of(url, 1), NAMESPACE), self.shelf)
        self._stack = stack

    def hub(self, **options: Any) -> Hub:
        client = client_of(self.url)
        book = LogType(self.source, lambda key: f"{NAMESPACE}:{{{key}}}:live".encode())
        hub = Hub(book, self.url, NAMESPACE, client.publish, **options)
        self._stack.callback(hub.close)
        return hub

    def writer(self, key: str = "g") -> Writer:
        return Writer(self.url, self.shelf, key)

    def settled(self, hub: Hub) -> bool:
        """True when every log is subscribed to and read up to its end, and no read is planned."""
        return all(
            topic.live and hub.subscriber.confirmed and not topic.backoff.reading
            and topic.backoff.due == inf for topic in list(hub.registry.topics.values())
        )  # fmt: skip

    def watch(self, hub: Hub, key: str = "g", after: Cursor = START, *, prefix: bytes = b"", **options: Any) -> Watcher:
        """A stream over TCP, as in a deployment."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        self._stack.callback(ours.close)
        hub.adopt(theirs, StreamRequest(key, after, **options), prefix)
        return Watcher(ours)

    def watch_locally(self, hub: Hub, key: str = "g", after: Cursor = START, **options: Any) -> Watcher:
        """A stream over a pair of UNIX sockets that hold 4 kB: a few writes fill one exactly."""
        ours, theirs = socket.socketpair()
        self._stack.callback(ours.close)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        hub.adopt(theirs, StreamRequest(key, after, **options))
        return Watcher(ours)


class Pause:
    """Holds a hub's thread, so that the hub finds everything that arrives meanwhile in one round."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._go = Event()

    def __enter__(self) -> None:
        held = Event()

        def hold() -> None:
            held.set()
            assert self._go.wait(30)

        self._hub.loop.post(hold)
        assert held.wait(30)

    def __exit__(self, *_: object) -> None:
        self._go.set()


def fill(reader: StreamConnection) -> None:
    """Fill the reader's socket with comments, without the hub."""
    while True:
        try:
            os.write(reader.fd, chunk(b": x\n"))
        except BlockingIOError:
            return


def live_reader(hub: Hub, key: str = "g") -> StreamConnection:
    """The only reader of a log, as soon as it is live."""
    channel = f"{NAMESPACE}:{{{key}}}:live".encode()
    until(lambda: channel in hub.registry.topics and len(hub.registry.topics[channel].live) == 1)
    return hub.connections.open[next(iter(hub.registry.topics[channel].live))]
