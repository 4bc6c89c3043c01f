"""Fixtures of real servers. A server is started for the first test that requests it."""

from __future__ import annotations

import gc
import os
import re
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
import redis
from hypothesis.internal.conjecture import engine

from app.store import database
from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.logins import migrate, remember
from tests.stack import Stack

# The duration of an example depends more on the machine than on the code. A failure prints the way to repeat it.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("unhurried")
# Seconds for making a failing example smaller; Hypothesis has no public setting and takes five minutes.
engine.MAX_SHRINKING_SECONDS = 30

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = "template_migrated"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without searches for garbage: tests stay loaded, and are not searched again while they run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each process of xdist begin with its share of the slow tests: none of them is left for the end of the run.

    xdist divides the list into one part for each process, in its order. Idle processes steal from the ends of parts.
    Modules that are slow as a whole stay together: their tests share servers.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if _is_slow(item)]
    others = iter([item for item in items if not _is_slow(item)])
    ordered: list[pytest.Item] = []
    for number in range(processes):
        share = slow[number::processes]
        size = (len(items) - len(ordered)) // (processes - number)
        ordered += [*share, *islice(others, max(0, size - len(share)))]
    items[:] = [*ordered, *others]


def _is_slow(item: pytest.Item) -> bool:
    return any(marker.name == "slow" for marker in item.own_markers)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server of this test run. A lock that is never released fails the test instead of hanging it."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), settings={"fsync": "off", "lock_timeout": "20s"})
    server.start(timeout=120)
    remember(server)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey server of this test run."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start(timeout=120)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres: Postgres) -> str:
    """The name of a database with all migrations applied, to be copied."""
    postgres.ensure_database(TEMPLATE)
    migrate(postgres.url(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """The address of a migrated database for this test alone, with the login of the workers."""
    yield from cloned_database(postgres, migrated_template)


@pytest.fixture(scope="module")
def module_database_url(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """The address of a migrated database for all tests of a module, with the login of the workers."""
    yield from cloned_database(postgres, migrated_template)


def cloned_database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    postgres.clone_database(template, name)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def patient_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the transactions of this process wait for locks as long as a busy machine needs. The service allows 3 s."""
    for name in ("AS_USER", "AS_OPERATOR", "AS_SYSTEM"):
        opening, waits = re.subn(r"('(?:lock|statement)_timeout', )'\ds'", r"\1'60s'", getattr(database, name))
        assert waits == 2
        monkeypatch.setattr(database, name, opening)


@pytest.fixture
def one_day() -> None:
    """Wait, in the last minute of a day, for the next one: usage is counted per day and month of UTC."""
    now = datetime.now(UTC)
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    if tomorrow - now < timedelta(minutes=1):
        time.sleep((tomorrow - now).total_seconds())


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    """The address of an empty Valkey."""
    with redis.Redis.from_url(valkey.url(), socket_timeout=30) as client:
        client.flushall()
    return valkey.url()


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Stack]:
    """A deployment of this test alone; the test starts each process (stack.py)."""
    stack = Stack(tmp_path, database_url, redis_url)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def module_stack(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey) -> Iterator[Stack]:
    """A deployment for all tests of a module: they share its stores, so each uses conversations of its own."""
    stack = Stack(tmp_path_factory.mktemp("stack"), module_database_url, valkey.url())
    yield stack
    stack.stop()
