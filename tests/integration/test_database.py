"""Connections and transactions: few round trips, and a transaction leaves no state on its connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy.exc import DBAPIError, ProgrammingError

from app.domain.errors import DatabaseDown
from app.services.users import new_id
from app.store import generations
from app.store.database import Database, Tx, execute, fetch, fetch_one
from dev.postgres import WORKER
from tests.fakes.proxy import TcpProxy
from tests.stack import Stack


@pytest.fixture
def one(stack: Stack) -> Iterator[Database]:
    """A pool of one connection: the next transaction would see any state that is left on it."""
    database = Database(stack.settings.database_url, 1)
    yield database
    database.close()


def rows(tx: Tx, table: str = "generations") -> int:
    found = fetch_one(tx, f"SELECT count(*) AS n FROM {table}")
    assert found is not None
    return int(found.n)


def left(database: Database) -> tuple[str, str | None, str]:
    """Role, user and statement timeout of a pooled connection, outside the transactions of the service."""
    with database.engine.connect() as tx:
        row = tx.exec_driver_sql(
            "SELECT current_user, current_setting('app.user_id', true), current_setting('statement_timeout')"
        ).one()
        with pytest.raises(DBAPIError, match="permission denied"):
            tx.exec_driver_sql("SELECT 1 FROM generations")
    return row[0], row[1] or None, row[2]


def test_the_sessions_of_a_burst_are_kept_and_the_last_one_is_used_first(stack: Stack) -> None:
    """A session that is closed and opened again costs PostgreSQL more than all statements of a message."""
    database = Database(stack.settings.database_url, 2)
    try:

        def of_a_burst(size: int) -> list[int]:
            with ExitStack() as open_ones:
                transactions = [open_ones.enter_context(database.system()) for _ in range(size)]
                return [tx.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for tx in transactions]

        busiest = of_a_burst(4)
        for size in (4, 1, 3, 4):
            assert set(of_a_burst(size)) <= set(busiest)
        assert of_a_burst(1) == of_a_burst(1)
    finally:
        database.close()


ALL = "SELECT count(*) AS n, current_setting('app.user_id', true) AS name, current_user AS role FROM generations g"


def test_a_question_is_asked_in_the_users_name_and_sees_nothing_of_others(stack: Stack, one: Database) -> None:
    made = stack.start().generation
    mine, theirs = one.ask(stack.user.id, ALL), one.ask(new_id(), ALL)
    assert theirs is not None
    assert mine == {"n": 1, "name": stack.user.id, "role": "unbroken_app"}
    assert theirs["n"] == 0
    assert one.ask(new_id(), "SELECT 1 FROM generations g WHERE g.id = :id", id=made.id) is None


def test_nothing_of_a_question_is_left_on_its_connection(stack: Stack, one: Database) -> None:
    stack.start()
    one.ask(stack.user.id, ALL)
    assert left(one) == (WORKER, None, "0")
    with pytest.raises(DBAPIError):
        one.ask(stack.user.id, "SELECT 1 / 0")
    assert left(one) == (WORKER, None, "0")


@pytest.mark.parametrize("whose", ["user", "system"])
def test_nothing_of_a_block_that_ended_badly_is_left(stack: Stack, one: Database, whose: str) -> None:
    made = stack.start().generation

    def change(then: Callable[[Tx], object]) -> None:
        with one.user(stack.user.id) if whose == "user" else one.system() as tx:
            execute(tx, "UPDATE generations SET model = 'other' WHERE id = :id", id=made.id)
            then(tx)

    with pytest.raises(KeyError):
        change(lambda tx: {}["nothing"])
    with pytest.raises(DBAPIError):
        change(lambda tx: fetch(tx, "SELECT 1 / 0"))
    assert left(one) == (WORKER, None, "0")
    with one.without_user() as tx:
        assert rows(tx) == 0
    assert stack.generation(made.id).model == made.model


def test_a_question_with_quotes_and_signs_of_the_driver_is_asked_as_it_is(stack: Stack, one: Database) -> None:
    said = "it's 100 % :sure \\ %(user)s"
    row = one.ask(stack.user.id, "SELECT CAST(:said AS text) AS said, '100 %' AS same, 7 % 4 AS rest", said=said)
    assert row == {"said": said, "same": "100 %", "rest": 3}


def test_the_error_of_a_statement_does_not_quote_its_parameters(one: Database) -> None:
    """An unexpected error is logged with its traceback, and no log line has texts of users."""
    with pytest.raises(DBAPIError) as raised, one.without_user() as tx:
        execute(tx, "SELECT 1 / 0 FROM (SELECT CAST(:content AS text)) said", content="private words")
    assert "division by zero" in str(raised.value)
    assert "private words" not in str(raised.value)


def test_a_connection_that_died_in_the_pool_is_replaced_unseen(stack: Stack) -> None:
    url = stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        database = Database(proxy.url(url), 2)
        made = stack.start().generation
        for ask in (
            lambda: database.ask(stack.user.id, ALL),
            lambda: _count(database, stack.user.id),
            lambda: _count(database, None),
        ):
            assert ask()
            proxy.cut()
            proxy.pass_()
            assert ask()
        proxy.refuse()
        with pytest.raises(DatabaseDown):
            database.ask(stack.user.id, ALL)
        assert stack.generation(made.id)
        database.close()


def test_a_question_that_cannot_be_asked_says_so(stack: Stack) -> None:
    nowhere = Database("postgresql+psycopg2://nobody@127.0.0.1:1/nothing", 1)
    with pytest.raises(DatabaseDown):
        nowhere.ask(stack.user.id, ALL)
    database = Database(stack.settings.database_url, 1)
    with pytest.raises(DatabaseDown):
        database.ask(stack.user.id, "SELECT set_config('statement_timeout', '100', true); SELECT pg_sleep(5)")
    with pytest.raises(ProgrammingError):
        database.ask(stack.user.id, "SELECT nothing FROM generations")
    assert database.ask(stack.user.id, ALL)
    database.close()


def _count(database: Database, user_id: str | None) -> int:
    with database.system() if user_id is None else database.user(user_id) as tx:
        return rows(tx)


def test_what_a_transaction_costs_in_round_trips(stack: Stack) -> None:
    made = stack.start().generation
    sent: list[bytes] = []
    url = stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        database = Database(proxy.url(url), 1)
        _count(database, None)
        proxy.drop_request(lambda data: bool(sent.append(data)))  # the condition records each message and drops none
        assert generations.of_user(database, stack.user.id, made.id)
        assert len(sent) == 1
        sent.clear()
        _count(database, stack.user.id)
        assert [message[5:11] for message in sent] == [b"BEGIN;", b"SELECT", b"COMMIT"]
        database.close()
