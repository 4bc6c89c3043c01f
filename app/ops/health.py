"""The health of a web process and of the service behind it.

/healthz: the process replies. A supervisor restarts a process that does not. Stores do not count there: a database that
is away is no reason to kill web processes.

/readyz: requests to this process succeed, and answers are being made.
- PostgreSQL replies, is migrated and keeps users apart; the hub lives.
- A worker takes answers and has reported within WORKER_LOST_SECONDS; or one was drained within WORKER_GAP_SECONDS.
- No queued generation waits longer than STUCK_SECONDS while no generation runs.
- No running generation has been without a lease for longer than ABANDONED_SECONDS.
- A Redis that is away or full is reported and does not count: readers are served from PostgreSQL, which keeps new
  messages too. Full slots, lost workers and open breakers are reported and do not count either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import redis
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.domain.errors import DatabaseDown, StoreDown, UnbrokenError
from app.ops import verdicts
from app.ops.looking import Look, NoAnswer
from app.ops.redis_look import RedisFound, judge_redis, look_at_redis
from app.ops.verdicts import Census, judge, judge_stores
from app.services.upstream_status import UpstreamStatus
from app.store import admin_generations, isolation, overview, schema, workers
from app.store.database import Database

# Probes of several proxies cost the database one look a second.
FRESH_SECONDS = 1.0
# A probe waits this long for the stores; machines that probe give up after some seconds themselves.
PROBE_SECONDS = 2.0
# Seconds without a read of what was revoked, while PostgreSQL answers, that a report names.
BEHIND_SECONDS = 5.0
# The numbers of webhook deliveries.
BACKLOG = ("waiting", "oldest_seconds", "dead")
_ALEMBIC = Path(__file__).resolve().parents[2] / "alembic.ini"


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of one look. ``reasons`` make the service not ready; ``degraded`` lists gaps of a ready service.

    ``numbers`` (the load) and ``warnings`` (the reach of a taken-over process) are for administrators only. ``census``
    is empty when PostgreSQL did not reply, or has no schema for this code. ``redis`` is None without a reply.
    ``breakers`` has the state of each target's breaker; it is empty while a store does not reply.
    """

    ready: bool
    reasons: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    census: Census = field(default_factory=dict)
    redis: RedisFound | None = None
    breakers: dict[str, str] = field(default_factory=dict)

    def body(self, *, for_operators: bool = False) -> dict[str, Any]:
        """The report as JSON."""
        status = "ready" if self.ready else "not ready"
        shown = {"status": status, "reasons": self.reasons, "degraded": self.degraded, "checks": self.checks}
        return {**shown, "numbers": self.numbers, "warnings": self.warnings} if for_operators else shown


@dataclass(frozen=True, slots=True)
class _Found:
    """The findings of one look at PostgreSQL. ``breaches`` are the gaps in the isolation of users.
    ``reaches_everybody``: this login may take the role that sees the rows of every user.
    """

    revision: str | None
    migrated: bool
    census: Census
    breaches: Sequence[str] = ()
    reaches_everybody: bool = False


