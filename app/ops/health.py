"""Whether this process can do its work, and whether work is being done at all.

/healthz: the process answers; restart it when it does not. Nothing else counts there: a database that is away is
no reason to kill web processes.
/readyz: requests to this process succeed (PostgreSQL answers and is migrated, the hub lives) and somebody works:
when the oldest queued generation waits longer than STUCK_SECONDS and no worker holds a valid lease on anything,
accepting more of them would be a lie. A Redis that is away is reported and does not count: readers are served
from PostgreSQL, and what is sent is kept there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import redis
from alembic.script import ScriptDirectory

from app.domain.errors import UnbrokenError
from app.store import generations, schema
from app.store.database import Database

STUCK_SECONDS = 15.0
# Probes of several proxies, and of whoever else finds the address, cost the database one look a second.
FRESH_SECONDS = 1.0
_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. ``reasons`` say why it is not ready; ``degraded`` what is missing although it is."""

    ready: bool
    reasons: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    checks: dict[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As JSON."""
        status = "ready" if self.ready else "not ready"
        return {"status": status, "reasons": self.reasons, "degraded": self.degraded, "checks": self.checks}


class Health:
    """Looks at what a web process depends on. ``hub_lives`` says whether live delivery works."""

    def __init__(self, database: Database, client: redis.Redis, hub_lives: Callable[[], bool]) -> None:
        self._database = database
        self._client = client
        self._hub_lives = hub_lives
        self._lock = Lock()
        self._report = Report(False)
        self._stale_at = 0.0

    def report(self) -> Report:
        """The state of things, at most FRESH_SECONDS old."""
        with self._lock:
            if time.monotonic() >= self._stale_at:
                self._report = self._look()
                self._stale_at = time.monotonic() + FRESH_SECONDS
            return self._report

    def census(self) -> dict[str, float]:
        """How many generations wait and run. Raises DatabaseDown."""
        with self._database.system() as tx:
            return generations.census(tx)

    def _look(self) -> Report:
        reasons, checks = self._look_at_database()
        degraded = []
        checks["redis"] = "ok" if self._redis_answers() else "down"
        if checks["redis"] == "down":
            degraded.append("Redis does not answer; streams are served from PostgreSQL.")
        checks["hub"] = "ok" if self._hub_lives() else "dead"
        if checks["hub"] == "dead":
            reasons.append("The thread that serves streams has died.")
        return Report(not reasons, reasons, degraded, checks)

    def _look_at_database(self) -> tuple[list[str], dict[str, Any]]:
        try:
            with self._database.system() as tx:
                revision = schema.revision(tx)
            if not is_migrated(revision):
                return ["The database is not migrated."], {"database": "not migrated", "revision": revision}
            census = self.census()
        except UnbrokenError as error:
            return [error.detail], {"database": "down"}
        checks = {"database": "ok", "revision": revision, "generations": census}
        return ([_STUCK] if is_stuck(census) else []), checks

    def _redis_answers(self) -> bool:
        try:
            return bool(self._client.ping())
        except redis.RedisError:
            return False


_STUCK = f"Generations have been queued for more than {STUCK_SECONDS:.0f} seconds and no worker is at work."


def is_stuck(census: dict[str, float]) -> bool:
    """Whether generations wait although nobody is working on any."""
    return census["oldest_queued_seconds"] > STUCK_SECONDS and not census["working"]


def is_migrated(revision: str | None) -> bool:
    """Whether this code can work with the database. A later revision than ours is one that a newer release made."""
    return revision is not None and (revision == _head() or revision not in _known())


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


@cache
def _head() -> str | None:
    return _scripts().get_current_head()


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in _scripts().walk_revisions())
