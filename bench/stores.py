"""The stores of a run, which every design may use, and the error that leaves a design out."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import redis

from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.logins import as_administrator, migrate, remember

# Autovacuum's statistics of tables that have just been filled are no cost of an answer.
QUIET = {"autovacuum": "off"}


class CannotMeasure(Exception):
    """A design cannot be measured on this machine; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Stores:
    """A PostgreSQL, a Valkey and a folder for this run alone."""

    database_url: str
    redis_url: str
    redis_port: int
    redis_password: str
    directory: Path
    redis_pid: int
    postgres_pid: int


@contextmanager
def stores() -> Iterator[Stores]:
    """Start and migrate the stores, and remove them at the end."""
    with tempfile.TemporaryDirectory(prefix="unbroken-bench-") as folder:
        postgres, valkey = Postgres(Path(folder) / "postgres", settings=QUIET), Valkey(Path(folder) / "valkey")
        try:
            postgres.start()
            valkey.start()
            remember(postgres)
            postgres.ensure_database("bench")
            migrate(postgres.url("bench"))
            assert valkey.process, "it was started"
            assert postgres.process, "it was started"
            yield Stores(
                postgres.url("bench"),
                valkey.url(),
                valkey.port,
                valkey.password,
                Path(folder),
                valkey.process.pid,
                postgres.process.pid,
            )
        finally:
            valkey.stop()
            postgres.stop()


def clear(stores: Stores) -> None:
    """Remove the rows and keys of earlier measurements, which another worker would continue."""
    with closing(psycopg2.connect(as_administrator(stores.database_url))) as connection, connection:
        connection.cursor().execute("TRUNCATE users CASCADE")
    with redis.Redis.from_url(stores.redis_url, socket_timeout=10) as client:
        client.flushall()


def need(module: str) -> None:
    """Check that a peer's package is installed. Raises CannotMeasure."""
    if importlib.util.find_spec(module) is None:
        raise CannotMeasure(f"{module} is not installed (pip install -r bench/requirements.txt)")
