"""Answers to slow readers: a thread is done with an answer when it is made, and the rest of it is sent here."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from app.connections.bounds import MOST_UNSENT_BYTES, SLOWEST_BYTES_PER_SECOND
from app.connections.spool import Spool
from app.connections.watch import Timer, Watch

PIECE = 65_536
# Pieces for one reader before it is another one's turn.
TURN = 4


class Outgoing:
    """A client's socket as a thread sees it. Sending never waits: bytes that the client does not take are spooled."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._spool: Spool | None = None

    @property
    def rest(self) -> Spool | None:
        """The bytes that could not be sent; None when all were sent."""
        return self._spool

    def sendall(self, data: bytes) -> None:
        """Send or spool ``data``. Raises OSError when the client is gone or the disk is full."""
        view = memoryview(data)
        while view and self._spool is None:
            try:
                view = view[self._sock.send(view, socket.MSG_DONTWAIT) :]
            except (BlockingIOError, InterruptedError):
                self._spool = Spool()
        if view and self._spool is not None:
            self._spool.write(bytes(view))

    def send(self, data: bytes) -> int:
        """Send or spool the whole of ``data``."""
        self.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Sending:
    """One answer that is being sent to a slow reader."""

    __slots__ = ("_done", "_outbox", "_piece", "_sent", "_spool", "_started", "_timer", "conn", "since")

    def __init__(self, outbox: Outbox, conn: Any, spool: Spool, done: Callable[[], None]) -> None:
        self._outbox = outbox
        self.conn = conn
        self._spool = spool
        self._done = done
        self._piece = memoryview(b"")
        self._sent = 0
        self._started = self.since = monotonic()
        self._timer: Timer | None = None

    @property
    def size(self) -> int:
        """Bytes that the answer takes on the disk until all are sent."""
        return self._spool.size

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken."""
        return self._spool.size - self._sent

    def begin(self) -> None:
        """Send as soon as the socket has room."""
        self._spool.rewind()
        self.conn.sock.setblocking(False)
        self._outbox.watch.add(self.conn.sock, selectors.EVENT_WRITE, self._on_writable, self.drop)
        self._wait()

    def drop(self) -> None:
        """Break the connection: the answer is not complete."""
        self._leave()
        self._outbox.dropped(self.conn)

    def _on_writable(self) -> None:
        for _ in range(TURN):
            self._piece = self._piece or memoryview(self._spool.read(PIECE))
            if not self._piece:
                self._leave()
                self._done()
                return
            try:
                sent = self.conn.sock.send(self._piece)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.drop()
                return
            self._piece = self._piece[sent:]
            self._sent += sent
            self.since = monotonic()

    def _wait(self) -> None:
        self._timer = self._outbox.watch.at(self._deadline(), self._on_deadline, self.drop)

    def _deadline(self) -> float:
        """The time by which the reader must take something, and keep the slowest pace that is allowed."""
        seconds = self._outbox.stall_seconds
        return min(self.since + seconds, self._started + seconds + self._sent / SLOWEST_BYTES_PER_SECOND)

    def _on_deadline(self) -> None:
        if monotonic() < self._deadline():
            self._wait()
        else:
            self.drop()

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._outbox.watch.remove(self.conn.sock)
        self._outbox.sendings.pop(self.conn, None)
        self._spool.close()


class Outbox:
    """All answers that are being sent to slow readers, the oldest first.

    ``most_bytes``: above it, the answer with the most unsent bytes is broken, unless it is the only one.
    """

    def __init__(self, watch: Watch, dropped: Callable[[Any], None]) -> None:
        self.watch = watch
        self.stall_seconds = 60.0
        self.most_bytes = MOST_UNSENT_BYTES
        self.sendings: dict[Any, Sending] = {}
        self.dropped = dropped

    def send(self, conn: Any, spool: Spool, done: Callable[[], None]) -> None:
        """Send the rest of an answer; ``done`` is called when the client's socket has all of it."""
        sending = self.sendings[conn] = Sending(self, conn, spool, done)
        sending.begin()
        self._make_room()

    def drop_oldest(self) -> bool:
        """Break the answer that has been here longest. False when there is none."""
        for sending in self.sendings.values():
            sending.drop()
            return True
        return False

    def _make_room(self) -> None:
        while len(self.sendings) > 1 and sum(one.size for one in self.sendings.values()) > self.most_bytes:
            max(self.sendings.values(), key=lambda one: one.unsent).drop()
