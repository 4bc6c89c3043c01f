"""A whole deployment behind PgBouncer in transaction mode, with fewer server connections than transactions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from app.store.database import Database, fetch, fetch_one
from dev.postgres import WEB, Postgres
from tests.factories import add_generation, add_user, owner
from tests.fakes.pgbouncer import PgBouncer, binary
from tests.logins import as_login
from tests.stack import Stack

USERS = 12
TRANSACTIONS = 600


@pytest.fixture
def pooler(postgres: Postgres, tmp_path: Path) -> Iterator[PgBouncer]:
    if binary() is None:
        pytest.skip("pgbouncer is not installed: a deployment behind a pooler in transaction mode is not tested")
    with PgBouncer(tmp_path / "pgbouncer", postgres) as pooler:
        yield pooler


def test_every_transaction_has_its_role_user_and_limits(pooler: PgBouncer, database_url: str) -> None:
    database = Database(pooler.url(as_login(database_url, WEB)), 1)
    with database.without_user() as tx:
        row = fetch_one(
            tx,
            """SELECT current_user AS role, current_setting('statement_timeout') AS statement,
                   current_setting('lock_timeout') AS lock, current_setting('TimeZone') AS zone,
                   current_setting('idle_in_transaction_session_timeout') AS idle""",
        )
    database.close()
    assert tuple(row or ()) == ("unbroken_app", "5s", "3s", "UTC", "10s")


def test_users_that_share_three_sessions_never_see_each_other(pooler: PgBouncer, database_url: str) -> None:
    with owner(database_url) as cursor:
        users = [add_user(cursor) for _ in range(USERS)]
        for user in users:
            add_generation(cursor, user, "completed", epoch=1)
    database = Database(pooler.url(as_login(database_url, WEB)), 8)
    dice = Random(1)

    def look(user: str, way: int) -> bool:
        if way == 0:
            row = database.ask(user, "SELECT array_agg(DISTINCT user_id::text) AS seen FROM messages")
            return row == {"seen": [user]}
        if way == 1:
            with database.without_user() as tx:
                return fetch(tx, "SELECT user_id FROM messages") == []
        with database.user(user) as tx:
            first = {row.user_id for row in fetch(tx, "SELECT user_id FROM messages")}
            return first == {row.user_id for row in fetch(tx, "SELECT user_id FROM generations")} == {user}

    with ThreadPoolExecutor(8) as threads:
        asked = [(dice.choice(users), dice.randrange(3)) for _ in range(TRANSACTIONS)]
        assert all(threads.map(look, *zip(*asked, strict=True)))
    database.close()


def test_an_answer_is_made_and_followed(pooler: PgBouncer, database_url: str, redis_url: str, tmp_path: Path) -> None:
    """A worker process and a web process, both behind the pooler, make and stream an answer."""
    stack = Stack(tmp_path / "stack", pooler.url(database_url), redis_url)
    try:
        stack.worker()
        web = stack.web()
        made = stack.start(model="offline-fast")
        assert stack.finished(made.generation.id).status == "completed"
        assert stack.read(made.generation.id) == stack.archive(made.generation.id)
        assert web.alive
    finally:
        stack.stop()
