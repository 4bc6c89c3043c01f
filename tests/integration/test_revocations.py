"""Revocations in PostgreSQL: each committed name is read once, in any order of commits, and caches obey."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.errors import DatabaseDown
from app.services import revocations as reading
from app.services.passes import Pass
from app.services.revocable_cache import ENTRY_SECONDS, RevocableCache
from app.services.revocations import (
    FRESH_SECONDS,
    LONGEST_GAP_SECONDS,
    READ_SECONDS,
    RETRY_SECONDS,
    Revocations,
    prune,
)
from app.store import revocations
from app.store.database import Database, fetch, fetch_one
from dev.postgres import WEB
from tests.factories import owner
from tests.fakes.proxy import TcpProxy
from tests.logins import as_login
from tests.stack import until

# A busy machine wakes a thread late.
SLACK_SECONDS = 2.0


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.everything = 0

    def revoke(self, names: frozenset[str]) -> None:
        self.names += sorted(names)

    def revoke_everything(self) -> None:
        self.everything += 1


class Clock:
    """A clock that a test moves."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def database(module_database_url: str) -> Iterator[Database]:
    database = Database(module_database_url, 10)
    yield database
    database.close()


class Reader:
    """A reader of revocations whose polls the test makes, and its listener."""

    def __init__(self, url: str) -> None:
        self.clock, self.heard = Clock(), Heard()
        self.revocations = Revocations(Database(as_login(url, WEB), 1, timeout=30.0), self.clock)
        self.revocations.listen(self.heard)

    def poll(self) -> list[str]:
        self.heard.names.clear()
        self.revocations.poll()
        return self.heard.names


@pytest.fixture
def reader(module_database_url: str, database: Database) -> Iterator[Reader]:
    with owner(module_database_url) as cursor:
        cursor.execute("DELETE FROM revocations")
    reader = Reader(module_database_url)
    yield reader
    reader.revocations.close()


def add(database: Database, *names: str) -> None:
    with database.without_user() as tx:
        revocations.add(tx, names)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "commit", "roll back", "poll"]), st.integers(0, 3)), min_size=8, max_size=25
    ),
    at_once=st.integers(1, 4),
)
def test_each_committed_name_is_read_once_whatever_the_order_of_commits(
    reader: Reader, database: Database, steps: list[tuple[str, int]], at_once: int
) -> None:
    """Four transactions add, commit and roll back in any order between polls of small pages."""
    query = revocations._READ.replace(f"LIMIT {revocations.READ_AT_ONCE}", f"LIMIT {at_once}")
    reader.poll()
    reader.heard.names.clear()
    open_now: dict[int, tuple[ExitStack, object, list[str]]] = {}
    committed, read, number = [], [], 0

    def end(lane: int, *, well: bool) -> None:
        if lane in open_now:
            stack, _, names = open_now.pop(lane)
            error = None if well else RuntimeError("rolled back")
            try:
                stack.__exit__(type(error) if error else None, error, None)
            except RuntimeError:
                assert not well
            committed.extend(names if well else [])

    with patch.object(revocations, "_READ", query), patch.object(revocations, "READ_AT_ONCE", at_once):
        for step, lane in [*steps, *(("commit", lane) for lane in range(4)), ("poll", 0)]:
            if step == "add":
                if lane not in open_now:
                    stack = ExitStack()
                    open_now[lane] = (stack, stack.enter_context(database.without_user()), [])
                number += 1
                revocations.add(open_now[lane][1], [f"key {number}"])  # type: ignore[arg-type]
                open_now[lane][2].append(f"key {number}")
            elif step == "poll":
                read += list(reader.poll())
                assert set(read) == set(committed), "what is committed before a poll is read by it"
            else:
                end(lane, well=step == "commit")
    assert sorted(read) == sorted(committed), "and nothing twice"


def test_a_reader_that_starts_reads_what_was_revoked_before(reader: Reader, database: Database) -> None:
    """A stream may have been checked before the first read of its process."""
    add(database, "key 1")
    assert reader.revocations.age == float("inf")
    assert reader.poll() == ["key 1"]
    assert reader.revocations.age == 0
    assert reader.poll() == []


@pytest.mark.parametrize("role", ["without_user", "operator", "system"])
def test_every_role_may_add(reader: Reader, database: Database, role: str) -> None:
    with getattr(database, role)() as tx:
        revocations.add(tx, ["key 1", "key 1", "user 1"])
    assert reader.poll() == ["key 1", "user 1"]


def test_a_server_that_counts_its_transactions_anew_is_read_from_its_beginning(
    reader: Reader, database: Database
) -> None:
    reader.poll()
    reader.revocations._position = revocations.Position(2**40)
    add(database, "key 1")
    assert reader.poll() == ["key 1"]


def test_a_reader_that_was_away_for_too_long_counts_everything_as_revoked(reader: Reader, database: Database) -> None:
    reader.poll()
    reader.clock.now += LONGEST_GAP_SECONDS + 1
    with patch.object(revocations, "read", side_effect=DatabaseDown), pytest.raises(DatabaseDown):
        reader.poll()
    assert reader.heard.everything == 0, "nobody is sent away while PostgreSQL is"
    reader.poll()
    assert reader.heard.everything == 1
    assert reader.revocations.ended(["key 9"], reader.clock.now)


