"""The embedded servers as real processes: they are killed, start again and have lost nothing; as root and without."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis

from dev.postgres import OWNER, Postgres
from dev.process import ROOT, CannotRun
from dev.server import HOST
from dev.valkey import Valkey
from tests.stack import until


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    # A deep path with blanks: longer than the path of a socket may be.
    server = Postgres(tmp_path / ("deep " * 12) / ("er" * 40))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / ("deep " * 12) / ("er" * 40))
    server.start()
    yield server
    server.stop()


def listening(port: int) -> socket.socket:
    """A foreign server that listens on the port."""
    return socket.create_server((HOST, port))


def query(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(server.url(login=OWNER).replace("+psycopg2", ""))
    with closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_postgres_keeps_what_it_committed_through_kill_9_on_the_same_address(own_postgres: Postgres):
    own_postgres.ensure_database()
    url = own_postgres.url()
    query(own_postgres, "CREATE TABLE t AS SELECT 1 AS n")
    for _ in range(3):
        own_postgres.kill()
        own_postgres.start()
    own_postgres.ensure_database()
    assert query(own_postgres, "SELECT n FROM t") == [(1,)]
    assert own_postgres.url() == url


def test_a_lock_file_with_the_number_of_a_stranger_is_no_obstacle(own_postgres: Postgres):
    own_postgres.kill()
    lock = own_postgres.data / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    own_postgres.start()


def test_an_interrupted_first_start_is_no_obstacle(tmp_path: Path):
    server = Postgres(tmp_path)
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("18\n")
    server.start()
    server.stop()


def test_data_of_another_version_are_refused_in_words(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(CannotRun, match="written by PostgreSQL 15"):
        Postgres(tmp_path).start()


def test_the_application_is_no_superuser_and_owns_its_database(own_postgres: Postgres):
    own_postgres.ensure_database()
    assert query(own_postgres, "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user") == [
        (False, False)
    ]
    query(own_postgres, "CREATE EXTENSION pg_trgm")
    assert query(own_postgres, "SELECT lower('ÉCOLE'), to_tsvector('simple', 'ÉCOLE')") == [("école", "'école':1")]


def test_nobody_gets_in_without_the_password(own_postgres: Postgres, own_valkey: Valkey):
    own_postgres.ensure_database()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host="127.0.0.1", port=own_postgres.port, user=OWNER, password="guess", dbname=OWNER)
    with redis.Redis(port=own_valkey.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_a_first_start_evades_a_port_that_was_bound_meanwhile(tmp_path: Path, kind: type[Postgres | Valkey]):
    """A first start chooses another port. A server that has served keeps its port, because its clients know it."""
    server = kind(tmp_path)
    chosen = server.port
    with listening(chosen):
        server.start()
    served = server.port
    assert served != chosen
    assert f":{served}/" in server.url()
    server.stop()
    with listening(served), pytest.raises(CannotRun, match="Address already in use"):
        server.start()
    server.start()
    assert server.port == served
    server.stop()


def test_valkey_keeps_its_data_through_kill_9_on_the_same_address(own_valkey: Valkey):
    with redis.Redis.from_url(own_valkey.url()) as client:
        client.set("k", "v")
        [log] = (own_valkey.directory / "appendonlydir").glob("*.incr.aof")
        # While a disk is slow, Valkey delays its writes to the file for up to two seconds.
        until(lambda: b"$1\r\nk\r\n$1\r\nv\r\n" in log.read_bytes())
        own_valkey.kill()
        own_valkey.start()
        assert client.get("k") == b"v"
        assert client.config_get("maxmemory-policy", "appendonly") == {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
        }


def test_valkey_starts_with_a_log_cut_in_the_middle_of_a_command(own_valkey: Valkey):
    with redis.Redis.from_url(own_valkey.url()) as client:
        client.set("k", "v")
        client.set("cut", "x" * 1000)
        [log] = (own_valkey.directory / "appendonlydir").glob("*.incr.aof")
        # While a disk is slow, Valkey delays its writes to the file for up to two seconds.
        until(lambda: log.stat().st_size > 1000)
        own_valkey.kill()
        with log.open("r+b") as file:
            file.truncate(log.stat().st_size - 500)
        own_valkey.start()
        assert client.get("k") == b"v"
        assert client.get("cut") is None


LIFE = """
import os, sys
from pathlib import Path
from dev.postgres import Postgres
from dev.valkey import Valkey
for server in (Postgres(Path(sys.argv[1], "postgres")), Valkey(Path(sys.argv[1], "valkey"))):
    server.start()
    server.kill()
    server.start()
    server.stop()
print("done as", os.geteuid())
"""
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def can_nobody_run_this_python() -> bool:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    command = [*AS_NOBODY, sys.executable, "-c", "import dev.postgres, dev.valkey"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_nobody_run_this_python(), reason="needs root, setpriv and a Python that nobody may run")
def test_an_ordinary_user_runs_both_in_a_closed_directory():
    home = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        os.chown(home, 65534, 65534)
        result = subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", LIFE, str(home)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert result.stdout == "done as 65534\n", result.stderr
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
@pytest.mark.parametrize("ways", [("namespace",), ("nobody",), ("nobody", "namespace")])
def test_root_runs_postgres_either_way_also_after_changing_it(tmp_path: Path, ways: tuple[str, ...]):
    for way in ways:
        server = Postgres(tmp_path / "postgres", ways=(way,))
        try:
            server.start()
        except CannotRun as reason:
            if "cannot be started as namespace" in str(reason):
                pytest.skip("this machine has no user namespaces")
            raise
        server.ensure_database()
        assert query(server, "SELECT 1") == [(1,)]
        server.stop()
