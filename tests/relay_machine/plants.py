"""Faults that the machine must find. Each is planted for a while in place of the correct code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import inf
from typing import Any
from unittest.mock import patch

from app.domain.cursor import Cursor
from app.relay import housekeeping, topics
from app.relay.backfill import Backfill
from app.relay.connections import Connections
from app.relay.fan_out import FanOut
from app.relay.pacing import Pacing
from app.relay.revoker import Revoker
from app.relay.sender import Sender
from app.relay.stream_connection import ConnectionState, StreamConnection
from app.relay.tail import Tail
from app.relay.topic import Topic
from app.relay.topics import TopicRegistry

Plant = Callable[[], AbstractContextManager[object]]


@contextmanager
def held_is_delivered() -> Iterator[None]:
    """A notice overtakes events published ahead of it, and its connection's cursor jumps to the held position."""

    def on_notice(self: FanOut, topic: Topic, chunked: bytes) -> None:
        for connection in self.up_to_date(topic):
            if connection.notices:
                self._sender.notify(connection, chunked)

    settle = StreamConnection._settle_accounts

    def settle_at_the_end(self: StreamConnection) -> None:
        settle(self)
        if self.state is ConnectionState.BLOCKED:
            self.cursor = self.topic.end

    fall_behind = FanOut._fall_behind

    def fall_behind_where_delivered(self: FanOut, topic: Topic, short: Any, size: int, events: int) -> None:
        # The fault concerns notices only.
        with patch.object(StreamConnection, "_settle_accounts", settle):
            fall_behind(self, topic, short, size, events)

    with (
        patch.object(FanOut, "on_notice", on_notice),
        patch.object(StreamConnection, "_settle_accounts", settle_at_the_end),
        patch.object(FanOut, "_fall_behind", fall_behind_where_delivered),
    ):
        yield


@contextmanager
def blocked_keeps_its_page() -> Iterator[None]:
    """A blocked connection keeps a page that arrives for it."""
    give = Backfill._give

    def feed_all(self: Backfill, topic: Topic, consumer: Any, page: Tail) -> None:
        consumer.feed(page)
        give(self, topic, consumer, page)

    def open_is_enough(self: FanOut, consumer: Any) -> bool:
        return self._connections.owner(consumer) is not None

    with patch.object(Backfill, "_give", feed_all), patch.object(FanOut, "wants_page", open_is_enough):
        yield


@contextmanager
def pause_keeps_the_page() -> Iterator[None]:
    """A connection whose socket is full keeps the page it was sending."""
    with patch.object(StreamConnection, "pause", lambda self: None):
        yield


@contextmanager
def nobody_is_cut() -> Iterator[None]:
    """A client that receives nothing is never cut."""
    with patch.object(housekeeping, "STALL_SECONDS", 10_000.0):
        yield


@contextmanager
def a_failure_ends_the_round() -> Iterator[None]:
    """An exception of one consumer ends the round, with all work that was left in it."""

    def fail(self: Connections, connection: StreamConnection, error: Exception) -> None:
        raise error

    with patch.object(Connections, "fail", fail):
        yield


@contextmanager
def clean_end_too_early() -> Iterator[None]:
    """A body ends cleanly as soon as the log has ended, although its reader lacks events."""

    def at_end(self: StreamConnection, tail: Tail) -> bool:
        return not self.rest and tail.complete

    with patch.object(StreamConnection, "at_end", at_end):
        yield


@contextmanager
def place_is_kept() -> Iterator[None]:
    """A connection that leaves the state WAITING stays among the waiting connections of its topic."""
    move = StreamConnection.move

    def move_and_stay(self: StreamConnection, state: ConnectionState) -> None:
        waiting = self.state is ConnectionState.WAITING
        move(self, state)
        if waiting and state is ConnectionState.BLOCKED:
            self.topic.waiting[self.fd] = self

    with patch.object(StreamConnection, "move", move_and_stay):
        yield


@contextmanager
def an_end_is_not_reported() -> Iterator[None]:
    """A client that leaves is closed without a report: its place in the stream quota is never released."""
    report = Connections._report

    def report_others(self: Connections, connection: StreamConnection, reason: Any) -> None:
        if reason != "gone":
            report(self, connection, reason)

    with patch.object(Connections, "_report", report_others):
        yield


