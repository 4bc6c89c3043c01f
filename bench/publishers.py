"""Clients of the servers that receive tokens by other ways than Redis: one request or message for each token."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from importlib import import_module
from threading import Thread
from typing import Any, Protocol

# Seconds after the last token until a server that has fallen behind is no longer waited for.
PATIENCE_SECONDS = 5.0

Tokens = list[tuple[int, bytes]]


class Publisher(Protocol):
    """Publishes tokens of numbered generations, in order."""

    # True when the server keeps the log as well, so that Redis gets nothing.
    keeps_log: bool

    def send(self, tokens: Tokens) -> None:
        """Publish each text to its generation."""

    def finish(self) -> None:
        """Return when the server has accepted every token, or after some seconds."""


class Posts:
    """One connection to Nchan. Requests are written together; replies are read and dropped."""

    keeps_log = False

    def __init__(self, port: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Thread(target=self._discard, daemon=True).start()

    def send(self, tokens: Tokens) -> None:
        """See Publisher.send."""
        head = b"POST /publish/%d HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b"
        self._socket.sendall(b"".join(head % (generation, len(text), text) for generation, text in tokens))

    def finish(self) -> None:
        """See Publisher.finish."""

    def _discard(self) -> None:
        while self._socket.recv(1 << 20):
            pass


class Pushes:
    """A PUSH socket of ZeroMQ, which Pushpin's documentation names as its fastest input."""

    keeps_log = False

    def __init__(self, address: str) -> None:
        zmq: Any = import_module("zmq")
        self._context: Any = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        # Nothing is dropped or delayed here, however far the server is behind.
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.connect(address)

    def send(self, tokens: Tokens) -> None:
        """See Publisher.send."""
        for generation, text in tokens:
            content = {b"http-stream": {b"content": b"data: %b\n\n" % text}}
            self._socket.send(tnetstring({b"channel": b"%d" % generation, b"formats": content}))

    def finish(self) -> None:
        """Send what is left. ZeroMQ has no receipts."""
        self._socket.close(linger=int(PATIENCE_SECONDS * 1000))
        self._context.term()


class Appends:
    """A connection to a Durable Streams server for each stream, with one request at a time on each.

    Tokens that come before the reply are appended together by the next request, as the protocol's own client does it.
    """

    keeps_log = True

    def __init__(self, port: str, streams: int, most: int = 1000) -> None:
        self._most = most
        self._waiting: list[deque[bytes]] = [deque() for _ in range(streams)]
        self._connections = [socket.create_connection(("127.0.0.1", int(port))) for _ in range(streams)]
        self._busy: set[int] = set()
        self._poll = select.epoll()
        self._numbers = {connection.fileno(): number for number, connection in enumerate(self._connections)}
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(connection, select.EPOLLIN)

    def send(self, tokens: Tokens) -> None:
        """See Publisher.send."""
        self._receive(0)
        for generation, text in tokens:
            self._waiting[generation].append(text)
        for generation in dict(tokens):
            self._append(generation)

    def finish(self) -> None:
        """See Publisher.finish."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self._busy and time.monotonic() < until:
            self._receive(0.1)

    def _receive(self, seconds: float) -> None:
        """Read the replies that are there; each lets its stream send the tokens that wait."""
        for descriptor, _ in self._poll.poll(seconds):
            number = self._numbers[descriptor]
            reply = self._connections[number].recv(65536)
            if not reply.startswith(b"HTTP/1.1 204"):
                raise ConnectionError(f"an append was refused: {reply[:200]!r}")
            self._busy.discard(number)
            self._append(number)

    def _append(self, number: int) -> None:
        waiting = self._waiting[number]
        if number in self._busy or not waiting:
            return
        texts = [waiting.popleft() for _ in range(min(len(waiting), self._most))]
        body = b"[%b]" % b",".join(texts)
        head = b"POST /%d HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        self._connections[number].sendall(head % (number, len(body), body))
        self._busy.add(number)


def tnetstring(value: dict[bytes, Any] | bytes) -> bytes:
    """The value in the encoding of Pushpin's messages: the length, a colon, the content, a letter for the type."""
    if isinstance(value, bytes):
        return b"%d:%b," % (len(value), value)
    content = b"".join(tnetstring(key) + tnetstring(item) for key, item in value.items())
    return b"%d:%b}" % (len(content), content)


def publisher(name: str, address: str, generations: int) -> Publisher | None:
    """The client of that name; None for designs that take the tokens from Redis."""
    if name == "durable-streams":
        return Appends(address, generations)
    if name == "pushpin":
        return Pushes(address)
    return Posts(address) if name else None
