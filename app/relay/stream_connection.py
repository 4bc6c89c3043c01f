"""A log consumer with a socket, the state it is in, and the moves between states that are legal."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from time import monotonic
from typing import Literal, NamedTuple

from app.domain import sse
from app.domain.cursor import Cursor
from app.relay.log_cursor import LogConsumer, Render
from app.relay.log_type import LogType
from app.relay.substreams import Multiplexer
from app.relay.topic import Topic

# The reason for the end of a stream; docs/operate/logs.md explains each. "done" is a clean end of the body; every other
# reason breaks it.
Reason = Literal["done", "gone", "stalled", "expired", "revoked", "drain", "deleted", "failed"]


class ConnectionState(Enum):
    """The state of a connection. It decides in which table of its topic the connection stands."""

    # Handed over; the hub's thread has not seen it yet.
    JOINING = "joining"
    # Receives older events: it waits for its next turn, or for a page.
    BACKFILLING = "backfilling"
    # Has everything delivered. The loop over the live connections sends. In ``topic.live``.
    LIVE = "live"
    # Has everything, and has a form of its own or stands beyond the end. In ``topic.waiting``.
    WAITING = "waiting"
    # The socket is full; it reports when it is not.
    BLOCKED = "blocked"
    # The last chunk is being sent, or the connection has ended.
    CLOSING = "closing"


_S = ConnectionState
MOVES: dict[ConnectionState, frozenset[ConnectionState]] = {
    _S.JOINING: frozenset({_S.BACKFILLING, _S.CLOSING}),
    _S.BACKFILLING: frozenset({_S.LIVE, _S.WAITING, _S.BLOCKED, _S.CLOSING}),
    _S.LIVE: frozenset({_S.BACKFILLING, _S.WAITING, _S.BLOCKED, _S.CLOSING}),
    _S.WAITING: frozenset({_S.BACKFILLING, _S.BLOCKED, _S.CLOSING}),
    _S.BLOCKED: frozenset({_S.BACKFILLING, _S.CLOSING}),
    _S.CLOSING: frozenset(),
}


class IllegalMove(Exception):
    """A move that the table does not have. The connection is dropped: its position cannot be trusted."""


class Closed(NamedTuple):
    """The account of an ended stream, for the access log, the metrics and its span.

    ``first_event``: seconds from its beginning to its first event; None without one.
    """

    generation_id: str
    reason: Reason
    bytes: int
    events: int
    seconds: float
    first_event: float | None = None


OnClose = Callable[[Closed], None]


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The request to send the log ``key`` past ``after`` on a connection.

    ``render`` gives each entry the form of another protocol; it is called in the hub's thread, in order, and must not
    block. ``multiplexer`` has other logs to be sent beside this one. ``expires_at`` is in seconds since 1970.
    ``on_close`` is called once, in the hub's thread, and must not block. ``report`` is called once, later, in another
    thread; it may block, and is dropped when the log takes no lines. ``heartbeat`` is sent when nothing else was sent
    for a while; when it is empty, no heartbeat is sent. ``revocables``: the names of everything whose revocation since
    ``proved_at``, a time of the monotonic clock, ends this stream.
    """

    key: str
    after: Cursor
    log_type: LogType | None = None
    expires_at: float = inf
    on_close: OnClose | None = None
    report: OnClose | None = None
    render: Render | None = None
    multiplexer: Multiplexer | None = None
    notices: bool = True
    heartbeat: bytes = sse.HEARTBEAT
    revocables: frozenset[str] = frozenset()
    proved_at: float = field(default_factory=monotonic)

    def name(self) -> dict[str, str]:
        """The field of a log line that names what the stream follows, such as ``generation_id``, with its value."""
        return {self.log_type.id_name if self.log_type else "generation_id": self.key}