@dataclass(frozen=True, slots=True)
class FoundSchema:
    """``fits``: this code may run on the schema. ``revision`` is None before the first migration.

    ``reaches_everybody``: this login may take the role that sees the rows of every user.
    """

    revision: str | None
    fits: bool
    breaches: list[str]
    reaches_everybody: bool = False


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The dependencies of a web process. ``namespace`` begins the names of the keys in Redis.

    ``hub_lives`` returns True while live delivery works, ``revocations_age`` the seconds since the process has read
    what was revoked, ``upstreams`` the upstreams with their breakers.
    """

    database: Database
    redis: redis.Redis
    namespace: str
    hub_lives: Callable[[], bool]
    revocations_age: Callable[[], float]
    upstreams: Callable[[], list[UpstreamStatus]]


class Health:
    """Looks at the dependencies of a process. ``lost`` and ``gap`` are WORKER_LOST_SECONDS and WORKER_GAP_SECONDS."""

    def __init__(
        self,
        of: Dependencies,
        lost: float = admin_generations.LOST_SECONDS,
        gap: float = 10.0,
        *,
        one_login: bool = False,
    ) -> None:
        self._of = of
        self._lost = lost
        self._gap = gap
        self._one_login = one_login
        self._lock = Lock()
        self._report = Report(False)
        self._stale_at = 0.0
        self._database_look = Look("PostgreSQL", self._look_at_database)
        self._redis_look = Look("Redis", lambda: look_at_redis(of.redis, of.namespace))
        self._breakers_look = Look("Redis", lambda: _breakers(of.upstreams()))

    def report(self) -> Report:
        """The state of things, at most FRESH_SECONDS old."""
        with self._lock:
            if time.monotonic() >= self._stale_at:
                self._report = self._look()
                self._stale_at = time.monotonic() + FRESH_SECONDS
            return self._report

    def census(self) -> Census:
        """The numbers that PostgreSQL knows. Raises DatabaseDown within PROBE_SECONDS."""
        report = self.report()
        if not report.census:
            raise DatabaseDown(" ".join(report.reasons))
        return report.census

    def _look(self) -> Report:
        redis_look, breakers_look = self._redis_look.begin(), self._breakers_look.begin()
        until = time.monotonic() + PROBE_SECONDS
        report = self._judge_database()
        reasons, degraded, checks = report.reasons, report.degraded, report.checks
        checks["redis"], found = judge_redis(redis_look, until - time.monotonic())
        breakers = _found_breakers(breakers_look, until - time.monotonic()) if checks["database"] == "ok" else {}
        is_open = sorted(target for target, state in breakers.items() if state == "open")
        report.numbers["open_breakers"] = is_open
        degraded += judge_stores(checks["redis"], is_open)
        if checks["database"] == "ok" and self._of.revocations_age() > BEHIND_SECONDS:
            degraded.append(verdicts.BEHIND)
        if checks["database"] == "ok" and self._of.database.outages.refused_age < verdicts.REFUSED_SECONDS:
            degraded.append(verdicts.NO_DATABASE_WRITES)
        checks["hub"] = "ok" if self._of.hub_lives() else "dead"
        if checks["hub"] == "dead":
            reasons.append("The thread that serves streams has died.")
        return replace(report, ready=not reasons, redis=found, breakers=breakers)

    def _judge_database(self) -> Report:
        """The report as far as PostgreSQL decides it."""
        try:
            found = self._database_look.result(PROBE_SECONDS)
        except NoAnswer as error:
            return Report(False, [str(error)], checks={"database": "down"})
        except UnbrokenError as error:
            return Report(False, [error.detail], checks={"database": "down"})
        numbers = {"revision": found.revision, **found.census}
        if found.breaches:
            return Report(False, list(found.breaches), checks={"database": "not isolated"}, numbers=numbers)
        if not found.migrated:
            return Report(False, [verdicts.NOT_MIGRATED], checks={"database": "not migrated"}, numbers=numbers)
        reasons, degraded = judge(found.census)
        checks = {"database": "ok", "workers": "ok" if found.census["workers_alive"] else "none"}
        warnings = [ONE_LOGIN] if found.reaches_everybody else []
        return Report(False, reasons, degraded, checks, numbers, warnings, found.census)

    def _look_at_database(self) -> _Found:
        found = look_at_schema(self._of.database, one_login=self._one_login)
        if found.breaches or not found.fits:
            return _Found(found.revision, found.fits, {}, found.breaches)
        with self._of.database.without_user() as tx:
            counted = admin_generations.census(tx, self._lost)
            tally = workers.tally(tx, self._lost, self._gap)
            empty = float(admin_generations.empty_conversations(tx))
            backlog = overview.webhooks(tx)
        names = ("alive", "leaving", "lost", "drained")
        tallied = {f"workers_{name}": float(getattr(tally, name)) for name in names}
        webhooks = {f"webhooks_{name}": float(getattr(backlog, name) or 0) for name in BACKLOG}
        census = {**counted, **tallied, **webhooks, "slots": float(tally.slots), "conversations_empty": empty}
        return _Found(found.revision, True, census, reaches_everybody=found.reaches_everybody)


def _found_breakers(look: Callable[[float], dict[str, str]], seconds: float) -> dict[str, str]:
    """The states of the breakers; empty while a store does not reply."""
    try:
        return look(max(0.0, seconds))
    except (NoAnswer, StoreDown):
        return {}


def _breakers(upstreams: list[UpstreamStatus]) -> dict[str, str]:
    """The state of each target's breaker, by ``upstream/name``."""
    return {f"{one.name}/{target.name}": target.breaker.state for one in upstreams for target in one.targets}


ONE_LOGIN = (
    "DATABASE_LOGINS=one: the login of the web process may take the role unbroken_system. A web process that is taken "
    "over can read and change the rows of every user."
)


def look_at_schema(database: Database, *, sees_everybody: bool = False, one_login: bool = False) -> FoundSchema:
    """Compare the schema with this code, and look for gaps in the isolation. Raises DatabaseDown."""
    try:
        with database.without_user() as tx:
            revision, minimum = schema.revision(tx), schema.minimum_code_revision(tx)
            if not is_migrated(revision, minimum):
                return FoundSchema(revision, False, _refused(revision, minimum))
            breaches = isolation.breaches(tx, sees_everybody=sees_everybody, one_login=one_login)
            return FoundSchema(revision, True, breaches, isolation.reaches_everybody(tx))
    except DBAPIError as error:
        match getattr(error.orig, "pgcode", None):
            case "22023" | "42704":  # the role does not exist yet
                return FoundSchema(None, False, [])
            case "42501":
                reason = f"DATABASE_URL names a login without the roles of the service: {_said(error)}."
                return FoundSchema("unknown", False, [reason])
            case _:
                raise


def _said(error: DBAPIError) -> str:
    return str(error.orig).splitlines()[0]


def refusal(settings: Settings, *, sees_everybody: bool) -> str | None:
    """The reason against starting with this database. None without one, and while the database does not reply."""
    database = Database(settings.database_url, 1)
    try:
        one_login = settings.database_logins == "one"
        breaches = look_at_schema(database, sees_everybody=sees_everybody, one_login=one_login).breaches
    except DatabaseDown:
        return None
    finally:
        database.close()
    return "\n".join(breaches) or None


def is_migrated(revision: str | None, minimum: str | None) -> bool:
    """True when this code may run on the schema: at its own revision, or at a newer one that allows this code."""
    if revision is None or revision in _known():
        return revision is not None and revision == _head()
    return minimum in _known()


def _refused(revision: str | None, minimum: str | None) -> list[str]:
    """The reason for which a newer release's schema excludes this code; empty when only migrations are missing."""
    if revision is None or revision in _known():
        return []
    reason = (
        f"The database is at revision {revision}, and code that runs on it must know revision {minimum or revision}; "
        f"this release knows {_head()} at most."
    )
    return [reason]


@cache
def _scripts() -> ScriptDirectory:
    """The migrations. They import each other, and a program such as `celery` does not look where it was started."""
    return ScriptDirectory.from_config(Config(str(_ALEMBIC)))


@cache
def _head() -> str | None:
    return _scripts().get_current_head()


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in _scripts().walk_revisions())