@contextmanager
def a_lost_message_stays_lost() -> Iterator[None]:
    """A published message that was lost counts as received: the tail goes on behind the hole."""
    hear = Tail.append_published

    def hear_anything(self: Tail, message: bytes) -> bytes:
        position, _, payload = message.partition(b" ")
        epoch, _, n = position.partition(b"-")
        if self._spans and epoch.isdigit() and int(epoch) == self._epoch and n.isdigit() and int(n) == self._n + 2:
            self._n += 1
            return self._append(position, payload)
        return hear(self, message)

    with patch.object(Tail, "append_published", hear_anything):
        yield


@contextmanager
def a_named_end_is_not_read() -> Iterator[None]:
    """A log that ends at the cursor a client named is never read for it again: the client gets heartbeats for ever."""
    with patch.object(TopicRegistry, "_step_back", lambda self, topic, end: None):
        yield


@contextmanager
def a_notice_inside_an_event() -> Iterator[None]:
    """A notice is sent ahead of the rest of an event."""
    send_notice = Sender.send_notice

    def send_in_front(self: Sender, connection: StreamConnection, chunked: bytes) -> None:
        if connection.rest and connection.state is ConnectionState.BLOCKED:
            connection.rest = chunked + connection.rest
        else:
            send_notice(self, connection, chunked)

    with patch.object(Sender, "send_notice", send_in_front):
        yield


@contextmanager
def subscriptions_are_not_renewed() -> Iterator[None]:
    """After a lost connection the logs are neither subscribed to nor read every second."""

    def on_connected(self: TopicRegistry) -> None:
        for topic in self.topics.values():
            topic.backoff.away = False

    with patch.object(TopicRegistry, "on_connected", on_connected), patch.object(topics, "IDLE_SECONDS", inf):
        yield


@contextmanager
def a_trimmed_tail_starts_too_early() -> Iterator[None]:
    """A tail that was shortened claims to reach back one event further than it does."""
    trim = Tail.trim

    def trim_and_claim(self: Tail, size: int) -> None:
        before = self.start
        trim(self, size)
        if self.start != before and self.start.n > 0:
            self.start = Cursor(self.start.epoch, self.start.n - 1)

    with patch.object(Tail, "trim", trim_and_claim):
        yield


@contextmanager
def a_late_stream_is_served() -> Iterator[None]:
    """A stream whose credential was revoked between its check and its join is served."""
    with patch.object(Revoker, "admits", lambda self, connection: True):
        yield


@contextmanager
def a_slow_stream_outlives_its_access() -> Iterator[None]:
    """A stream whose socket is full when its access ends is left open."""
    dismiss = Sender.dismiss

    def dismiss_the_quick(self: Sender, connection: StreamConnection, notice: bytes, reason: Any) -> None:
        if connection.state is not ConnectionState.BLOCKED or reason != "revoked":
            dismiss(self, connection, notice, reason)

    with patch.object(Sender, "dismiss", dismiss_the_quick):
        yield


@contextmanager
def collected_is_forgotten() -> Iterator[None]:
    """What a busy hub has collected of a log that got more events in the meantime is not delivered when it is due."""
    deliver = Pacing._deliver_collected

    def deliver_single_events(self: Pacing) -> None:
        self.collected = [topic for topic in self.collected if topic.delivered_count + 1 == topic.tail.count]
        deliver(self)

    with patch.object(Pacing, "_deliver_collected", deliver_single_events):
        yield


@contextmanager
def an_end_is_collected() -> Iterator[None]:
    """The end of an answer waits with the events that a busy hub collects."""

    def due(self: Pacing, topics: list[Topic]) -> Iterator[Topic]:
        for topic in topics:
            if not self.interval:
                yield topic
            else:
                if not self.collected:
                    self.deliver_at = self._loop.now + self.interval
                    self._loop.at(self.deliver_at, self._deliver_collected)
                self.collected.append(topic)

    with patch.object(Pacing, "due", due):
        yield


PLANTS: dict[str, Plant] = {
    plant.__name__.replace("_", "-"): plant
    for plant in (
        held_is_delivered,
        blocked_keeps_its_page,
        pause_keeps_the_page,
        nobody_is_cut,
        a_failure_ends_the_round,
        clean_end_too_early,
        place_is_kept,
        an_end_is_not_reported,
        a_lost_message_stays_lost,
        a_named_end_is_not_read,
        a_notice_inside_an_event,
        subscriptions_are_not_renewed,
        a_trimmed_tail_starts_too_early,
        a_late_stream_is_served,
        a_slow_stream_outlives_its_access,
        collected_is_forgotten,
        an_end_is_collected,
    )
}
