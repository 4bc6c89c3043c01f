"""Connections that wait for their answer. A thread is taken again when the answer can be made."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Protocol

from app.connections.receiving import receive
from app.connections.watch import Timer, Watch

# In the environment of a request: this server can park its connection.
CAN_PARK = "unbroken.can_park"
# Bytes a client may send while it waits; they belong to its next request.
MOST_AHEAD = 65_536

Resume = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Wait(Protocol):
    """A condition that a connection waits for."""

    # A time of the monotonic clock at which the wait is over, too.
    deadline: float

    def fileno(self) -> int:
        """A descriptor that becomes readable when ``take`` has something to read."""
        ...

    def take(self) -> bool:
        """Read without blocking. True when the wait is over."""
        ...

    def close(self) -> None:
        """End the wait. Called once or twice."""
        ...


class ParkedBody:
    """The body of a response that cannot be made yet. After the wait ``resume``, a WSGI application, makes it."""

    def __init__(self, wait: Wait, resume: Resume, abandoned: Callable[[], None] = lambda: None) -> None:
        """``abandoned`` is called in the main thread when the client leaves before the wait is over."""
        self.wait = wait
        self.resume = resume
        self.abandoned = abandoned

    def __iter__(self) -> Iterator[bytes]:
        raise RuntimeError("only a server that sets CAN_PARK gets a body that is parked")

    def close(self) -> None:
        """End the wait, unless the server has taken it over."""
        self.wait.close()


class Parking:
    """All connections that wait for their answer."""

    def __init__(self, watch: Watch, resume: Callable[[Any, Resume], None], dropped: Callable[[Any], None]) -> None:
        self._watch = watch
        self._resume = resume
        self._dropped = dropped
        self.parked: dict[Any, Parked] = {}

    def park(self, conn: Any, body: ParkedBody) -> None:
        """Begin the wait. The connection is resumed when it is over, and dropped when the client leaves."""
        parked = self.parked[conn] = Parked(self, conn, body)
        parked.begin()

    def over(self, parked: Parked) -> None:
        """Resume a connection whose answer can be made."""
        del self.parked[parked.conn]
        self._resume(parked.conn, parked.body.resume)

    def left(self, parked: Parked) -> None:
        """Drop a connection whose client has left."""
        del self.parked[parked.conn]
        try:
            parked.body.abandoned()
        finally:
            self._dropped(parked.conn)

    @property
    def watch(self) -> Watch:
        """The watch that calls back for the connections here."""
        return self._watch


class Parked:
    """One connection that waits for its answer."""

    __slots__ = ("_ahead", "_parking", "_timer", "_watched", "body", "conn")

    def __init__(self, parking: Parking, conn: Any, body: ParkedBody) -> None:
        self._parking = parking
        self.conn = conn
        self.body = body
        self._timer: Timer | None = None
        self._ahead = 0
        self._watched = False

    def begin(self) -> None:
        """Watch the client and the condition."""
        watch, wait, sock = self._parking.watch, self.body.wait, self.conn.sock
        sock.setblocking(False)
        watch.add(wait.fileno(), selectors.EVENT_READ, self._on_news, self._end)
        watch.add(sock, selectors.EVENT_READ, self._on_client, self._end)
        self._watched = True
        if wait.deadline < inf:
            self._timer = watch.at(max(wait.deadline, monotonic()), self._finish, self._end)

    def _on_news(self) -> None:
        if self.body.wait.take():
            self._finish()

    def _on_client(self) -> None:
        """Read from a client that waits: its end, or the beginning of its next request."""
        data = receive(self.conn.sock, 4096)
        if data is None:
            return
        if not data:
            self._end()
            return
        unreader = self.conn.parser.unreader
        unreader.unread(unreader.take_buffered() + data)
        self._ahead += len(data)
        if self._ahead > MOST_AHEAD:
            self._end()

    def _finish(self) -> None:
        self._release()
        self._parking.over(self)

    def _end(self) -> None:
        self._release()
        self._parking.left(self)

    def _release(self) -> None:
        watch = self._parking.watch
        if self._watched:
            self._watched = False
            watch.remove(self.body.wait.fileno())
            watch.remove(self.conn.sock)
        if self._timer is not None:
            self._timer.cancel()
        with suppress(OSError):
            self.body.wait.close()


def block(wait: Wait) -> None:
    """Wait in this thread, for servers that cannot park."""
    with selectors.DefaultSelector() as selector:
        selector.register(wait.fileno(), selectors.EVENT_READ)
        over = False
        while not over and (left := wait.deadline - monotonic()) > 0:
            selector.select(None if left == inf else left)
            over = wait.take()


def is_plain(sock: Any) -> bool:
    """True for a socket without TLS, whose descriptor can be watched."""
    return type(sock) is socket.socket
