"""The service's numbers, as Prometheus reads them. Web and worker count with the same objects.

With PROMETHEUS_MULTIPROC_DIR set, each process writes its counts there, and whoever is asked adds them up;
without it, a process knows its own.
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
STREAMS_OPEN = Gauge("unbroken_streams_open", "Streams being served now", multiprocess_mode="livesum")
STREAMS_CLOSED = Counter("unbroken_streams_closed", "Ended streams by what ended them", ["reason"])
EVENTS_SENT = Counter("unbroken_stream_events_sent", "Events sent to clients, counted when their stream ends")

# Worker.
EVENTS_WRITTEN = Counter("unbroken_events_written", "Events written to the log; their rate is events per second")
FIRST_TOKEN_SECONDS = Histogram(
    "unbroken_first_token_seconds", "From acceptance to the first token", buckets=_FIRST_TOKEN_BUCKETS
)
GENERATION_SECONDS = Histogram(
    "unbroken_generation_seconds", "From acceptance to the end", ["status"], buckets=_TOTAL_BUCKETS
)
GENERATIONS_FINISHED = Counter("unbroken_generations_finished", "Ended generations", ["status"])
TAKEOVERS = Counter("unbroken_takeovers", "Generations continued after their worker had gone")
FENCED = Counter("unbroken_fenced", "Times a replaced writer was refused")
ERRORS = Counter("unbroken_generation_errors", "Failed generations", ["code"])

Census = Callable[[], dict[str, float]]


class CensusCollector(Collector):
    """What PostgreSQL knows about all generations, asked at each scrape. Says nothing while it does not answer."""

    def __init__(self, census: Census) -> None:
        self._census = census

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            counted = self._census()
        except Exception:  # a scrape must show the rest
            yield GaugeMetricFamily("unbroken_database_up", "Whether PostgreSQL answered this scrape", 0)
            return
        yield GaugeMetricFamily("unbroken_database_up", "Whether PostgreSQL answered this scrape", 1)
        for name, help_text in _CENSUS.items():
            yield GaugeMetricFamily(f"unbroken_generations_{name}", help_text, counted[name])


_CENSUS = {
    "queued": "Generations that wait for a worker",
    "running": "Generations at work",
    "oldest_queued_seconds": "How long the oldest of them has waited",
}


def exposition(census: Census) -> tuple[bytes, str]:
    """All numbers as text, and its content type."""
    registry = CollectorRegistry()
    registry.register(CensusCollector(census))
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not directory:
        return generate_latest(registry) + generate_latest(REGISTRY), CONTENT_TYPE_LATEST
    forget_the_dead(Path(directory).glob("gauge_live*_*.db"))
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def forget_the_dead(files: Iterable[Path]) -> None:
    """Remove the gauges of processes that were killed before anybody could do it for them."""
    for file in files:
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            with suppress(FileNotFoundError):
                file.unlink()


def serve(port: int, host: str = "0.0.0.0") -> None:
    """Show this process's numbers on a port of its own: for workers, which have no other door."""
    start_http_server(port, host)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
