"""Periodic work: heartbeats, expired tokens, stalled clients, positions in the queue."""

from __future__ import annotations

from typing import Any

from app.domain import sse
from app.relay.connections import Connections
from app.relay.encoded_log import chunk
from app.relay.event_loop import EventLoop
from app.relay.fan_out import FanOut
from app.relay.log_reader import LogReader
from app.relay.log_type import LogType
from app.relay.sender import Sender
from app.relay.stream_connection import ConnectionState, StreamConnection
from app.relay.topic import Topic
from app.relay.topics import TopicRegistry

KEEPALIVE_SECONDS = 15.0
QUEUE_SECONDS = 2.0
# The connection of a client that takes nothing for so long is closed, and its place is released.
STALL_SECONDS = 60.0
TICK_SECONDS = 0.5

EXPIRED = chunk(sse.notice({"type": "auth", "detail": "token expired"}))


class Housekeeping:
    """Checks all connections twice a second. Belongs to the hub's thread."""

    def __init__(
        self,
        loop: EventLoop,
        registry: TopicRegistry,
        reader: LogReader,
        connections: Connections,
        sender: Sender,
        fan_out: FanOut,
        keepalive: float,
    ) -> None:
        self._loop = loop
        self._registry = registry
        self._reader = reader
        self._connections = connections
        self._sender = sender
        self._fan_out = fan_out
        self._keepalive = keepalive
        self._next_queue_query = 0.0
        self._is_querying_queue = False

    def tick(self) -> None:
        """Check the connections, the topics and the queue, and how busy the thread is."""
        for connection in list(self._connections.open.values()):
            try:
                self._check(connection)
            except Exception as error:
                self._connections.fail(connection, error)
        self._connections.measure()
        self._registry.tick()
        self._query_queue()
        self._connections.close_overdue()
        self._fan_out.pacing.adapt()

    def _check(self, connection: StreamConnection) -> None:
        now, since = self._loop.now, connection.since
        quiet_since = now - self._keepalive + TICK_SECONDS
        if connection.expires <= now:
            self._sender.dismiss(connection, EXPIRED, "expired")
        elif connection.state in (ConnectionState.BLOCKED, ConnectionState.CLOSING):
            if since <= now - STALL_SECONDS:
                self._connections.close(connection, "stalled")
        elif since > quiet_since or not connection.request.heartbeat:
            return
        elif connection.topic.delivered_at <= quiet_since or connection.state is not ConnectionState.LIVE:
            self._sender.send_notice(connection, chunk(connection.request.heartbeat))

    def _query_queue(self) -> None:
        """Send the position in the queue to every connection whose generation has not begun."""
        if self._loop.now < self._next_queue_query or self._is_querying_queue:
            return
        self._next_queue_query = self._loop.now + QUEUE_SECONDS
        topics = self._registry.topics.values()
        unwritten = [topic for topic in topics if topic.readers and topic.tail.unwritten]
        if unwritten:
            self._is_querying_queue = True
            self._reader.query(unwritten, _positions, self._have_positions)

    def _have_positions(self, outcome: dict[Topic, int] | Exception) -> None:
        self._is_querying_queue = False
        if isinstance(outcome, Exception):
            return
        for topic, position in outcome.items():
            if position != topic.position and topic.tail.unwritten:
                topic.position = position
                topic.notice = chunk(sse.notice({"type": "queued", "position": position}))
                for connection in self._fan_out.up_to_date(topic):
                    self._sender.notify_position(connection)


def _positions(log_type: LogType, keys: list[str]) -> dict[str, Any]:
    return log_type.source.queue_positions(keys)
