"""No process takes more connections than docs/deploy.md says, and a web process warns of too many."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import redis

from app.ops.startup import connections_warning
from dev.postgres import WEB, WORKER, Postgres
from tests.factories import owner
from tests.fakes.pgbouncer import PgBouncer, binary
from tests.stack import Stack

POOL = 2
THREADS = 8
OF_WEB, OF_WORKER = 2 * POOL + 1, 2 * POOL
REDIS_OF_WEB, REDIS_OF_WORKER = 2 * THREADS + 24, 96


@contextmanager
def watched(stack: Stack, database_url: str) -> Iterator[Counter[str]]:
    """The most connections of each login, and to Redis, that were there at once within the block."""
    most: Counter[str] = Counter()
    is_over = Event()

    def look() -> None:
        with redis.Redis.from_url(stack.variables["REDIS_URL"]) as client, owner(database_url) as cursor:
            before = len(client.client_list())
            while not is_over.wait(0.02):
                cursor.execute("ROLLBACK; SELECT usename FROM pg_stat_activity WHERE datname = current_database()")
                found = Counter(name for (name,) in cursor.fetchall())
                found["redis"] = len(client.client_list()) - before
                most.update({name: n - most[name] for name, n in found.items() if n > most[name]})

    thread = Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        is_over.set()
        thread.join(30)


@pytest.mark.slow
def test_processes_under_load_keep_their_budget(stack: Stack, database_url: str) -> None:
    def look_at_list(token: str) -> None:
        request = urllib.request.Request(
            f"{web.url}/api/v1/conversations", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()

    with watched(stack, database_url) as most:
        web = stack.web(threads=THREADS, DATABASE_POOL=POOL)
        token = stack.token()
        with ThreadPoolExecutor(3 * THREADS) as people:
            list(people.map(look_at_list, [token] * 400))
        of_redis = most["redis"]
        # This process has connections of its own, as the login of the workers: none is open when the worker is counted.
        assert most[WEB] <= OF_WEB
        assert of_redis <= REDIS_OF_WEB
    assert most[WEB] > POOL, "the load was no load"
    started = [stack.start(f"message {n}", model="offline") for n in range(20)]
    stack.resources.database.close()
    with watched(stack, database_url) as most:
        stack.worker(DATABASE_POOL=POOL)
        with ThreadPoolExecutor(3 * THREADS) as people:
            list(people.map(look_at_list, [token] * 100))
    ours = 1
    with watched(stack, database_url) as both:
        for one in started:
            stack.finished(one.generation.id)
    assert most[WORKER] <= OF_WORKER
    assert both[WORKER] <= OF_WORKER + ours
    assert both[WEB] <= OF_WEB
    assert most["redis"] <= REDIS_OF_WORKER + REDIS_OF_WEB - of_redis


@pytest.mark.parametrize(("pool", "warns"), [(10, False), (32, False), (33, True), (60, True)])
def test_a_sum_that_postgresql_does_not_accept_is_said(stack: Stack, pool: int, warns: bool) -> None:
    """The server of the tests accepts 197."""
    found = connections_warning(stack.settings.model_copy(update={"database_pool": pool}), 2)
    assert (found is not None) == warns
    if pool == 60:
        assert str(found).startswith(
            "2 web processes may take 242 connections, and each worker 120 (DATABASE_POOL is 60);"
        )
        assert "accepts 197" in str(found)


@pytest.mark.skipif(binary() is None, reason="pgbouncer is not installed")
def test_behind_a_pooler_no_sum_is_said(stack: Stack, postgres: Postgres, tmp_path: Path) -> None:
    """The pooler's own limits decide how many connections PostgreSQL has to accept."""
    with PgBouncer(tmp_path / "pooler", postgres) as pooler:
        url = pooler.url(stack.settings.database_url)
        settings = stack.settings.model_copy(update={"database_pool": 60})
        assert connections_warning(settings, 2) is not None
        assert connections_warning(settings.model_copy(update={"database_url": url}), 2) is None
