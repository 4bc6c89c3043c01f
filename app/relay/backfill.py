"""Pages of the log for consumers that the tail does not reach."""

from __future__ import annotations

from app.domain.cursor import Cursor
from app.relay.event_loop import EventLoop
from app.relay.log_cursor import LogConsumer
from app.relay.log_reader import LogReader, Page
from app.relay.read_backoff import POLL
from app.relay.stats import RelayStats
from app.relay.tail import Tail
from app.relay.topic import Topic, TopicListener

# Bytes kept of one log; a page is put in front of a tail only up to this.
TAIL_BYTES = 1_048_576

Wanted = tuple[Topic, Cursor]


class Backfill:
    """Consumers waiting for a page, keyed by the topic and the cursor the page starts at. Belongs to the hub's thread.

    ``listener`` is set before the first call.
    """

    listener: TopicListener

    def __init__(self, loop: EventLoop, reader: LogReader, stats: RelayStats) -> None:
        self._loop = loop
        self._reader = reader
        self._stats = stats
        self._waiting: dict[Wanted, dict[LogConsumer, None]] = {}

    def want(self, topic: Topic, consumer: LogConsumer) -> None:
        """Read a page for this consumer; consumers at one position share it."""
        wanted = topic, consumer.cursor
        consumers = self._waiting.setdefault(wanted, {})
        consumers[consumer] = None
        if len(consumers) == 1:
            self._read(wanted)

    def is_waiting(self, topic: Topic, consumer: LogConsumer) -> bool:
        """True while a page is being read for this consumer."""
        return consumer in self._waiting.get((topic, consumer.cursor), ())

    def _read(self, wanted: Wanted) -> None:
        self._stats.backfills += 1
        self._reader.read_page(*wanted, lambda outcome: self._have_read(wanted, outcome))

    def _have_read(self, wanted: Wanted, outcome: Page | Exception) -> None:
        topic, _ = wanted
        try:
            self._hand_out(wanted, outcome)
        except Exception as error:
            self._waiting.pop(wanted, None)
            self.listener.on_failed(topic, error)

    def _hand_out(self, wanted: Wanted, outcome: Page | Exception) -> None:
        topic, after = wanted
        consumers = [one for one in self._waiting.get(wanted, ()) if self.listener.wants_page(one)]
        if not consumers:
            self._waiting.pop(wanted, None)
            return
        if isinstance(outcome, Exception):
            self._reader.report_failure(topic, outcome)
            self._loop.at(self._loop.now + POLL, self._read, wanted)
            return
        page, more = outcome
        if not topic.tail.extend_back(page, TAIL_BYTES) and page.end == after and not topic.tail.covers(after):
            # The log ends before the tail: it lost its newest events, and its writer appends them again.
            self._loop.at(self._loop.now + POLL / 2, self._read, wanted)
            return
        del self._waiting[wanted]
        page.complete = page.complete and not more
        for consumer in consumers:
            self._give(topic, consumer, page)

    def _give(self, topic: Topic, consumer: LogConsumer, page: Tail) -> None:
        # An earlier consumer of this loop may have caused this one to be dropped or blocked.
        if self.listener.wants_page(consumer):
            if not topic.tail.covers(consumer.cursor):
                consumer.feed(page)
            self.listener.on_page(consumer)
