"""Real servers for the tests that need them; a test that asks for neither starts neither."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
import redis

from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.stack import Stack

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = "template_migrated"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server of this test run. A lock that nobody releases fails the test instead of hanging it."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), settings={"fsync": "off", "lock_timeout": "20s"})
    server.start(timeout=120)
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


def migrate(url: str, *arguments: str) -> None:
    """`alembic upgrade head`, or another command of alembic, in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "alembic", *(arguments or ("upgrade", "head"))],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        check=True,
    )


@pytest.fixture
def database_url(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """A migrated database for this test alone, as the application's role sees it."""
    yield from cloned_database(postgres, migrated_template)


@pytest.fixture(scope="module")
def module_database_url(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """The same for all tests of a module."""
    yield from cloned_database(postgres, migrated_template)


def cloned_database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    postgres.clone_database(template, name)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    """An empty Valkey."""
    with redis.Redis.from_url(valkey.url(), socket_timeout=30) as client:
        client.flushall()
    return valkey.url()


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Stack]:
    """A deployment of this test alone; nothing of it runs before it is asked to (stack.py)."""
    stack = Stack(tmp_path, database_url, redis_url)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def module_stack(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey) -> Iterator[Stack]:
    """A deployment for all tests of a module: they share its stores, so each uses conversations of its own."""
    stack = Stack(tmp_path_factory.mktemp("stack"), module_database_url, valkey.url())
    yield stack
    stack.stop()
