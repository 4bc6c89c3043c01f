"""A PostgreSQL that answers no more: its processes are frozen, or the network drops every packet."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.domain.errors import DatabaseDown
from app.store.database import Database, execute, fetch_one
from dev.postgres import Postgres
from tests.bounded import ended
from tests.fakes.proxy import TcpProxy
from tests.stack import until

TIMEOUT = 1.0
# A busy machine wakes a thread late.
SLACK = 2.0


def family(pid: int) -> list[int]:
    """The ids of a process and of all its descendants."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    assert server.process is not None
    members = family(server.process.pid)
    try:
        for pid in members:
            # A connection may have ended meanwhile, and its process with it.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, 3, timeout=TIMEOUT)
    yield database
    database.close()


def ask(database: Database) -> None:
    database.ask("00000000-0000-7000-8000-000000000000", "SELECT 1 AS one")


def begin(database: Database) -> None:
    with database.system() as tx:
        fetch_one(tx, "SELECT 1 AS one")


def refused(use: Callable[[], None], seconds: float) -> float:
    """The seconds until ``use`` raises DatabaseDown, at most ``seconds``."""

    def give_up() -> None:
        with pytest.raises(DatabaseDown):
            use()

    return ended(give_up, seconds)[0]


@pytest.mark.parametrize("use", [ask, begin])
def test_a_frozen_server_costs_the_first_one_the_timeout_and_the_next_nothing(
    postgres: Postgres, database: Database, use
) -> None:
    use(database)
    with frozen(postgres):
        assert refused(lambda: use(database), TIMEOUT + SLACK) > TIMEOUT * 0.5
        assert refused(lambda: use(database), TIMEOUT + SLACK) < TIMEOUT / 2
    until(lambda: _works(database, use), 10)


@pytest.mark.parametrize("use", [ask, begin])
def test_a_frozen_server_that_was_never_reached_is_given_up_as_soon(postgres: Postgres, database_url: str, use) -> None:
    database = Database(database_url, 3, timeout=TIMEOUT)
    with frozen(postgres):
        # libpq counts whole seconds, and two at least.
        refused(lambda: use(database), 2 + SLACK)
    until(lambda: _works(database, use), 10)
    database.close()


def test_a_statement_in_the_middle_is_given_up_after_the_servers_own_timeout(
    postgres: Postgres, database: Database
) -> None:
    def freeze_in_the_middle() -> None:
        with database.system() as tx:
            execute(tx, "SELECT 1")
            with frozen(postgres):
                assert refused(lambda: execute(tx, "SELECT 2"), 6 + SLACK) > 5
            raise DatabaseDown  # the connection has been shut down

    with pytest.raises(DatabaseDown):
        freeze_in_the_middle()
    begin(database)


def test_forty_who_ask_a_frozen_server_at_once_are_all_refused_soon(postgres: Postgres, database: Database) -> None:
    """Threads that wait for a connection of the pool are refused, too."""
    begin(database)
    threads = ThreadPoolExecutor(40)
    with frozen(postgres):
        asked = [threads.submit(begin, database) for _ in range(40)]
        assert not wait(asked, TIMEOUT + 2 + SLACK).not_done
    assert all(isinstance(one.exception(), DatabaseDown) for one in asked)


def test_a_slow_statement_is_no_frozen_server(database: Database) -> None:
    """A statement may take as long as the server allows, which is longer than a transaction may take to begin."""
    with database.system() as tx:
        execute(tx, "SELECT pg_sleep(1.5)")
    with database.system() as tx:
        execute(tx, "SELECT 1")
        time.sleep(1.5)  # no statement is sent meanwhile
        execute(tx, "SELECT 1")


def test_a_network_that_swallows_everything_is_the_same(database_url: str) -> None:
    with TcpProxy.before(database_url) as proxy:
        database = Database(proxy.url(database_url), 3, timeout=TIMEOUT)
        for use in (ask, begin):
            until(lambda use=use: _works(database, use), 10)
            proxy.black_hole()
            refused(lambda use=use: use(database), TIMEOUT + SLACK)
            proxy.cut()
            proxy.pass_()
        database.close()


def test_many_connections_leave_no_descriptor_behind(database_url: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        database = Database(database_url, 3)
        begin(database)
        ask(database)
        database.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def _works(database: Database, use) -> bool:
    with suppress(DatabaseDown):
        use(database)
        return True
    return False
