"""The reading of revocations as Prometheus metrics: `unbroken_revocations_…`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from app.services.revocations import Revocations

READ = Counter("unbroken_revocations_read", "Revoked names that web processes have read, counted in each of them")
AGE = Gauge(
    "unbroken_revocations_age_seconds",
    "Seconds since the web process that is furthest behind has read what was revoked",
    multiprocess_mode="livemax",
)


class RevocationMetrics:
    """The metrics of a process. It calls ``publish`` after each read, whether or not that succeeded."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._published = 0

    def publish(self) -> None:
        """Update the metrics."""
        count, self._published = self._revocations.count - self._published, self._revocations.count
        READ.inc(count)
        AGE.set(self._revocations.age)
