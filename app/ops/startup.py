"""The reasons against starting a process, one sentence each. A store that is away for a while is no reason."""

from __future__ import annotations

import os
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2
import redis
import structlog

from app.config import Settings
from app.eventlog.client import redis_client
from app.ops.health import ONE_LOGIN, refusal
from app.store.logins import connect
from app.store.schema import too_old

OLDEST_REDIS = (6, 2)

_QUOTA = "TOKEN_QUOTA_PER_DAY is the earlier name of BUDGET_TOKENS_PER_DAY, and will be removed."

_ACCEPTED = """SELECT CAST(current_setting('max_connections') AS integer)
    - CAST(current_setting('superuser_reserved_connections') AS integer)
    - CAST(current_setting('reserved_connections') AS integer), pg_backend_pid()"""

_log = structlog.get_logger()


def reasons(settings: Settings, *, sees_everybody: bool) -> str | None:
    """All reasons against starting this process with these stores; None when it may start."""
    found = [postgresql_refusal(settings.database_url), redis_refusal(settings.redis_url)]
    if found[0] is None:
        found.insert(0, refusal(settings, sees_everybody=sees_everybody))
    return " ".join(reason.replace("\n", " ") for reason in found if reason) or None


def postgresql_refusal(url: str, variable: str = "DATABASE_URL") -> str | None:
    """The reason against this PostgreSQL. None without one, and when it does not reply: it may come back."""
    try:
        with closing(connect(url)) as connection:
            return too_old(connection.server_version, variable, place(url))
    except psycopg2.OperationalError:
        return None


def log_warnings(settings: Settings) -> None:
    """Log the weaknesses of a web process that may start, and its deprecated settings."""
    if settings.database_logins == "one":
        _log.warning("database login is shared", action="start", detail=ONE_LOGIN)
    if settings.token_quota_per_day is not None:
        _log.warning("setting is deprecated", action="start", detail=_QUOTA)
    if (detail := connections_warning(settings, int(os.environ.get("WEB_CONCURRENCY") or 2))) is not None:
        _log.warning("database connections may run out", action="start", detail=detail)


def connections_warning(settings: Settings, web_processes: int) -> str | None:
    """The warning that these processes and one worker may need more connections than PostgreSQL accepts.

    None when they need fewer, when PostgreSQL does not reply, and behind a pooler that gives its clients process ids of
    its own, as PgBouncer does: its limits decide. Other instances are not known here.
    """
    of_web, of_worker = web_processes * (2 * settings.database_pool + 1), 2 * settings.database_pool
    try:
        with closing(connect(settings.database_url)) as connection, connection.cursor() as cursor:
            cursor.execute(_ACCEPTED)
            accepted, process_id = cursor.fetchone()
            is_pooled = connection.info.backend_pid != process_id
    except psycopg2.Error:
        return None
    if is_pooled or of_web + of_worker <= accepted:
        return None
    return (
        f"{web_processes} web processes may take {of_web} connections, and each worker {of_worker} (DATABASE_POOL is "
        f"{settings.database_pool}); PostgreSQL accepts {accepted} (max_connections, without the reserved ones)."
    )


def redis_refusal(url: str) -> str | None:
    """The reason against this Redis. None without one, and when it does not reply: it may come back."""
    with closing(redis_client(url)) as client:
        try:
            about = client.info("server") | client.info("cluster")
        except redis.RedisError:
            return None
    where = place(url)
    if about.get("cluster_enabled"):
        return (
            f"REDIS_URL ({where}) is a Redis Cluster, which is not supported: a script here uses keys of several "
            "slots, and messages reach one node only. Use a single server, or one with replicas."
        )
    version = str(about.get("redis_version", ""))
    if version and _numbers(version) < OLDEST_REDIS:
        return f"REDIS_URL ({where}) is Redis {version}; version 6.2 is needed at least."
    return None


def place(url: str) -> str:
    """The host and port of an address, or its path, without its password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
