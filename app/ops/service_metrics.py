"""The numbers of the whole service that a scrape of a web process looks up: readiness, Redis, breakers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.ops.health import Report

# The states of a breaker as a gauge shows them.
STATES = {"closed": 0, "half_open": 1, "open": 2}


class ServiceCollector(Collector):
    """Every web process shows the numbers of the service, so a query takes their maximum or minimum and no sum."""

    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See Collector.collect."""
        report = self._report()
        yield GaugeMetricFamily("unbroken_ready", "Whether /readyz is 200", float(report.ready))
        yield GaugeMetricFamily("unbroken_degraded", "Gaps of the service that /readyz names", len(report.degraded))
        yield GaugeMetricFamily("unbroken_redis_up", "Whether Redis answers", float(report.redis is not None))
        if report.redis is not None:
            found = report.redis
            yield GaugeMetricFamily("unbroken_redis_writable", "Whether Redis takes writes", float(found.is_writable))
            yield GaugeMetricFamily("unbroken_redis_memory_bytes", "Memory that Redis uses", found.used)
            yield GaugeMetricFamily("unbroken_redis_memory_limit_bytes", "maxmemory of Redis; 0 is none", found.limit)
        breakers = GaugeMetricFamily(
            "unbroken_breaker_state", "The breaker of a target: 0 closed, 1 half-open, 2 open", labels=["target"]
        )
        for target, state in report.breakers.items():
            breakers.add_metric([target], STATES[state])
        yield breakers