class StreamConnection(LogConsumer):
    """One stream. It owns a raw descriptor, which is smaller than a socket object and out of reach of other code.

    ``since`` is the time of its last progress. The bytes and events that the loop over live connections sends are not
    counted for each connection: they are the topic's count minus the marks made when the connection became live.
    """

    __slots__ = (
        "_live_bytes",
        "_live_events",
        "caught_up",
        "expires",
        "fd",
        "first_at",
        "multiplexer",
        "notices",
        "request",
        "sent_bytes",
        "sent_notice",
        "since",
        "started",
        "state",
        "topic",
    )  # fmt: skip

    def __init__(self, fd: int, request: StreamRequest, now: float, expires: float = inf) -> None:
        render, multiplexer = request.render, request.multiplexer
        super().__init__(request.after, multiplexer.watching(render) if render and multiplexer else render)
        self.fd = fd
        self.request = request
        self.multiplexer = multiplexer
        # A form of its own has no place for notices. A connection with several logs gets the notices of its own log.
        self.notices = request.notices and (render is None or multiplexer is not None)
        self.topic: Topic
        self.state = ConnectionState.JOINING
        # True once everything that was there when it joined has been sent on it.
        self.caught_up = False
        # The time at which its first event was sent.
        self.first_at: float | None = None
        self.expires = expires
        self.started = self.since = now
        # The last notice about the queue that was sent on it.
        self.sent_notice = b""
        self.sent_bytes = 0
        self._live_bytes = self._live_events = 0

    def send_opening(self, opening: bytes) -> None:
        """Send the opening as far as the socket takes it. For the thread that hands the connection over."""
        try:
            self.sent_bytes = os.write(self.fd, opening)
        except OSError:
            # The hub meets the error at its first write.
            self.sent_bytes = 0
        self.rest = opening[self.sent_bytes :]

    def move(self, state: ConnectionState) -> None:
        """Go over to another state, and into the table of the topic that belongs to it. Raises IllegalMove."""
        before, topic = self.state, self.topic
        if state not in MOVES[before]:
            raise IllegalMove(f"{before.name} to {state.name}")
        self.state = state
        if before is ConnectionState.LIVE:
            topic.live.discard(self.fd)
            self._settle_accounts()
        elif before is ConnectionState.WAITING:
            topic.waiting.pop(self.fd, None)
        if state is not ConnectionState.BACKFILLING:
            self.pause()
        if state is ConnectionState.LIVE:
            self._live_bytes, self._live_events = topic.delivered_offset, topic.delivered_count
            topic.live.add(self.fd)
            if self.first_at is None:
                topic.fresh.add(self.fd)
        elif state is ConnectionState.WAITING:
            topic.waiting[self.fd] = self

    def lacks_only(self, after: Cursor) -> bool:
        """True when it has a form of its own and lacks only the events past ``after``."""
        return self.render is not None and self.multiplexer is None and self.cursor == after and not self.rest

    def account(self, reason: Reason, now: float) -> Closed:
        """The account of this stream."""
        first = None if self.first_at is None else self.first_at - self.started
        return Closed(self.request.key, reason, self.sent_bytes, self.events, now - self.started, first)

    def _settle_accounts(self) -> None:
        """Count the events of the time it was live: everything up to ``topic.delivered`` was sent on it."""
        topic = self.topic
        self.cursor = topic.delivered
        self.sent_bytes += topic.delivered_offset - self._live_bytes
        self.events += topic.delivered_count - self._live_events


def prepare(sock: socket.socket) -> None:
    """Set the options of a client's socket: it never blocks, sends without delay, and notices a dead peer."""
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
    """Shut down the sending side. Data that was sent still arrives."""
    half = socket.socket(fileno=fd)
    try:
        half.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    finally:
        half.detach()


def discard_input(fd: int) -> None:
    """Discard unrequested data of the client. Closing with unread data would reset the connection."""
    with suppress(OSError):
        for _ in range(16):
            if not os.read(fd, 65536):
                return
