"""A follower with a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

from app.domain.cursor import Cursor
from app.relay.follow import Follower, Render

if TYPE_CHECKING:
    from app.relay.strands import Strands
    from app.relay.topic import Topic

# Why a stream ended. Only "done" is a clean end of the body; every other one breaks it.
Reason = Literal["done", "gone", "stalled", "expired", "drain", "deleted", "failed"]


class Closed(NamedTuple):
    """What a stream was: for the access log and the metrics."""

    generation_id: str
    reason: Reason
    bytes: int
    events: int
    seconds: float


OnClose = Callable[[Closed], None]


class Reader(Follower):
    """One stream. It owns a raw descriptor: smaller than a socket object, and nobody else can close it.

    ``since`` is the time of its last progress. What the hub's loop for live readers sends is not written down for
    each of them: it is the topic's count minus the marks made when the reader became live.
    """

    __slots__ = (
        "blocked", "closing", "expires", "fd", "heartbeat", "live_bytes", "live_events", "notices", "on_close",
        "sent_bytes", "since", "started", "strands", "told", "topic",
    )  # fmt: skip

    def __init__(
        self,
        fd: int,
        after: Cursor,
        now: float,
        *,
        expires: float = inf,
        on_close: OnClose | None = None,
        render: Render | None = None,
        strands: Strands | None = None,
        notices: bool = True,
        heartbeat: bytes = b"",
    ) -> None:
        super().__init__(after, render)
        self.fd = fd
        self.topic: Topic
        self.expires = expires
        self.on_close = on_close
        self.notices = notices
        # Other logs that are sent beside its own.
        self.strands = strands
        # What is sent when there is nothing to say, as a chunk.
        self.heartbeat = heartbeat
        self.started = self.since = now
        # The socket is full; it will say when it is not.
        self.blocked = False
        # The last byte is out; until when to wait for the other side to close too.
        self.closing = inf
        # The last notice about the queue this reader got.
        self.told = b""
        self.sent_bytes = 0
        self.live_bytes = self.live_events = -1

    def go_live(self) -> None:
        """From here on the topic's loop for live readers sends; remember where that began."""
        self.page = None
        self.live_bytes, self.live_events = self.topic.tail.offset, self.topic.tail.count

    def leave_live(self, offset: int, number: int) -> None:
        """It has sent up to ``offset``, and begun every event before ``number``."""
        self.sent_bytes += offset - self.live_bytes
        self.events += number - self.live_events

    def renders_past(self, after: Cursor) -> bool:
        """Whether it only lacks what is past ``after``, in a form of its own, and has nothing else to be sent."""
        return self.render is not None and self.strands is None and self.cursor == after and not self.rest

    def report(self, reason: Reason, now: float) -> Closed:
        """What this stream was."""
        return Closed(self.topic.key, reason, self.sent_bytes, self.events, now - self.started)


def prepare(sock: socket.socket) -> None:
    """Make a client's socket fit for the hub: never blocks, sends at once, notices a dead peer."""
    sock.setblocking(False)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def finish(fd: int) -> None:
    """Say that nothing more comes. What was sent still arrives."""
    half = socket.socket(fileno=fd)
    try:
        half.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    finally:
        half.detach()


def discard_input(fd: int) -> None:
    """Read away what the client sent without being asked; left there, closing would reset the connection."""
    with suppress(OSError):
        for _ in range(16):
            if not os.read(fd, 65536):
                return
