"""The service's numbers, as Prometheus reads them. Web and worker count with the same objects.

With PROMETHEUS_MULTIPROC_DIR set, each process writes its counts into that directory, and the process that serves a
scrape adds them up. Without it a scrape shows the counts of one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 120)
_TOTAL_BUCKETS = (0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1800)

# Web.
HTTP_REQUESTS = Counter("unbroken_http_requests", "Answered requests", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "unbroken_http_request_seconds",
    "Time to answer a request; of a stream, until it began",
    ["method", "route"],
    buckets=_REQUEST_BUCKETS,
)
GENERATIONS_STARTED = Counter("unbroken_generations_started", "Accepted generations, repeats not counted")
BUDGET_WARNINGS = Counter(
    "unbroken_budget_warnings", "Budgets that were nearly used up at a request, each once", ["of", "period"]
)
STREAMS_OPEN = Gauge("unbroken_streams_open", "Streams being served now", multiprocess_mode="livesum")
STREAMS_CLOSED = Counter("unbroken_streams_closed", "Ended streams by what ended them", ["reason"])
EVENTS_SENT = Counter("unbroken_stream_events_sent", "Events sent to clients, counted when their stream ends")
STREAM_CONNECTS = Counter(
    "unbroken_stream_connects",
    "Requests for streams by position (start, cursor) and outcome (opened, complete, refused, failed)",
    ["position", "outcome"],
)
FEED_REPLAYED = Counter("unbroken_feed_events_replayed", "Missed events that feeds have sent when they were opened")
DOORBELLS_LOST = Counter(
    "unbroken_doorbells_lost", "Tasks that the broker has not taken; a sweep begins their generations"
)

# Worker.
EVENTS_WRITTEN = Counter("unbroken_events_written", "Events written to the log; their rate is events per second")
CLAIMS = Counter("unbroken_claims", "Claims of generations by epoch: the first, and later ones", ["epoch"])
CLAIM_SECONDS = Histogram("unbroken_claim_seconds", "From acceptance to the first claim", buckets=_FIRST_TOKEN_BUCKETS)
FIRST_TOKEN_SECONDS = Histogram(
    "unbroken_first_token_seconds", "From acceptance to the first token", buckets=_FIRST_TOKEN_BUCKETS
)
TITLE_SECONDS = Histogram(
    "unbroken_title_seconds", "From acceptance to the conversation's title", buckets=_FIRST_TOKEN_BUCKETS
)
WORKER_SLOTS = Gauge("unbroken_worker_slots", "Slots of the worker", multiprocess_mode="livesum")
WORKER_RUNNING = Gauge("unbroken_worker_running", "Generations at work in the worker", multiprocess_mode="livesum")
CHECKPOINT_LAG = Gauge(
    "unbroken_checkpoint_lag_seconds",
    "The longest time for which events of an answer have waited for a checkpoint",
    multiprocess_mode="livemax",
)
RENEWALS_LATE = Counter(
    "unbroken_lease_renewals_late", "Renewals of leases that came more than two HEARTBEAT_SECONDS after the last one"
)
DOORBELLS_AGAIN = Counter(
    "unbroken_doorbells_again",
    "Doorbells sent again: owed to a generation that still waits, or for one that was handed on",
    ["reason"],
)
SWEPT = Counter("unbroken_swept_generations", "Generations begun by a sweep: no doorbell or no lease was in force")
GENERATION_SECONDS = Histogram(
    "unbroken_generation_seconds", "From acceptance to the end", ["status"], buckets=_TOTAL_BUCKETS
)
GENERATIONS_FINISHED = Counter("unbroken_generations_finished", "Ended generations", ["status"])
TAKEOVERS = Counter("unbroken_takeovers", "Generations continued after their worker had gone")
FENCED = Counter("unbroken_fenced", "Times a replaced writer was refused")
EVENTS_SKIPPED = Counter("unbroken_upstream_events_skipped", "Events of upstreams that were no JSON objects")
ATTEMPTS = Counter("unbroken_attempts", "Ended calls of configured models by target and outcome", ["target", "outcome"])
FAILOVERS = Counter(
    "unbroken_failovers", "Changes of an answer to another target, by the target that was left", ["target"]
)
MESSAGES_DROPPED = Counter(
    "unbroken_broker_messages_dropped", "Messages of the broker that are no tasks of ours", ["reason"]
)
WEBHOOK_DELIVERIES = Counter(
    "unbroken_webhook_deliveries",
    "Claimed webhook deliveries by outcome: delivered, retried, dead, replaced",
    ["outcome"],
)
WEBHOOK_SECONDS = Histogram(
    "unbroken_webhook_seconds", "Time of an attempt to deliver a webhook", buckets=_REQUEST_BUCKETS
)
ERRORS = Counter("unbroken_generation_errors", "Failed generations", ["code"])

# Series that exist before their first event: the first increase of a series that appears with it is in no rate.
for _epoch in ("first", "later"):
    CLAIMS.labels(_epoch)
for _reason in ("owed", "handed_on"):
    DOORBELLS_AGAIN.labels(_reason)
for _status in ("completed", "error", "cancelled"):
    GENERATIONS_FINISHED.labels(_status)
ERRORS.labels("attempts_exhausted")
for _position in ("start", "cursor"):
    for _outcome in ("opened", "complete", "refused", "failed"):
        STREAM_CONNECTS.labels(_position, _outcome)

Census = Callable[[], dict[str, float]]


class CensusCollector(Collector):
    """The numbers of all generations, queried from PostgreSQL at each scrape; absent while it does not reply."""

    def __init__(self, census: Census) -> None:
        self._census = census

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            counted = self._census()
        except Exception:  # a scrape must show the other metrics
            yield GaugeMetricFamily("unbroken_database_up", "Whether PostgreSQL answered this scrape", 0)
            return
        yield GaugeMetricFamily("unbroken_database_up", "Whether PostgreSQL answered this scrape", 1)
        for key, (name, help_text) in _CENSUS.items():
            if key in counted:
                yield GaugeMetricFamily(f"unbroken_{name}", help_text, counted[key])


# By the census's name: the metric, and its help text.
_CENSUS = {
    "queued": ("generations_queued", "Generations that wait for a worker"),
    "running": ("generations_running", "Generations at work"),
    "oldest_queued_seconds": ("generations_oldest_queued_seconds", "How long the oldest of them has waited"),
    "stuck": ("generations_stuck", "Running without a lease or with a lost worker, or queued for more than 15 seconds"),
    "working": ("generations_leased", "Running generations whose lease is in force"),
    "abandoned_seconds": ("generations_abandoned_seconds", "The longest time that a running one has had no lease"),
    "workers_alive": ("workers_alive", "Workers that report and take generations"),
    "workers_leaving": ("workers_leaving", "Workers that drain, or have drained a moment ago"),
    "workers_lost": ("workers_lost", "Workers that have stopped reporting within the last ten minutes"),
    "slots": ("slots", "Slots of the workers that take generations"),
    "conversations_empty": ("conversations_empty", "Conversations of the last ten minutes that have no message"),
    "webhooks_waiting": ("webhooks_waiting", "Webhook deliveries that wait for an attempt, also for a later one"),
    "webhooks_oldest_seconds": ("webhooks_oldest_seconds", "How long the most overdue of them has been due"),
    "webhooks_dead": ("webhooks_dead", "Webhook deliveries that are given up and may be replayed"),
    "workers_drained": ("workers_drained", "Living workers that an operator has requested to drain"),
}


def exposition(census: Census, *others: Collector) -> tuple[bytes, str]:
    """All metrics as text, and the text's content type. ``others`` collect what belongs to the whole service."""
    registry = CollectorRegistry()
    registry.register(CensusCollector(census))
    for collector in others:
        registry.register(collector)
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not directory:
        return generate_latest(registry) + generate_latest(REGISTRY), CONTENT_TYPE_LATEST
    forget_the_dead(Path(directory).glob("gauge_live*_*.db"))
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def forget_the_dead(files: Iterable[Path]) -> None:
    """Remove the gauges of processes that were killed before they could remove them."""
    for file in files:
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            with suppress(FileNotFoundError):
                file.unlink()


def serve(port: int, host: str = "0.0.0.0") -> None:
    """Serve this process's metrics on a port of their own, for workers, which have no HTTP server."""
    start_http_server(port, host)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
