"""Blocking reads of logs, made in threads; their results return to the hub's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from app.domain.cursor import Cursor
from app.domain.errors import StoreDown
from app.relay.event_loop import EventLoop
from app.relay.log_type import LogType
from app.relay.reports import Reports
from app.relay.stats import RelayStats
from app.relay.tail import Tail
from app.relay.thread_pool import Pool, ThreadPool
from app.relay.topic import Topic

Page = tuple[Tail, bool]


class LogReader:
    """Reads pages of logs, and queries the store about several logs at once. Belongs to the hub's thread."""

    def __init__(self, loop: EventLoop, stats: RelayStats, reports: Reports, threads: int) -> None:
        self._loop = loop
        self._stats = stats
        self._reports = reports
        self.readings: Pool = ThreadPool("relay-read", threads)
        # Dialling, the canary, and the two queries never wait for each other: each has at most one under way.
        self.chores: Pool = ThreadPool("relay-chore", 4)
        self._report_at = 0.0

    def close(self) -> None:
        """End the threads."""
        self.readings.close()
        self.chores.close()

    def run(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run a blocking ``job`` that is not a read of a log; ``then`` receives its result or exception."""
        self._loop.run_in(self.chores, job, then)

    def read_page(self, topic: Topic, after: Cursor, then: Callable[[Page | Exception], None]) -> None:
        """Read and encode a page of the log. ``then`` receives the page and True when it is full, or an exception."""
        self._stats.log_reads += 1
        tail, limit, source, key = topic.tail, topic.log_type.page, topic.log_type.source, topic.key

        def read() -> Page:
            entries = source.read(key, after, limit)
            return tail.page(after, entries), len(entries) >= limit

        self._loop.run_in(self.readings, read, then)

    def query(
        self,
        topics: list[Topic],
        question: Callable[[LogType, list[str]], dict[str, Any]],
        then: Callable[[dict[Topic, Any] | Exception], None],
    ) -> None:
        """Make one query for the logs of each type. ``then`` receives the results by topic, or an exception."""
        self.run(lambda: _query_by_type(topics, question), then)

    def report_failure(self, topic: Topic, error: Exception) -> None:
        """Log a failed read, once a second at most: while the stores are away, every log has the same error."""
        if self._loop.now >= self._report_at:
            self._report_at = self._loop.now + 1.0
            unknown = None if isinstance(error, StoreDown) else error
            fields = {**topic.name(), "error": str(error), "exc_info": unknown}
            self._reports.warn("log not read", "log_read_failed", **fields)


def _query_by_type(
    topics: Iterable[Topic], question: Callable[[LogType, list[str]], dict[str, Any]]
) -> dict[Topic, Any]:
    by_type: dict[LogType, dict[str, Topic]] = {}
    for topic in topics:
        by_type.setdefault(topic.log_type, {})[topic.key] = topic
    return {
        keyed[key]: answer
        for log_type, keyed in by_type.items()
        for key, answer in question(log_type, list(keyed)).items()
    }
