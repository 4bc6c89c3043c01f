"""Fan-out: each growth of a log goes to every connection that follows it.

A token is parsed once and encoded once, and costs one ``write`` for each live connection (``deliver``).
"""

from __future__ import annotations

import os

from app.domain.cursor import Cursor
from app.domain.events import Entry
from app.relay.backfill import TAIL_BYTES
from app.relay.connections import Connections
from app.relay.encoded_log import chunk
from app.relay.event_loop import EventLoop
from app.relay.log_cursor import LogConsumer
from app.relay.pacing import Pacing
from app.relay.reports import Reports
from app.relay.sender import Sender
from app.relay.stats import RelayStats
from app.relay.stream_connection import ConnectionState, Reason, StreamConnection
from app.relay.substreams import Substream
from app.relay.topic import Topic

# More than this is not sent in the loop over live connections: each goes on at its own pace.
PIECE = 65_536


class FanOut:
    """Listens to the topics (TopicListener) and sends. Belongs to the hub's thread."""

    def __init__(
        self, loop: EventLoop, connections: Connections, sender: Sender, stats: RelayStats, reports: Reports
    ) -> None:
        self._loop = loop
        self._connections = connections
        self._sender = sender
        self._stats = stats
        self._reports = reports
        self.pacing = Pacing(loop, stats, self._deliver_guarded)
        self._undelivered: list[Topic] = []

    # Events of a topic

    def on_event(self, topic: Topic) -> None:
        """A published event was appended. Everything of one round is delivered together, or of several rounds."""
        if topic.delivered_count + 1 == topic.tail.count or topic.tail.complete:
            self._undelivered.append(topic)
        self._stats.events_received += 1

    def on_notice(self, topic: Topic, chunked: bytes) -> None:
        """Send a notice to every connection that has the whole log. A connection that is behind gets none."""
        self._deliver_guarded(topic)
        for connection in self.up_to_date(topic):
            # The format of a connection with several logs has no place for notices of one of them.
            if connection.notices:
                self._sender.notify(connection, chunked)

    def on_read(self, topic: Topic, *, is_first: bool) -> None:
        """A page was read and has extended the tail. The first page brings connections older events, or none."""
        missed = topic.tail.count - topic.delivered_count
        for connection in self.up_to_date(topic) if is_first else ():
            if not connection.caught_up:
                connection.caught_up = True
                self._stats.replays += missed > 0
                self._stats.events_replayed += missed
        if missed:
            self._deliver_guarded(topic)

    def on_rewind(self, topic: Topic) -> None:
        """Have the live connections wait. The tail will begin earlier, and they stand beyond it then."""
        for fd in list(topic.live):
            self._connections.open[fd].move(ConnectionState.WAITING)

    def on_page(self, consumer: LogConsumer) -> None:
        """Send to a consumer whose page was read."""
        self._sender.flush(consumer)

    def on_deleted(self, topic: Topic) -> None:
        """Break the streams of a log that was deleted. A connection that carried it beside another log goes on."""
        self._break_all(topic, "deleted")

    def on_failed(self, topic: Topic, error: Exception) -> None:
        """Break the streams of a log that cannot be served any more."""
        self._stats.failures += 1
        self._reports.error("log not delivered", "relay_failed", error, **topic.name())
        self._break_all(topic, "failed")
        topic.mark_delivered()

    def wants_page(self, consumer: LogConsumer) -> bool:
        """True while the consumer is open and waits for a page. A consumer whose socket is full does not."""
        connection = self._connections.owner(consumer)
        if connection is None:
            return False
        return consumer is not connection or connection.state is ConnectionState.BACKFILLING

    # Delivery

    def deliver_pending(self) -> None:
        """Deliver what was published in this round, joined per log, or have it collected while the thread is busy."""
        undelivered, self._undelivered = self._undelivered, []
        for topic in self.pacing.due(undelivered):
            self._deliver_guarded(topic)

    def _deliver_guarded(self, topic: Topic) -> None:
        if topic.pending:
            try:
                self.deliver(topic)
            except Exception as error:
                self.on_failed(topic, error)

    def deliver(self, topic: Topic) -> None:
        """Send what is held and was not delivered. The hot path: per live connection only a ``write``."""
        tail, live = topic.tail, topic.live
        begin = topic.delivered_offset
        size, events = tail.offset - begin, tail.count - topic.delivered_count
        after = topic.delivered
        topic.delivered_at = self._loop.now
        if tail.complete or size > PIECE:
            self._release(topic)
        elif live:
            if topic.fresh:
                self._note_first(topic)
            blob = tail.since(begin)
            short: list[tuple[int, int]] | None = None
            write = os.write
            for fd in live:
                try:
                    sent = write(fd, blob)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    sent = -1
                if sent != size:
                    short = short or []
                    short.append((fd, sent))
            self._stats.frames_sent += events * len(live)
            self._stats.bytes_sent += size * len(live)
            if short:
                self._fall_behind(topic, short, size, events)
        topic.mark_delivered()
        if topic.waiting:
            self._deliver_waiting(topic, after, size)
        if tail.offset > topic.trim_at:
            tail.trim(TAIL_BYTES * 3 // 4)
            topic.trim_at = tail.offset + TAIL_BYTES // 4

    def _note_first(self, topic: Topic) -> None:
        """Note the time of the first event on the live connections that had none."""
        for fd in topic.fresh & topic.live:
            self._connections.open[fd].first_at = self._loop.now
        topic.fresh.clear()

    def _release(self, topic: Topic) -> None:
        """Have every live connection go on at its own pace, because there is much to send or the log has ended."""
        for fd in list(topic.live):
            connection = self._connections.open[fd]
            connection.move(ConnectionState.BACKFILLING)
            self._connections.ready.append(connection)

    def _fall_behind(self, topic: Topic, short: list[tuple[int, int]], size: int, events: int) -> None:
        """Block the connections whose sockets did not take everything. Each goes on from its own position."""
        tail, begin, stats = topic.tail, topic.delivered_offset, self._stats
        for fd, sent in short:
            connection = self._connections.open[fd]
            # They were counted with the others.
            stats.frames_sent -= events
            stats.bytes_sent -= size
            if sent < 0:
                self._connections.close(connection, "gone")
                continue
            connection.move(ConnectionState.BLOCKED)
            connection.since = self._loop.now
            if sent:
                connection.cursor, connection.rest = tail.split(begin + sent)
                begun = tail.between(topic.delivered, connection.cursor)
                connection.events += begun
                connection.sent_bytes += sent
                stats.frames_sent += begun
                stats.bytes_sent += sent

    def _deliver_waiting(self, topic: Topic, after: Cursor, size: int) -> None:
        """Send to consumers whose cursor or output format differs from the common case.

        A consumer that lacks just these events receives them at once.
        """
        tail, entries = topic.tail, None
        for consumer in list(topic.waiting.values()):
            if (
                isinstance(consumer, StreamConnection)
                and size <= PIECE
                and not tail.complete
                and consumer.lacks_only(after)
            ):
                entries = entries or tail.entries(consumer.cursor, PIECE)
                self._send_rendered(consumer, entries)
            elif self._connections.is_open(consumer):
                self._sender.flush(consumer)

    def _send_rendered(self, connection: StreamConnection, entries: list[Entry]) -> None:
        """Send these events, in the connection's own form, to a connection that lacks nothing else."""
        render = connection.render
        assert render is not None
        try:
            rendered = b"".join([render(cursor, payload) for cursor, payload in entries])
        except Exception as error:
            return self._connections.fail(connection, error)
        if connection.first_at is None:
            connection.first_at = self._loop.now
        connection.cursor = entries[-1].cursor
        connection.events += len(entries)
        self._stats.frames_sent += len(entries)
        return self._sender.notify(connection, chunk(rendered)) if rendered else None

    # Connections of a topic

    def up_to_date(self, topic: Topic) -> list[StreamConnection]:
        """The connections that have the whole log."""
        live = [self._connections.open[fd] for fd in topic.live]
        return live + [one for one in topic.waiting.values() if isinstance(one, StreamConnection)]

    def _break_all(self, topic: Topic, reason: Reason) -> None:
        for connection in list(self._connections.open.values()):
            multiplexer = connection.multiplexer
            substream = multiplexer.carried.get(topic.key) if multiplexer else None
            if connection.topic is topic:
                self._connections.close(connection, reason)
            elif substream is None or substream.topic is not topic:
                continue
            elif reason == "deleted":
                # The connection's own log announces that; the others go on.
                self._detach(substream, connection)
            else:
                self._connections.close(connection, reason)

    def _detach(self, substream: Substream, connection: StreamConnection) -> None:
        self._connections.detach(substream)
        if connection.state is ConnectionState.WAITING:
            self._sender.attach_substreams(connection)
