"""A deployment to be broken: own stores, two workers with few slots, a web process, a provider, Prometheus."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dev.postgres import Postgres
from dev.server import HOST, free_port
from dev.valkey import Valkey
from tests.alerts.monitoring import OPENER, Prometheus
from tests.failover.rig import Rig, rig
from tests.logins import migrate, remember
from tests.stack import Web, Worker, until

SLOTS = 4
SETTINGS = {
    "WORKER_CONCURRENCY": SLOTS,
    # As in production: a takeover takes half a minute, and a breaker stays open as long.
    "LEASE_SECONDS": 30,
    "HEARTBEAT_SECONDS": 5,
    "SWEEP_SECONDS": 2,
    "MAX_STREAMS_PER_USER": 1000,
}


@dataclass
class Deployment:
    """The parts. ``ports`` are those at which the workers show their metrics; a new worker takes a free one of them."""

    rig: Rig
    postgres: Postgres
    valkey: Valkey
    web: Web
    workers: dict[int, Worker]
    prometheus: Prometheus

    def call(self, path: str) -> tuple[int, Any]:
        """The status and the JSON of a GET by an administrator; 0 without a reply."""
        token = self.rig.stack.token("operator", role="admin")
        request = urllib.request.Request(self.web.url + path, headers={"Authorization": f"Bearer {token}"})
        try:
            with OPENER.open(request, timeout=15) as response:
                is_json = response.headers.get_content_type() == "application/json"
                return response.status, json.load(response) if is_json else {}
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def restart_workers(self) -> None:
        """Start a worker at each port without one, and remove the rows of those that were killed."""
        for port, worker in self.workers.items():
            if not worker.alive:
                self.workers[port] = self.rig.stack.worker(SLOTS, WORKER_METRICS_PORT=port)
        names = [worker.name for worker in self.workers.values()]
        with self.rig.stack.resources.database.system() as tx:
            tx.execute(text("DELETE FROM workers WHERE NOT name = ANY(:names)"), {"names": names})

    def is_well(self) -> bool:
        """True when /readyz names no gap."""
        status, report = self.call("/readyz")
        return status == 200 and not report["degraded"]


@contextmanager
def deployment(directory: Path) -> Iterator[Deployment]:
    """A whole deployment that works, scraped by a Prometheus. Everything ends with the block."""
    postgres, valkey = Postgres(directory / "postgres", settings={"fsync": "off"}), Valkey(directory / "valkey")
    try:
        postgres.start(timeout=120)
        valkey.start(timeout=120)
        remember(postgres)
        postgres.ensure_database()
        migrate(postgres.url())
        with rig(directory, postgres.url(), valkey.url(), **SETTINGS) as made:
            workers = {port: made.stack.worker(SLOTS, WORKER_METRICS_PORT=port) for port in (free_port(), free_port())}
            web = made.stack.web()
            targets = {
                "unbroken-web": [web.url.removeprefix("http://")],
                "unbroken-worker": [f"{HOST}:{port}" for port in workers],
            }
            prometheus = Prometheus(directory / "prometheus", targets)
            try:
                prometheus.start()
                deployed = Deployment(made, postgres, valkey, web, workers, prometheus)
                until(deployed.is_well, 60, "a service without gaps")
                yield deployed
            finally:
                prometheus.stop()
    finally:
        valkey.kill()
        postgres.kill()
