"""Counts of the relay of one process since it began."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# Canaries whose time is kept until it is taken; one is published each second.
MOST_CANARIES = 300


@dataclass(slots=True)
class RelayStats:
    """Counts, written by the hub's thread and read by any."""

    streams_opened: int = 0
    # Events received from Redis; events and bytes sent to clients.
    events_received: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0
    # Published events that did not follow the newest one held.
    resyncs: int = 0
    log_reads: int = 0
    # Pages read for consumers that the tail did not reach.
    backfills: int = 0
    # Streams that were sent older events before they were up to date, and those events.
    replays: int = 0
    events_replayed: int = 0
    # Subscriptions built, and subscriptions on which nothing arrived after a canary.
    redis_connects: int = 0
    canary_failures: int = 0
    # Seconds from the publication of a canary to its arrival, and the time of the last arrival (the loop's clock).
    canary_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_CANARIES))
    canary_at: float = 0.0
    # Connections that are not up to date, the events that those lack of what is held here, and the bytes held for them.
    streams_behind: int = 0
    events_behind: int = 0
    bytes_held: int = 0
    # The time for which a busy hub collects the events of a log before it sends them.
    collecting_seconds: float = 0.0
    # Exceptions stopped at a boundary: each cost one connection, one log or one call.
    failures: int = 0
    # Connections cut because their client took nothing for a minute.
    stalled: int = 0
    # Log lines of ended streams that were dropped because the log took none.
    reports_dropped: int = 0

    @property
    def redis_reconnects(self) -> int:
        """The number of times the subscription was built again."""
        return max(self.redis_connects - 1, 0)
