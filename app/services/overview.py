"""The service at a glance, for operators: what PostgreSQL and the breakers tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from app.domain.errors import LogDown
from app.services.upstream_status import UpstreamStatus, UpstreamStatuses
from app.store import admin_generations, overview
from app.store.database import Database
from app.store.overview import Backlog, WorkerCounts


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures at a time. ``census``: see ``admin_generations.census``. ``latency``: of PostgreSQL, in seconds.

    ``upstreams`` is None while the breakers cannot be read.
    """

    at: datetime
    latency: float
    census: Mapping[str, float]
    workers: WorkerCounts
    webhooks: Backlog
    upstreams: list[UpstreamStatus] | None


@dataclass(frozen=True, slots=True)
class Overviews:
    """Makes overviews. A worker is lost after ``lost`` seconds without a report."""

    database: Database
    upstreams: UpstreamStatuses
    lost: float

    def now(self, *, with_breakers: bool) -> Overview:
        """The figures of now. ``with_breakers``: the breakers in Redis are read, too. Raises DatabaseDown."""
        began = perf_counter()
        with self.database.operator() as tx:
            latency = perf_counter() - began
            workers = overview.workers(tx, self.lost)
        with self.database.without_user() as tx:
            census = admin_generations.census(tx, self.lost)
            webhooks = overview.webhooks(tx)
        upstreams = self._breakers() if with_breakers else None
        return Overview(datetime.now(UTC), latency, census, workers, webhooks, upstreams)

    def _breakers(self) -> list[UpstreamStatus] | None:
        try:
            return self.upstreams.every()
        except LogDown:
            return None