def test_old_names_are_pruned_in_steps(reader: Reader, database: Database, module_database_url: str) -> None:
    add(database, "key 1", "key 2", "key 3")
    with owner(module_database_url) as cursor:
        cursor.execute(
            "UPDATE revocations SET revoked_at = now() - make_interval(secs => %s) WHERE name <> 'key 3'",
            (revocations.KEPT_SECONDS + 1,),
        )
    with patch.object(revocations, "PRUNED_AT_ONCE", 1):
        assert Pass(partial(prune, database), seconds=60).resume() is False
    with database.system() as tx:
        assert [row.name for row in fetch(tx, "SELECT name FROM revocations")] == ["key 3"]


def test_the_web_process_cannot_remove_a_name(database: Database) -> None:
    with database.without_user() as tx:
        row = fetch_one(
            tx,
            """SELECT has_table_privilege('unbroken_app', 'revocations', 'DELETE')
               OR has_table_privilege('unbroken_app', 'revocations', 'UPDATE')
               OR has_table_privilege('unbroken_operator', 'revocations', 'DELETE, UPDATE') AS may""",
        )
    assert row is not None
    assert row.may is False


# --- the thread ------------------------------------------------------------------------------------------------------


def test_the_thread_reads_within_its_period_and_goes_on_after_a_failure(
    module_database_url: str, database: Database
) -> None:
    """The reader's connection is killed; it reads on over another one."""
    heard, revoked = Heard(), threading.Event()
    own = Revocations(Database(as_login(module_database_url, WEB), 1, timeout=2.0))
    own.listen(heard)
    own.observe(lambda: revoked.set() if "key 2" in heard.names else None)
    with patch.object(reading, "POLL_SECONDS", 0.02):
        own.start()
        add(database, "key 1")
        with owner(module_database_url) as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_snapshot_xmin%'"
                " AND pid <> pg_backend_pid() AND datname = current_database()"
            )
        add(database, "key 2")
        assert revoked.wait(20)
        own.close()
    assert own.count >= 2


def test_what_was_revoked_while_a_process_could_not_read_is_known_within_a_second_afterwards(
    module_database_url: str, database: Database
) -> None:
    """The network swallows everything between the process and PostgreSQL, and lets it pass again."""
    heard, revoked = Heard(), threading.Event()
    url = as_login(module_database_url, WEB)
    with TcpProxy.before(url) as proxy:
        own = Revocations(Database(proxy.url(url), 1, timeout=READ_SECONDS, retry=RETRY_SECONDS))
        own.listen(heard)
        own.observe(lambda: revoked.set() if "key 7" in heard.names else None)
        own.start()
        until(lambda: own.fresh)
        proxy.black_hole()
        until(lambda: not own.fresh)
        add(database, "key 7")
        assert not revoked.wait(READ_SECONDS)
        assert not own.ended(["key 7"], 0.0), "it is not known, and no cache is used"
        assert not own.fresh
        proxy.cut()
        proxy.pass_()
        back = time.monotonic()
        assert revoked.wait(20)
        took = time.monotonic() - back
        own.close()
    print(f"known {took:.3f} s after PostgreSQL could be reached")
    assert took < 1.0 + SLACK_SECONDS


# --- caches ----------------------------------------------------------------------------------------------------------


class Looked:
    """A cache over a dictionary that counts its lookups."""

    def __init__(self, reader: Reader, most: int = 100) -> None:
        self.count = 0
        self.during: list[str] = []
        self.reader = reader
        self.cache = RevocableCache[str, str](reader.revocations, self._look_up, lambda value: [f"key {value}"], most)

    def _look_up(self, key: str) -> str:
        self.count += 1
        if self.during:
            add(self.reader.revocations._database, *self.during)
            self.reader.poll()
        return key

    def looks(self, key: str) -> bool:
        """True when a get of this key asks again."""
        before = self.count
        assert self.cache.get(key) == key
        return self.count > before


def test_a_cache_keeps_a_value_until_its_name_is_revoked(reader: Reader, database: Database) -> None:
    looked = Looked(reader)
    reader.poll()
    assert [looked.looks(key) for key in ("1", "2", "1", "2")] == [True, True, False, False]
    add(database, "key 1")
    reader.clock.now += 0.25
    reader.poll()
    reader.clock.now += 0.25
    assert [looked.looks(key) for key in ("1", "2")] == [True, False]
    assert not looked.looks("1"), "a name that was revoked before the lookup does not matter any more"


def test_a_value_that_was_looked_up_while_its_name_was_revoked_is_not_kept(reader: Reader) -> None:
    looked = Looked(reader)
    reader.poll()
    looked.during = ["key 1"]
    assert looked.looks("1")
    looked.during = []
    assert looked.looks("1")


def test_a_cache_is_not_used_while_nothing_is_read(reader: Reader) -> None:
    looked = Looked(reader)
    assert [looked.looks("1"), looked.looks("1")] == [True, True], "nothing was read yet"
    reader.poll()
    assert not looked.looks("1")
    reader.clock.now += FRESH_SECONDS + 0.1
    assert [looked.looks("1"), looked.looks("1")] == [True, True]
    reader.poll()
    assert not looked.looks("1")


def test_entries_expire_and_are_bounded(reader: Reader) -> None:
    looked = Looked(reader, most=2)
    reader.poll()
    assert [looked.looks(key) for key in ("1", "2", "3", "2", "1")] == [True, True, True, False, True]
    for _ in range(int(ENTRY_SECONDS) + 1):
        reader.clock.now += 1
        reader.poll()
    assert looked.looks("1")
