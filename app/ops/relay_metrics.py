"""The relay's counts as Prometheus metrics: `unbroken_relay_…`."""

from __future__ import annotations

from threading import Lock
from time import monotonic

from prometheus_client import Counter, Gauge, Histogram

from app.relay.stats import RelayStats

# By the field of RelayStats: the counter's help text.
HELP = {
    "streams_opened": "Streams that the relay has begun to send",
    "events_received": "Events that arrived over the subscription",
    "bytes_sent": "Bytes of events that sockets took",
    "resyncs": "Times a published event was not the successor of the last one held, so that the log was read",
    "log_reads": "Reads of logs",
    "backfills": "Pages of logs read for streams that the events held here did not reach",
    "replays": "Streams that were sent older events before they were up to date",
    "events_replayed": "Events sent to streams before those were up to date",
    "redis_reconnects": "Times the subscription was built again",
    "canary_failures": "Times the subscription no longer carried the relay's own message",
    "failures": "Exceptions that cost one connection, one log or one call",
    "stalled": "Streams cut because their client took nothing for a minute",
    "reports_dropped": "Log lines of ended streams that were dropped because the log took none",
}
COUNTERS = {field: Counter(f"unbroken_relay_{field}", text) for field, text in HELP.items()}
# By the field of RelayStats: the gauge's help text.
GAUGE_HELP = {
    "streams_behind": "Streams that have not been sent everything yet",
    "events_behind": "Events that those streams lack of what their process holds",
    "bytes_held": "Bytes held for sockets that took less than their stream had",
}
GAUGES = {
    field: Gauge(f"unbroken_relay_{field}", text, multiprocess_mode="livesum") for field, text in GAUGE_HELP.items()
}
DELIVERY_SECONDS = Histogram(
    "unbroken_relay_delivery_seconds",
    "From the publication of a message to its arrival, measured with one message a second and process",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
SILENT_SECONDS = Gauge(
    "unbroken_relay_silent_seconds",
    "Seconds since the subscription has proved itself, of the process that is worst off",
    multiprocess_mode="livemax",
)

COLLECTING_SECONDS = Gauge(
    "unbroken_relay_collecting_seconds",
    "Seconds for which a busy process collects events before it sends them, of the process that is worst off",
    multiprocess_mode="livemax",
)


class RelayMetrics:
    """The metrics of a process, to which it adds its relay's new counts."""

    def __init__(self, stats: RelayStats) -> None:
        self._stats = stats
        self._published = dict.fromkeys(HELP, 0)
        self._lock = Lock()
        self._began = monotonic()

    def publish(self) -> None:
        """Update the metrics. A process calls this once a second, and at a scrape that it serves."""
        with self._lock:
            for field, counter in COUNTERS.items():
                now = getattr(self._stats, field)
                counter.inc(now - self._published[field])
                self._published[field] = now
            for field, gauge in GAUGES.items():
                gauge.set(getattr(self._stats, field))
            while self._stats.canary_seconds:
                DELIVERY_SECONDS.observe(self._stats.canary_seconds.popleft())
            COLLECTING_SECONDS.set(self._stats.collecting_seconds)
            SILENT_SECONDS.set(monotonic() - max(self._began, self._stats.canary_at))
