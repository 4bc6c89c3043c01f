"""The open connections of a process: adopted, half-closed at the end of their log, or closed without it."""

from __future__ import annotations

import os
from collections import deque
from random import random
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLOUT, EPOLLRDHUP

from app.relay.event_loop import EventLoop
from app.relay.log_cursor import LogConsumer
from app.relay.log_type import LogType
from app.relay.reports import Reports
from app.relay.stats import RelayStats
from app.relay.stream_connection import (
    Closed,
    ConnectionState,
    Reason,
    StreamConnection,
    StreamRequest,
    discard_input,
    finish,
)
from app.relay.substreams import Substream
from app.relay.topics import TopicRegistry

# Seconds within which a process that ends breaks its streams.
DRAIN_SECONDS = 0.9
# How long a finished stream may wait for the client to close, before it is closed here.
CLOSE_SECONDS = 2.0
# The states of connections that have been sent everything.
UP_TO_DATE = (ConnectionState.LIVE, ConnectionState.WAITING)
# Edge-triggered: a socket reports once that it has room again, and never has to be re-armed.
_INTEREST = EPOLLOUT | EPOLLRDHUP | EPOLLET
GONE = EPOLLRDHUP | EPOLLHUP | EPOLLERR


class Connections:
    """Connections by descriptor. Belongs to the hub's thread.

    ``ready`` are the consumers that have more to send and wait for their next turn.
    """

    def __init__(self, loop: EventLoop, registry: TopicRegistry, stats: RelayStats, reports: Reports) -> None:
        self._loop = loop
        self._registry = registry
        self._stats = stats
        self._reports = reports
        self.open: dict[int, StreamConnection] = {}
        # Descriptors of finished streams whose client has not closed yet, with the time until which they stay open.
        self.half_closed: dict[int, float] = {}
        self.ready: deque[LogConsumer] = deque()

    def adopt(self, connection: StreamConnection, log_type: LogType) -> None:
        """Register a connection with its log and with the loop, ready for its first turn.

        Raises OSError when the descriptor cannot be waited for; ``fail`` closes it then, like after any exception.
        """
        self._stats.streams_opened += 1
        self._stats.bytes_sent += connection.sent_bytes
        topic = connection.topic = self._registry.join(connection.request.key, log_type, connection.cursor)
        self.open[connection.fd] = connection
        self._loop.epoll.register(connection.fd, _INTEREST)
        connection.move(ConnectionState.BACKFILLING)
        self._registry.plan(topic)

    def is_open(self, consumer: LogConsumer) -> bool:
        """True while the consumer is served."""
        if isinstance(consumer, Substream):
            return self.owner(consumer) is not None
        return isinstance(consumer, StreamConnection) and self.open.get(consumer.fd) is consumer

    def owner(self, consumer: LogConsumer) -> StreamConnection | None:
        """The open connection on whose socket the consumer's data leaves."""
        if isinstance(consumer, StreamConnection):
            return consumer if self.open.get(consumer.fd) is consumer else None
        assert isinstance(consumer, Substream), "there are two kinds of consumers"
        connection = self.open.get(consumer.fd)
        if connection is None or connection.multiplexer is None:
            return None
        return connection if connection.multiplexer.carried.get(consumer.key) is consumer else None

    def write(self, connection: StreamConnection, data: bytes) -> int:
        """Write to the socket. Returns the number of bytes it took; -1 when the client is gone."""
        try:
            sent = os.write(connection.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return -1
        if sent:
            connection.since = self._loop.now
        connection.sent_bytes += sent
        self._stats.bytes_sent += sent
        return sent

    def half_close(self, connection: StreamConnection) -> None:
        """End a complete body. The client closes first, so that no reset can overtake the last bytes."""
        fd = connection.fd
        finish(fd)
        discard_input(fd)
        self._remove(connection, "done")
        self.half_closed[fd] = self._loop.now + CLOSE_SECONDS

    def close(self, connection: StreamConnection, reason: Reason) -> None:
        """End a stream without its last chunk. The missing chunk shows the client that the body is not complete."""
        if connection.state is not ConnectionState.CLOSING:
            connection.move(ConnectionState.CLOSING)
        self._remove(connection, reason)
        os.close(connection.fd)

    def fail(self, connection: StreamConnection, error: Exception) -> None:
        """Drop a connection after an exception, in any state."""
        self._stats.failures += 1
        self._reports.error("stream failed", "stream_failed", error, **connection.request.name())
        if connection.state is ConnectionState.JOINING and self.open.get(connection.fd) is not connection:
            self.turn_away(connection, "failed")
        elif self.open.get(connection.fd) is connection:
            self.close(connection, "failed")

    def turn_away(self, connection: StreamConnection, reason: Reason) -> None:
        """Close a connection that was handed over and never adopted."""
        self._report(connection, reason)
        os.close(connection.fd)

    def close_half_closed(self, fd: int) -> None:
        """Close a finished stream whose client has closed, or whose time is over."""
        if self.half_closed.pop(fd, None) is not None:
            discard_input(fd)
            os.close(fd)

    def close_overdue(self) -> None:
        """Close finished streams whose client did not close in time."""
        for fd in [fd for fd, until in self.half_closed.items() if until <= self._loop.now]:
            self.close_half_closed(fd)

    def measure(self) -> None:
        """Note how many connections are not up to date, the events that they lack, and the bytes held for them."""
        streams = events = held = 0
        for connection in self.open.values():
            if connection.state in UP_TO_DATE:
                continue
            end, cursor = connection.topic.end, connection.cursor
            streams += 1
            held += len(connection.rest)
            # The events of an earlier epoch are not counted: the snapshot of a later one replaces them.
            events += max(end.n - (cursor.n if cursor.epoch == end.epoch else 0), 0)
        self._stats.streams_behind, self._stats.events_behind, self._stats.bytes_held = streams, events, held

    def drain(self, seconds: float) -> None:
        """Break every stream within ``seconds``, not all at the same moment."""
        for connection in self.open.values():
            self._loop.at(self._loop.now + random() * seconds, self.send_away, connection)

    def send_away(self, connection: StreamConnection) -> None:
        """Break a stream because the process ends. A stream that has ended is left alone."""
        if self.is_open(connection):
            self.close(connection, "drain")

    def close_all(self) -> None:
        """Close every connection, because the process ends."""
        for connection in list(self.open.values()):
            self.close(connection, "drain")
        for fd in list(self.half_closed):
            self.close_half_closed(fd)

    def detach(self, substream: Substream) -> None:
        """Stop sending this log beside another one."""
        connection = self.owner(substream)
        assert connection is not None, "a detached substream is carried"
        assert connection.multiplexer is not None, "its connection carries it"
        del connection.multiplexer.carried[substream.key]
        self._forget(substream)

    def _forget(self, substream: Substream) -> None:
        topic = substream.topic
        if topic.waiting.get(substream.fd) is substream:
            del topic.waiting[substream.fd]
        substream.pause()
        self._registry.leave(topic)

    def _remove(self, connection: StreamConnection, reason: Reason) -> None:
        del self.open[connection.fd]
        self._registry.leave(connection.topic)
        if connection.multiplexer is not None:
            for substream in connection.multiplexer.carried.values():
                self._forget(substream)
            connection.multiplexer.carried.clear()
        self._report(connection, reason)

    def report(self, request: StreamRequest, account: Closed) -> None:
        """Pass the account of an ended stream to the callbacks of its request."""
        if request.on_close is not None:
            try:
                request.on_close(account)
            except Exception as error:
                self._stats.failures += 1
                self._reports.error("end of a stream not reported", "on_close_failed", error)
        if request.report is not None:
            self._reports.submit(request.report, account)

    def _report(self, connection: StreamConnection, reason: Reason) -> None:
        self._stats.stalled += reason == "stalled"
        self.report(connection.request, connection.account(reason, self._loop.now))
