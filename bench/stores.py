"""The stores of a run, which every design may use, and the reasons to leave one out."""

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
from tests.conftest import migrate

# Statistics of tables that have just been filled are not the cost of an answer.
QUIET = {"autovacuum": "off"}


class CannotMeasure(Exception):
    """Why a design is left out here."""


@dataclass(frozen=True, slots=True)
class Stores:
    """A PostgreSQL and a Valkey for this run alone, and a folder."""

    database_url: str
    redis_url: str
    redis_port: int
    redis_password: str
    directory: Path
    redis_pid: int
    postgres_pid: int


@contextmanager
def stores() -> Iterator[Stores]:
    """Started, migrated, and taken away again."""
    with tempfile.TemporaryDirectory(prefix="unbroken-bench-") as folder:
        postgres, valkey = Postgres(Path(folder) / "postgres", settings=QUIET), Valkey(Path(folder) / "valkey")
        try:
            postgres.start()
            valkey.start()
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
    """Take away what earlier measurements left: another worker would go on with their generations."""
    with closing(psycopg2.connect(stores.database_url.replace("+psycopg2", "", 1))) as connection, connection:
        connection.cursor().execute("TRUNCATE users CASCADE")
    with redis.Redis.from_url(stores.redis_url, socket_timeout=10) as client:
        client.flushall()


def need(module: str) -> None:
    """Raises CannotMeasure when a peer's package is not there."""
    if importlib.util.find_spec(module) is None:
        raise CannotMeasure(f"{module} is not installed (pip install -r bench/requirements.txt)")
