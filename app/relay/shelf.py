"""The logs that are followed here: opened for a first reader, read when that is called for, closed after the last.

What is read or heard goes to the hub, which sends it on. Belongs to the hub's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from random import random
from typing import Any

import structlog

from app.domain.cursor import Cursor
from app.domain.errors import StoreDown
from app.relay.book import Book
from app.relay.ear import Ear
from app.relay.loop import Loop
from app.relay.pool import Pool
from app.relay.reader import Reader
from app.relay.strands import Strand
from app.relay.tail import Tail
from app.relay.topic import POLL, Topic

logger = structlog.get_logger()

# A log that nobody wrote to for so long may have grown without anybody saying so: PostgreSQL is asked.
IDLE_SECONDS = 5.0
# A tail outlives its last reader a little: most of them come back at once.
LINGER_SECONDS = 10.0
# What is kept of one log, and of all logs of a process.
TAIL_BYTES = 1_048_576
PROCESS_BYTES = 64 * 1_048_576
SMALLEST_TAIL = 8192


class Shelf:
    """The open logs of a process, by channel, and the subscription that hears of them.

    Tells ``heard(channel, message)``; ``grown(topic, blob, events)``, what was read; ``ready(reader)``, when there is
    the page that this reader wants, if it ``is_open`` still; ``deleted(topic)``.
    """

    def __init__(
        self,
        loop: Loop,
        redis_url: str,
        namespace: str,
        publish: Callable[[bytes, bytes], object],
        *,
        reading_threads: int,
        heard: Callable[[bytes, bytes], None],
        grown: Callable[[Topic, bytes, int], None],
        ready: Callable[[Reader | Strand], None],
        is_open: Callable[[Reader | Strand], bool],
        deleted: Callable[[Topic], None],
    ) -> None:
        self._loop = loop
        self._grown, self._ready, self._is_open, self._deleted = grown, ready, is_open, deleted
        self._readings = Pool("relay-read", reading_threads)
        # Dialling, the canary and the questions never wait for each other: each has at most one under way.
        self._chores = Pool("relay-chore", 4)
        self.topics: dict[bytes, Topic] = {}
        self.ear = Ear(
            redis_url,
            namespace,
            publish,
            lambda job, then: loop.work(self._chores, job, then),
            heard=heard,
            confirmed=self._confirmed,
            lost=self._lost,
            found=self._found,
        )
        self._asking = False
        self._complain_at = 0.0
        self.log_reads = 0

    def open(self) -> None:
        """Begin to listen."""
        self.ear.open(self._loop.epoll)

    def close(self) -> None:
        """Let the threads end. The subscription is closed in the hub's thread, by ``ear.close``."""
        self._readings.close()
        self._chores.close()

    def join(self, key: str, book: Book, after: Cursor) -> Topic:
        """The log, for one more who follows it past ``after``. ``plan`` is to be called when it is in its place."""
        topic = self.topics.get(book.channel(key))
        if topic is None:
            topic = self._open(key, book, after)
        elif topic.tail.empty and not topic.tail.covers(after):
            self._rewind(topic, after)
        topic.readers += 1
        topic.empty = inf
        return topic

    def leave(self, topic: Topic) -> None:
        """One follows it no longer."""
        topic.readers -= 1
        if not topic.readers:
            topic.empty = self._loop.now

    def plan(self, topic: Topic) -> None:
        """See to it that the log is read when its schedule says so."""
        schedule = topic.schedule
        if not topic.readers or schedule.reading or schedule.due == inf:
            return
        if schedule.wanted(self._loop.now):
            self._read(topic)
        elif schedule.due != schedule.planned:
            schedule.planned = schedule.due
            self._loop.at(schedule.due, self.plan, topic)

    def want(self, reader: Reader | Strand) -> None:
        """Get a page for a reader the tail does not reach; readers at the same place share it."""
        topic, after = reader.topic, reader.cursor
        if topic.wanting is None:
            topic.wanting = {}
        readers = topic.wanting.setdefault(after, [])
        readers.append(reader)
        if len(readers) == 1:
            self._fetch(topic, after)

    def ask(
        self,
        topics: list[Topic],
        question: Callable[[Book, list[str]], dict[str, Any]],
        then: Callable[[dict[Topic, Any] | Exception], None],
    ) -> None:
        """One question for all these logs of each book; ``then`` gets the answers there are."""
        self._loop.work(self._chores, lambda: _answers(topics, question), then)

    def tick(self) -> None:
        """Keep the subscription, close what nobody follows, keep tails short, ask about what has been silent."""
        now = self._loop.now
        self.ear.tick(now)
        idle = []
        share = max(min(TAIL_BYTES, PROCESS_BYTES // max(len(self.topics), 1)), SMALLEST_TAIL)
        for topic in list(self.topics.values()):
            if not topic.readers:
                if now - topic.empty > LINGER_SECONDS:
                    self._close(topic)
                continue
            if now - max(topic.delivered_at, topic.asked_at) >= IDLE_SECONDS and not topic.tail.complete:
                idle.append(topic)
            topic.tail.trim(share)
        self._ask_for_ends(idle)

    # One log

    def _open(self, key: str, book: Book, start: Cursor) -> Topic:
        topic = self.topics[book.channel(key)] = Topic(key, book, start, self._loop.now)
        if self.ear.connected:
            self.ear.listen((topic.channel,))
        else:
            topic.schedule.away = True
            topic.schedule.ask(self._loop.now)
        return topic

    def _close(self, topic: Topic) -> None:
        del self.topics[topic.channel]
        self.ear.leave(topic.channel)

    def _rewind(self, topic: Topic, start: Cursor) -> None:
        """Nothing has come past the position the tail began at: begin at an earlier one."""
        readers, topic.live = topic.live, {}
        for reader in readers.values():
            reader.leave_live(topic.tail.offset, topic.tail.count)
            reader.cursor = topic.end
            topic.waiting[reader.fd] = reader
        topic.tail.rewind(start)
        topic.schedule.ask(self._loop.now)

    # Reading

    def _read(self, topic: Topic) -> None:
        topic.schedule.begin()
        after = topic.tail.answering()
        self._page(topic, after, lambda outcome: self._have_read(topic, outcome))

    def _have_read(self, topic: Topic, outcome: tuple[Tail, bool] | Exception) -> None:
        if self.topics.get(topic.channel) is not topic:
            return
        if isinstance(outcome, Exception):
            self._complain(topic, outcome)
            topic.schedule.failed(self._loop.now)
        else:
            page, more = outcome
            tail = topic.tail
            offset, number = tail.offset, tail.count
            grown = tail.extend(page)
            topic.schedule.read(self._loop.now, grown=grown, more=more, gap=tail.gap)
            if grown:
                self._grown(topic, tail.since(offset), tail.count - number)
        self.plan(topic)

    def _fetch(self, topic: Topic, after: Cursor) -> None:
        self._page(topic, after, lambda outcome: self._have_page(topic, after, outcome))

    def _have_page(self, topic: Topic, after: Cursor, outcome: tuple[Tail, bool] | Exception) -> None:
        wanting = topic.wanting or {}
        readers = [reader for reader in wanting.get(after, ()) if self._is_open(reader)]
        if not readers:
            wanting.pop(after, None)
            return
        if isinstance(outcome, Exception):
            self._complain(topic, outcome)
            self._loop.at(self._loop.now + POLL, self._fetch, topic, after)
            return
        page, more = outcome
        if not topic.tail.extend_back(page, TAIL_BYTES) and page.end == after and not topic.tail.covers(after):
            # The log has less than the tail just now: it lost its end, and will be given it again.
            self._loop.at(self._loop.now + POLL / 2, self._fetch, topic, after)
            return
        del wanting[after]
        page.complete = page.complete and not more
        for reader in readers:
            if not topic.tail.covers(reader.cursor):
                reader.feed(page)
            self._ready(reader)

    def _page(self, topic: Topic, after: Cursor, then: Callable[[Any], None]) -> None:
        """Have a page of the log read and encoded; ``then`` gets it, and whether it is a full one."""
        self.log_reads += 1
        tail, limit = topic.tail, topic.book.page

        def read() -> tuple[Tail, bool]:
            entries = topic.book.source.read(topic.key, after, limit)
            return tail.page(after, entries), len(entries) >= limit

        self._loop.work(self._readings, read, then)

    def _complain(self, topic: Topic, error: Exception) -> None:
        """Once a second at most: when the stores are away, every log says the same."""
        if self._loop.now >= self._complain_at:
            self._complain_at = self._loop.now + 1.0
            unknown = None if isinstance(error, StoreDown) else error
            logger.warning(
                "A log cannot be read just now.", action="log_read_failed", generation_id=topic.key,
                error=str(error), exc_info=unknown,
            )  # fmt: skip

    # Silence

    def _ask_for_ends(self, idle: list[Topic]) -> None:
        """One question about all logs that have been silent: has the store more of one, or is it gone altogether?"""
        if not idle or self._asking:
            return
        self._asking = True
        for topic in idle:
            topic.asked_at = self._loop.now
        self.ask(idle, lambda book, keys: book.source.ends(keys), lambda outcome: self._have_ends(idle, outcome))

    def _have_ends(self, idle: list[Topic], outcome: dict[Topic, Cursor | None] | Exception) -> None:
        self._asking = False
        if isinstance(outcome, Exception):
            return
        for topic in idle:
            if topic not in outcome:
                self._deleted(topic)
                continue
            end = outcome[topic]
            # Its writer may not reach Redis, or Redis nobody: then the store has what nobody publishes.
            if end is None or end > topic.end:
                topic.schedule.ask(self._loop.now)
                self.plan(topic)

    # Redis comes and goes

    def _confirmed(self, channel: bytes) -> None:
        topic = self.topics.get(channel)
        if topic is not None:
            topic.schedule.ask(self._loop.now)
            self.plan(topic)

    def _lost(self) -> None:
        """Nothing is heard any more: read instead, each log every second, not all at the same moment."""
        for topic in self.topics.values():
            topic.schedule.away = True
            topic.schedule.due = min(topic.schedule.due, self._loop.now + random() * POLL)
            self.plan(topic)

    def _found(self) -> None:
        """Heard again: subscribe to everything; each confirmation is followed by a read."""
        for topic in self.topics.values():
            topic.schedule.away = False
        self.ear.listen(self.topics)


def _answers(topics: Iterable[Topic], question: Callable[[Book, list[str]], dict[str, Any]]) -> dict[Topic, Any]:
    books: dict[Book, dict[str, Topic]] = {}
    for topic in topics:
        books.setdefault(topic.book, {})[topic.key] = topic
    return {keyed[key]: answer for book, keyed in books.items() for key, answer in question(book, list(keyed)).items()}
