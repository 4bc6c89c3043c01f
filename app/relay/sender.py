"""Sending on one connection: its own log first, then its substreams, and notices between two events."""

from __future__ import annotations

from app.relay.backfill import Backfill
from app.relay.connections import GONE, Connections
from app.relay.event_loop import EventLoop
from app.relay.log_cursor import LogConsumer
from app.relay.log_type import LogType
from app.relay.stats import RelayStats
from app.relay.stream_connection import ConnectionState, Reason, StreamConnection
from app.relay.substreams import Substream
from app.relay.tail import Tail
from app.relay.topics import TopicRegistry

# Bytes of one write where events are only copied. The cost of a write hardly depends on its size.
BLOCK = 262_144
# Bytes of one write where events get another form. A blocked connection keeps the rest of one, so this bounds it.
RENDERED_BLOCK = 16_384
# Writes on one connection before it is another one's turn.
TURN = 8

LAST_CHUNK = b"0\r\n\r\n"


class Sender:
    """Sends on single connections. Belongs to the hub's thread.

    ``flush`` has an exception boundary: a consumer that fails costs its own connection only.
    """

    def __init__(
        self, loop: EventLoop, registry: TopicRegistry, backfill: Backfill, connections: Connections, stats: RelayStats
    ) -> None:
        self._loop = loop
        self._registry = registry
        self._backfill = backfill
        self._connections = connections
        self._stats = stats

    def join(self, connection: StreamConnection, log_type: LogType) -> None:
        """Begin to serve a connection: the last notice about the queue first, then the log."""
        try:
            self._connections.adopt(connection, log_type)
            self.notify_position(connection)
        except Exception as error:
            self._connections.fail(connection, error)
        if self._connections.is_open(connection):
            self.flush(connection)

    def on_socket(self, fd: int, events: int) -> None:
        """The socket can be written, or the client is gone."""
        connection = self._connections.open.get(fd)
        if connection is None:
            if events & GONE:
                self._connections.close_half_closed(fd)
            return
        try:
            if events & GONE:
                self._connections.close(connection, "gone")
            else:
                self._on_writable(connection)
        except Exception as error:
            self._connections.fail(connection, error)

    def run_ready(self) -> None:
        """Give every consumer that has more to send one turn."""
        ready = self._connections.ready
        for _ in range(len(ready)):
            consumer = ready.popleft()
            if self._connections.is_open(consumer):
                self.flush(consumer)

    def flush(self, consumer: LogConsumer) -> None:
        """Send this consumer's data until there is none or its socket is full, then move it to its next state."""
        try:
            if isinstance(consumer, Substream):
                self._flush_substream(consumer)
            elif isinstance(consumer, StreamConnection):
                self._flush_connection(consumer)
        except Exception as error:
            connection = self._connections.owner(consumer)
            if connection is not None:
                self._connections.fail(connection, error)

    def send_notice(self, connection: StreamConnection, chunked: bytes) -> None:
        """Send bytes that are not part of the log; between two events, never inside one.

        Events that are held and were not delivered yet must be delivered first.
        """
        if connection.state is ConnectionState.CLOSING:
            return
        if connection.rest or connection.state in (ConnectionState.BLOCKED, ConnectionState.JOINING):
            connection.rest += chunked
            return
        sent = self._connections.write(connection, chunked)
        connection.since = self._loop.now
        if sent < 0:
            self._connections.close(connection, "gone")
        elif sent < len(chunked):
            connection.move(ConnectionState.BLOCKED)
            connection.rest = chunked[sent:]

    def dismiss(self, connection: StreamConnection, notice: bytes, reason: Reason) -> None:
        """Send a last notice, where the form of the stream has a place for it, and break the stream."""
        if connection.notices:
            self.send_notice(connection, notice)
        if self._connections.is_open(connection):
            self._connections.close(connection, reason)

    def notify(self, connection: StreamConnection, chunked: bytes) -> None:
        """Send a notice; a connection that fails is closed."""
        try:
            self.send_notice(connection, chunked)
        except Exception as error:
            self._connections.fail(connection, error)

    def notify_position(self, connection: StreamConnection) -> None:
        """Send the connection the last notice about the queue, unless that was sent before."""
        topic = connection.topic
        if connection.notices and topic.notice and topic.tail.unwritten and connection.sent_notice is not topic.notice:
            connection.sent_notice = topic.notice
            self.notify(connection, topic.notice)

    # The own log

    def _on_writable(self, connection: StreamConnection) -> None:
        if connection.state is ConnectionState.BLOCKED:
            connection.move(ConnectionState.BACKFILLING)
            self.flush(connection)
        elif connection.state is ConnectionState.CLOSING:
            self.flush(connection)

    def _flush_connection(self, connection: StreamConnection) -> None:
        if connection.state is ConnectionState.WAITING:
            connection.move(ConnectionState.BACKFILLING)
        elif connection.state not in (ConnectionState.BACKFILLING, ConnectionState.CLOSING):
            # It was blocked after its turn was planned, and may have become live since.
            return None
        tail, limit = connection.topic.tail, RENDERED_BLOCK if connection.render else BLOCK
        for _ in range(TURN):
            closing = connection.state is ConnectionState.CLOSING
            data = connection.rest if closing else connection.take(tail, limit)
            if not data:
                return self._settle(connection, tail)
            sent = self._connections.write(connection, data)
            if sent < 0:
                return self._connections.close(connection, "gone")
            if sent:
                before = connection.events
                connection.sent(sent)
                self._stats.frames_sent += connection.events - before
                if connection.first_at is None and connection.events:
                    connection.first_at = self._loop.now
            if sent < len(data):
                if not closing:
                    connection.move(ConnectionState.BLOCKED)
                return None
        self._connections.ready.append(connection)
        return None

    def _settle(self, connection: StreamConnection, tail: Tail) -> None:
        """Move a connection that has been sent everything: to its end, to a page, or to the next event."""
        topic = connection.topic
        if topic.was_read and not connection.caught_up and not connection.lacks(tail):
            connection.caught_up = True
            self._stats.replays += connection.events > 0
            self._stats.events_replayed += connection.events
        if connection.state is ConnectionState.CLOSING:
            self._connections.half_close(connection)
        elif connection.at_end(tail):
            connection.move(ConnectionState.CLOSING)
            connection.rest = LAST_CHUNK
            self._connections.ready.append(connection)
        elif connection.lacks(tail):
            self._backfill.want(topic, connection)
        elif connection.cursor == topic.delivered and connection.render is None and not topic.pending:
            connection.move(ConnectionState.LIVE)
        else:
            connection.move(ConnectionState.WAITING)
            self.attach_substreams(connection)

    # Other logs on the socket

    def attach_substreams(self, connection: StreamConnection) -> None:
        """Begin or continue the substreams of a connection that has been sent all of its own log."""
        multiplexer = connection.multiplexer
        if multiplexer is None:
            return
        for key, after in multiplexer.wanted():
            topic = self._registry.join(key, multiplexer.log_type, after)
            multiplexer.carry(connection.fd, key, after, topic)
            self._registry.plan(topic)
        for substream in multiplexer.held():
            substream.held = False
            self._connections.ready.append(substream)

    def _flush_substream(self, substream: Substream) -> None:
        topic, connection = substream.topic, self._connections.owner(substream)
        assert connection is not None, "a substream that is flushed is carried"
        topic.waiting.pop(substream.fd, None)
        for _ in range(TURN):
            if connection.state is not ConnectionState.WAITING:
                substream.held = True
                return substream.pause()
            before = substream.events
            data = substream.take(topic.tail, RENDERED_BLOCK)
            if not data:
                return self._settle_substream(substream, connection)
            substream.sent(len(data))
            connection.events += substream.events - before
            self._stats.frames_sent += substream.events - before
            # The connection sends what the socket does not take now, and the data ends where an event ends.
            self.send_notice(connection, data)
            if not self._connections.is_open(substream):
                return None
        self._connections.ready.append(substream)
        return None

    def _settle_substream(self, substream: Substream, connection: StreamConnection) -> None:
        """Move a substream that has been sent everything. One whose log has ended leaves its room to another one."""
        if substream.at_end(substream.topic.tail):
            self._connections.detach(substream)
            self.attach_substreams(connection)
        elif substream.lacks(substream.topic.tail):
            self._backfill.want(substream.topic, substream)
        else:
            substream.topic.waiting[substream.fd] = substream
