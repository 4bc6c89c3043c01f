"""How long the hub collects the events of a log while its thread is busy.

A ``write`` costs the hub the same for one event as for eight. While the thread has time, each event is sent in the
round in which it came. A busy thread collects for some hundredths of a second first, so that it sends less often: the
tokens of an answer come a little later, and the process has room for more readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

from app.relay.event_loop import EventLoop
from app.relay.stats import RelayStats
from app.relay.topic import Topic

# Above this share of its time at work the hub collects for longer, below the other one more briefly.
BUSY, AT_EASE = 0.5, 0.35
# The shortest and the longest time of collecting, in seconds.
SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.02, 0.1


class Pacing:
    """Collects the topics that have events, for a time that follows the loop's share of work.

    ``interval`` is that time in seconds; 0.0 collects nothing. ``deliver`` receives each topic when its time is over,
    and must not raise. Belongs to the hub's thread.
    """

    def __init__(self, loop: EventLoop, stats: RelayStats, deliver: Callable[[Topic], None]) -> None:
        self.interval = 0.0
        self._loop = loop
        self._stats = stats
        self._deliver = deliver
        # Topics that wait, some of them twice, and the time of their delivery.
        self.collected: list[Topic] = []
        self.deliver_at = inf
        self._looked_at = loop.now
        self._idle_then = loop.idle

    def due(self, topics: list[Topic]) -> Iterator[Topic]:
        """Those of ``topics`` that are to be delivered now. The others are collected.

        The end of an answer, and the first event that a connection gets, do not wait.
        """
        for topic in topics:
            if not self.interval or topic.fresh or topic.tail.complete:
                yield topic
                continue
            if not self.collected:
                self.deliver_at = self._loop.now + self.interval
                self._loop.at(self.deliver_at, self._deliver_collected)
            self.collected.append(topic)

    def adapt(self) -> None:
        """Compare the work since the last call with the limits, and change the interval by one step at most."""
        now, idle = self._loop.now, self._loop.idle
        elapsed = now - self._looked_at
        if elapsed <= 0:
            return
        share = 1.0 - (idle - self._idle_then) / elapsed
        self._looked_at, self._idle_then = now, idle
        if share > BUSY:
            self.interval = min(max(self.interval * 2, SHORTEST_INTERVAL), LONGEST_INTERVAL)
        elif share < AT_EASE:
            shorter = self.interval / 2
            self.interval = shorter if shorter >= SHORTEST_INTERVAL else 0.0
        self._stats.collecting_seconds = self.interval

    def _deliver_collected(self) -> None:
        collected, self.collected, self.deliver_at = self.collected, [], inf
        for topic in collected:
            self._deliver(topic)
