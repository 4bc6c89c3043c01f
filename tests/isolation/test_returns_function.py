"""The function behind readers that come back together: for each pair of a user and a generation only that user's row.

It sees every row, and it is given the users as arguments. The store compares each row with its pair: a second defence,
which hides a hole in the first one.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import psycopg2
import pytest

from app.store import generations
from app.store.database import Database, fetch
from dev.postgres import WEB, WORKER
from tests.factories import add_generation, add_user, new_id, owner
from tests.logins import as_login

from .test_logins import as_

FUNCTION = "generations_of_users"
CLOSED, OPENED = "AND g.user_id = p.owner", ""
CALL = f"SELECT pair, user_id, id FROM {FUNCTION}(CAST(:owners AS uuid[]), CAST(:wanted AS uuid[]))"


@pytest.fixture(scope="module")
def crowd(module_database_url: str) -> tuple[str, dict[str, list[str]]]:
    """The address of a database, and the generations of each of three users."""
    found = {}
    with owner(module_database_url) as cursor:
        for _ in range(3):
            user = add_user(cursor)
            found[user] = [add_generation(cursor, user, status, epoch=1) for status in ("running", "completed")]
    return module_database_url, found


def pairs_of(crowd: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Every user with every generation, with ids of nobody among them."""
    users, ids = [*crowd, new_id()], [*(one for own in crowd.values() for one in own), new_id()]
    return list(product(users, ids))


def rows(url: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs that the function returns a row for, each checked to be at its place."""
    database = Database(as_login(url, WEB), 1)
    try:
        with database.without_user() as tx:
            found = fetch(tx, CALL, owners=[user for user, _ in pairs], wanted=[one for _, one in pairs])
            return [(pairs[row.pair - 1][0], row.id) for row in found]
    finally:
        database.close()


def visible(url: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs whose generation the user reads under the policies."""
    database = Database(as_login(url, WEB), 1)
    try:
        seen = []
        for user, wanted in pairs:
            with database.user(user) as tx:
                if fetch(tx, "SELECT 1 FROM generations WHERE id = CAST(:id AS uuid)", id=wanted):
                    seen.append((user, wanted))
        return seen
    finally:
        database.close()


def through_the_store(url: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    database = Database(as_login(url, WEB), 1)
    try:
        found = generations.of_users(database, pairs)
        return [pair for pair, row in zip(pairs, found, strict=True) if row is not None and row.id == pair[1]]
    finally:
        database.close()


def test_each_pair_gets_the_row_that_its_user_may_read(crowd: Any) -> None:
    url, users = crowd
    pairs = pairs_of(users)
    own = [(user, one) for user, ids in users.items() for one in ids]
    assert sorted(rows(url, pairs)) == sorted(visible(url, pairs)) == sorted(own)
    assert sorted(through_the_store(url, pairs)) == sorted(own)
    assert rows(url, []) == []


def test_a_deleted_generation_has_no_row(crowd: Any) -> None:
    url, users = crowd
    user = next(iter(users))
    with owner(url) as cursor:
        gone = add_generation(cursor, user, "completed", epoch=1)
        cursor.execute("DELETE FROM conversations WHERE id = (SELECT conversation_id FROM generations WHERE id = %s)",
                       (gone,))  # fmt: skip
    assert rows(url, [(user, gone)]) == []


def test_a_function_that_forgets_the_user_is_seen_and_the_store_holds_without_it(crowd: Any) -> None:
    url, users = crowd
    pairs, own = pairs_of(users), [(user, one) for user, ids in users.items() for one in ids]
    with owner(url) as cursor:
        cursor.execute("SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = %s", (FUNCTION,))
        definition = cursor.fetchone()[0]
        assert CLOSED in definition
        cursor.execute(definition.replace(CLOSED, OPENED))
    try:
        assert set(rows(url, pairs)) > set(own)
        assert sorted(through_the_store(url, pairs)) == sorted(own)
    finally:
        with owner(url) as cursor:
            cursor.execute(definition)
    assert sorted(rows(url, pairs)) == sorted(own)


@pytest.mark.parametrize("login", [WEB, WORKER])
@pytest.mark.parametrize("role", ["NONE", "unbroken_app", "unbroken_operator", "unbroken_system"])
def test_only_the_role_of_users_may_call_it(crowd: Any, login: str, role: str) -> None:
    url, _ = crowd
    with as_(url, login) as cursor:
        call = f"SELECT * FROM {FUNCTION}(ARRAY[]::uuid[], ARRAY[]::uuid[])"
        call = f"SET ROLE {role}; {call}"
        if role == "unbroken_app":
            cursor.execute(call)
            assert cursor.fetchall() == []
            return
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(call)


def test_it_returns_no_text(crowd: Any) -> None:
    url, _ = crowd
    with owner(url) as cursor:
        cursor.execute("SELECT pg_get_function_result(oid) FROM pg_proc WHERE proname = %s", (FUNCTION,))
        columns = [part.split()[-1] for part in cursor.fetchone()[0].removeprefix("TABLE(").rstrip(")").split(", ")]
    # The only text is the status.
    assert columns.count("text") == 1
    assert set(columns) == {"bigint", "uuid", "text", "integer"}
