"""Receives published messages: keeps one subscription alive, and rebuilds one that is lost or deaf."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from math import inf
from select import EPOLLIN, EPOLLOUT
from typing import Protocol

from app.domain.backoff import Backoff
from app.relay.event_loop import EventLoop
from app.relay.log_reader import LogReader
from app.relay.pubsub_connection import ConnectionLost, PubSubConnection
from app.relay.reports import Reports
from app.relay.stats import RelayStats

# The relay publishes a canary, a message to itself, over another connection this often.
CANARY_SECONDS = 1.0
# A subscription on which nothing at all arrives for so long after a canary is deaf, whatever its socket reports. So a
# frozen Redis is noticed within CANARY_SECONDS + DEAF_SECONDS.
DEAF_SECONDS = 1.5
# While no canary arrives on new subscriptions either, each may be silent for longer than the last: each costs Redis a
# SUBSCRIBE and the stores two reads for every log of the process.
DEAFNESS = Backoff(first=DEAF_SECONDS, longest=24.0)
# The pauses between attempts to connect, in seconds.
BACKOFF = Backoff(first=0.1, longest=3.0, jitter=0.5)


class MessageListener(Protocol):
    """Receives messages and changes of the subscription. Implemented by the topics."""

    def on_message(self, channel: bytes, message: bytes) -> None:
        """A message was published on a channel."""
        ...

    def on_subscribed(self, channel: bytes) -> None:
        """The subscription to a channel is confirmed."""
        ...

    def on_connected(self) -> None:
        """A connection was made; nothing is subscribed to yet."""
        ...

    def on_disconnected(self) -> None:
        """The connection is lost."""
        ...


class Subscriber:
    """One subscription, dialled again when it is lost. Belongs to the hub's thread."""

    def __init__(
        self,
        loop: EventLoop,
        reader: LogReader,
        listener: MessageListener,
        stats: RelayStats,
        reports: Reports,
        url: str,
        namespace: str,
        publish: Callable[[bytes, bytes], object],
    ) -> None:
        self._loop = loop
        self._reader = reader
        self._listener = listener
        self._stats = stats
        self._reports = reports
        self._publish = publish
        # Connects; runs in a thread, because it blocks.
        self.dial: Callable[[], PubSubConnection] = lambda: PubSubConnection.dial(url)
        self._connection: PubSubConnection | None = None
        self.fd = -1
        self._events = 0
        self._dialling = False
        self._dial_at = -inf
        self._failures = 0
        # Connections in a row that were given up as deaf, without a canary on any of them.
        self._deaf = 0
        # SUBSCRIBEs without a reply: a channel may be left and wanted again before the first one is confirmed.
        self._unconfirmed: dict[bytes, int] = {}
        self._canary = b"%b:canary:%b" % (namespace.encode(), secrets.token_hex(8).encode())
        # When something arrived last.
        self._received_at = -inf
        # When the canary that is under way was sent.
        self._canary_sent = -inf

    @property
    def connected(self) -> bool:
        """True while there is a connection."""
        return self._connection is not None

    @property
    def confirmed(self) -> bool:
        """True when every SUBSCRIBE has been confirmed."""
        return self.connected and not self._unconfirmed

    def subscribe(self, channels: Iterable[bytes]) -> None:
        """Subscribe to ``channels``. Without a connection nothing happens: ``on_connected`` subscribes again."""
        if self._connection is None:
            return
        wanted = list(channels)
        for channel in wanted:
            self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
        self._try(lambda connection: connection.subscribe(wanted))

    def unsubscribe(self, channel: bytes) -> None:
        """Unsubscribe."""
        self._try(lambda connection: connection.unsubscribe((channel,)))

    def on_ready(self, events: int) -> None:
        """Read or write the connection. After an exception it is given up."""
        try:
            if events & EPOLLOUT:
                self._try(PubSubConnection.flush)
            if events & ~EPOLLOUT:
                self._try(self._receive)
        except Exception as error:
            self._stats.failures += 1
            self._reports.error("message not received", "relay_failed", error)
            self.reconnect()

    def tick(self, now: float) -> None:
        """Dial when it is time. To be called about every half second."""
        if self._connection is None and not self._dialling and now >= self._dial_at:
            self._dialling = True
            self._reader.run(self.dial, self._dialled)

    def reconnect(self) -> None:
        """Close the connection and dial again after a pause."""
        if self._connection is None:
            return
        self._loop.epoll.unregister(self.fd)
        self._connection.close()
        self._connection, self.fd = None, -1
        self._failures += 1
        self._dial_at = self._loop.clock() + BACKOFF.pause(self._failures - 1)
        self._listener.on_disconnected()

    def close(self) -> None:
        """Close the connection for good."""
        self._dial_at = inf
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send_canary(self, connection: PubSubConnection) -> None:
        if self._connection is not connection:
            return
        loop = self._loop
        sent = self._canary_sent = loop.clock()
        # Only an arrival counts; the outcome of publishing does not. One canary is under way at a time.
        self._reader.run(
            lambda: self._publish(self._canary, b"1"),
            lambda outcome: loop.at(sent + CANARY_SECONDS, self._send_canary, connection),
        )
        # The check is posted: it runs after another look at the descriptors. However late this thread is, a message
        # that lies in the socket is counted.
        loop.at(sent + DEAFNESS.pause(self._deaf), loop.post, self._check_arrivals, connection, sent)

    def _check_arrivals(self, connection: PubSubConnection, since: float) -> None:
        """Give up a connection on which nothing has arrived since the canary was sent."""
        if self._connection is connection and self._received_at < since:
            self._stats.canary_failures += 1
            self._deaf += 1
            self._reports.warn("subscription is silent and built again", "canary_missed")
            self.reconnect()

    def _receive(self, connection: PubSubConnection) -> None:
        on_message, canary = self._listener.on_message, self._canary
        replies = connection.receive()
        if replies:
            self._received_at = self._loop.clock()
        for kind, channel, what in replies:
            if kind == b"message":
                if channel == canary:
                    self._deaf = 0
                    self._stats.canary_at = self._received_at
                    self._stats.canary_seconds.append(self._received_at - self._canary_sent)
                else:
                    on_message(channel, what)
            elif kind == b"subscribe":
                self._confirm(channel)

    def _confirm(self, channel: bytes) -> None:
        left = self._unconfirmed.pop(channel, 1) - 1
        if left > 0:
            self._unconfirmed[channel] = left
        elif channel == self._canary:
            self._failures = 0
        else:
            self._listener.on_subscribed(channel)

    def _dialled(self, outcome: PubSubConnection | Exception) -> None:
        self._dialling = False
        if isinstance(outcome, PubSubConnection):
            self._connect(outcome)
        else:
            self._failures += 1
            self._dial_at = self._loop.clock() + BACKOFF.pause(self._failures - 1)
            self._reports.warn("connection to Redis refused", "redis_dial_failed", error=str(outcome))

    def _connect(self, connection: PubSubConnection) -> None:
        self._loop.epoll.register(connection.fileno(), EPOLLIN)
        self._connection = connection
        self.fd = connection.fileno()
        self._events = EPOLLIN
        self._stats.redis_connects += 1
        self._unconfirmed.clear()
        self._loop.at(self._loop.clock() + CANARY_SECONDS, self._send_canary, connection)
        self.subscribe([self._canary])
        self._listener.on_connected()

    def _try(self, action: Callable[[PubSubConnection], None]) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            action(connection)
            self._wait_for(EPOLLIN | EPOLLOUT if connection.unsent else EPOLLIN)
        except ConnectionLost as error:
            self._reports.warn("connection to Redis lost", "redis_lost", error=str(error))
            self.reconnect()

    def _wait_for(self, events: int) -> None:
        if self._connection is not None and events != self._events:
            self._events = events
            self._loop.epoll.modify(self.fd, events)
