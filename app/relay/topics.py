"""The logs that are followed here: opened for the first reader, read when it is due, closed after the last reader."""

from __future__ import annotations

from math import inf
from random import random
from typing import Any

from app.domain.cursor import Cursor
from app.domain.events import NOTICE
from app.relay.backfill import TAIL_BYTES
from app.relay.encoded_log import chunk
from app.relay.event_loop import EventLoop
from app.relay.log_reader import LogReader, Page
from app.relay.log_type import LogType
from app.relay.stats import RelayStats
from app.relay.subscriber import Subscriber
from app.relay.topic import Topic, TopicListener

# A log that has been silent for so long may have grown without a message: PostgreSQL is queried.
IDLE_SECONDS = 5.0
# The logs of a process are not all read at the same moment when the subscription is lost.
SPREAD_SECONDS = 0.5
# A tail outlives its last reader a little: most of them come back at once.
LINGER_SECONDS = 10.0
# Bytes kept of all logs of a process, and of one log at least.
PROCESS_BYTES = 64 * 1_048_576
SMALLEST_TAIL = 8192


class TopicRegistry:
    """The open logs of a process, by channel. Listens to the subscription; belongs to the hub's thread.

    ``listener`` and ``subscriber`` are set before the first call.
    """

    listener: TopicListener
    subscriber: Subscriber

    def __init__(self, loop: EventLoop, reader: LogReader, stats: RelayStats) -> None:
        self._loop = loop
        self._reader = reader
        self._stats = stats
        self.topics: dict[bytes, Topic] = {}
        self._is_querying = False

    def join(self, key: str, log_type: LogType, after: Cursor) -> Topic:
        """The topic, for one more consumer past ``after``. Call ``plan`` when the consumer is in its place."""
        topic = self.topics.get(log_type.channel(key))
        if topic is None:
            topic = self._open(key, log_type, after)
        elif topic.tail.empty and not topic.tail.covers(after):
            self._rewind(topic, after)
        topic.readers += 1
        topic.empty = inf
        return topic

    def leave(self, topic: Topic) -> None:
        """One consumer follows the log no longer."""
        topic.readers -= 1
        if not topic.readers:
            topic.empty = self._loop.now

    def plan(self, topic: Topic) -> None:
        """Read the log now when its back-off is due, or set a timer for that time."""
        backoff = topic.backoff
        if not topic.readers or backoff.reading or backoff.due == inf:
            return
        if backoff.is_due(self._loop.now):
            self._read(topic)
        elif backoff.due != backoff.planned:
            backoff.planned = backoff.due
            self._loop.at(backoff.due, self.plan, topic)

    def tick(self) -> None:
        """Close logs without readers, shorten tails, query the store about logs that have been silent."""
        now = self._loop.now
        idle = []
        share = max(min(TAIL_BYTES, PROCESS_BYTES // max(len(self.topics), 1)), SMALLEST_TAIL)
        for topic in list(self.topics.values()):
            if not topic.readers:
                if now - topic.empty > LINGER_SECONDS:
                    self._close(topic)
                continue
            if now - max(topic.delivered_at, topic.checked_at) >= IDLE_SECONDS and not topic.tail.complete:
                idle.append(topic)
            if not topic.pending:
                topic.tail.trim(share)
        self._query_ends(idle)

    # Messages (MessageListener)

    def on_message(self, channel: bytes, message: bytes) -> None:
        """A message was published. The hot path: once per event and process."""
        topic = self.topics.get(channel)
        if topic is None:
            return
        try:
            if topic.tail.append_published(message):
                self.listener.on_event(topic)
            elif message.startswith(NOTICE):
                self.listener.on_notice(topic, chunk(message[len(NOTICE) :]))
            elif topic.tail.gap:
                # Messages of feeds carry no events, so each of them looks like a gap.
                self._stats.resyncs += topic.log_type.frame is None
                topic.backoff.on_gap(self._loop.now)
                self.plan(topic)
        except Exception as error:
            self._fail(topic, error)

    def on_subscribed(self, channel: bytes) -> None:
        """Messages of this channel arrive from now on. Earlier ones are read from the log."""
        topic = self.topics.get(channel)
        if topic is not None:
            topic.backoff.request(self._loop.now)
            self.plan(topic)

    def on_disconnected(self) -> None:
        """No message arrives any more. Each log is read within ``SPREAD_SECONDS``, and then every second."""
        for topic in self.topics.values():
            topic.backoff.away = True
            topic.backoff.due = min(topic.backoff.due, self._loop.now + random() * SPREAD_SECONDS)
            self.plan(topic)

    def on_connected(self) -> None:
        """Subscribe to every channel again. Each confirmation is followed by a read."""
        for topic in self.topics.values():
            topic.backoff.away = False
        self.subscriber.subscribe(self.topics)

    # One log

    def _open(self, key: str, log_type: LogType, start: Cursor) -> Topic:
        topic = self.topics[log_type.channel(key)] = Topic(key, log_type, start, self._loop.now)
        if self.subscriber.connected:
            self.subscriber.subscribe((topic.channel,))
        else:
            topic.backoff.away = True
            topic.backoff.request(self._loop.now)
        return topic

    def _close(self, topic: Topic) -> None:
        if self.topics.get(topic.channel) is topic:
            del self.topics[topic.channel]
            self.subscriber.unsubscribe(topic.channel)

    def _fail(self, topic: Topic, error: Exception) -> None:
        """Close the topic with all its connections. The next reader gets a new one."""
        self.listener.on_failed(topic, error)
        self._close(topic)

    def _rewind(self, topic: Topic, start: Cursor) -> None:
        """Begin an empty tail at an earlier position."""
        self.listener.on_rewind(topic)
        topic.tail.rewind(start)
        topic.mark_delivered()
        topic.backoff.request(self._loop.now)

    def _step_back(self, topic: Topic, end: Cursor) -> None:
        """Read the newest event of the log, which is not past the position a client named.

        The position may be that of the end, or behind it. No event would ever follow it.
        """
        if self.topics.get(topic.channel) is topic:
            self._rewind(topic, Cursor(end.epoch, end.n - 1))
            self.plan(topic)

    # Reading

    def _read(self, topic: Topic) -> None:
        topic.backoff.on_begin()
        self._reader.read_page(topic, topic.tail.begin_read(), lambda outcome: self._have_read(topic, outcome))

    def _have_read(self, topic: Topic, outcome: Page | Exception) -> None:
        if self.topics.get(topic.channel) is not topic:
            return
        try:
            self._extend(topic, outcome)
            self.plan(topic)
        except Exception as error:
            self._fail(topic, error)

    def _extend(self, topic: Topic, outcome: Page | Exception) -> None:
        if isinstance(outcome, Exception):
            self._reader.report_failure(topic, outcome)
            topic.backoff.on_failure(self._loop.now)
            return
        page, more = outcome
        grown = topic.tail.extend(page)
        is_first, topic.was_read = not topic.was_read, True
        topic.backoff.on_read(self._loop.now, grown=grown, more=more, gap=topic.tail.gap)
        if grown or is_first:
            self.listener.on_read(topic, is_first=is_first)

    # Silence

    def _query_ends(self, idle: list[Topic]) -> None:
        """Query the store for the ends of the logs that have been silent. A log it does not know is deleted."""
        if not idle or self._is_querying:
            return
        self._is_querying = True
        for topic in idle:
            topic.checked_at = self._loop.now
        self._reader.query(idle, _ends, lambda outcome: self._have_ends(idle, outcome))

    def _have_ends(self, idle: list[Topic], outcome: dict[Topic, Cursor | None] | Exception) -> None:
        self._is_querying = False
        if isinstance(outcome, Exception):
            return
        for topic in idle:
            if topic not in outcome:
                self.listener.on_deleted(topic)
                continue
            end = outcome[topic]
            # The writer may have lost Redis, or this process its subscription: the store has events then that were
            # not received.
            if end is None or end > topic.end:
                topic.backoff.request(self._loop.now)
                self.plan(topic)
            elif end.n and topic.tail.empty and topic.log_type.last is not None and topic.examined != end:
                # Once for each event: a tail is empty again when it is too short for its newest event.
                topic.examined = end
                self._step_back(topic, end)


def _ends(log_type: LogType, keys: list[str]) -> dict[str, Any]:
    return log_type.source.ends(keys)
