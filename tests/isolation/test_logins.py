"""The limits of an attacker who has taken over a process and sends SQL with its login."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from app.store.database import Database
from app.store.isolation import user_tables
from dev.postgres import ADMINISTRATOR, LOGINS, OWNER, WEB, WORKER, Postgres
from tests.factories import add_generation, add_user, owner
from tests.logins import as_login

REFUSED = (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)


@pytest.fixture(scope="module")
def database(module_database_url: str) -> str:
    """The address of a database with a user's generation and messages."""
    with owner(module_database_url) as cursor:
        add_generation(cursor, add_user(cursor, "alice"), "completed", epoch=1)
    return module_database_url


@contextmanager
def as_(url: str, login: str) -> Iterator[Any]:
    parts = make_url(as_login(url, login)).set(drivername="postgresql")
    connection = psycopg2.connect(parts.render_as_string(hide_password=False))
    connection.autocommit = True
    try:
        yield connection.cursor()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def tables(database: str) -> list[str]:
    found = Database(database, 1)
    with found.without_user() as tx:
        names = user_tables(tx)
    found.close()
    return names


def rows(cursor: Any, tables: list[str]) -> int:
    """The number of rows of users that the cursor can read, in all tables together."""
    found = 0
    for table in tables:
        try:
            cursor.execute(f"SELECT count(*) FROM {table}")
        except psycopg2.errors.InsufficientPrivilege:
            continue
        found += cursor.fetchone()[0]
    return found


ROLES = ("unbroken_app", "unbroken_operator", "unbroken_system", "unbroken_definer")
BECOMING = [
    "RESET ROLE",
    "SET ROLE NONE",
    *(f'SET ROLE "{role}"' for role in (*LOGINS, *ROLES)),
    *(f'SET SESSION AUTHORIZATION "{login}"' for login in LOGINS),
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET row_security = off",
    "SET session_replication_role = replica",
    "SET search_path = pg_temp, public",
]


@pytest.mark.parametrize("statement", BECOMING)
@pytest.mark.parametrize("before", ["RESET ROLE", "SET ROLE unbroken_app", "SET ROLE unbroken_operator"])
def test_nothing_the_web_processes_login_becomes_shows_a_row(
    database: str, tables: list[str], statement: str, before: str
) -> None:
    with as_(database, WEB) as cursor:
        cursor.execute(before)
        with suppress(psycopg2.errors.InsufficientPrivilege, psycopg2.errors.InvalidParameterValue):
            cursor.execute(statement)
        assert rows(cursor, tables) == 0


def test_the_workers_login_sees_them_with_the_system_role_and_not_without(database: str, tables: list[str]) -> None:
    """The tables have rows to be seen, so the test above can fail."""
    with as_(database, WORKER) as cursor:
        assert rows(cursor, tables) == 0
        cursor.execute("SET ROLE unbroken_app")
        assert rows(cursor, tables) == 0
        cursor.execute("SET ROLE unbroken_system")
        assert rows(cursor, tables) > 0


TAKING = [
    "ALTER ROLE unbroken_app LOGIN",
    "ALTER ROLE unbroken_app BYPASSRLS",
    "GRANT unbroken_system TO CURRENT_USER",
    'GRANT "unbroken" TO CURRENT_USER',
    "CREATE ROLE more LOGIN",
    "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE messages OWNER TO CURRENT_USER",
    "DROP POLICY own_rows ON messages",
    "CREATE POLICY mine ON messages USING (true)",
    "CREATE TABLE mine (id int)",
    "CREATE TEMP TABLE mine (id int)",
    "CREATE TEMP VIEW generations AS SELECT 1",
    "CREATE FUNCTION pg_temp.g() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.messages'",
    "CREATE FUNCTION public.g() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'",
    "ALTER FUNCTION queued_total() SET search_path = pg_temp",
    "CREATE SCHEMA mine",
    "COPY messages TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "TRUNCATE messages",
    "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE",
]


@pytest.mark.parametrize("role", ["NONE", "unbroken_app", "unbroken_operator"])
@pytest.mark.parametrize("statement", TAKING)
def test_nothing_can_be_taken_made_or_changed_with_the_web_processes_login(
    database: str, statement: str, role: str
) -> None:
    with as_(database, WEB) as cursor:
        cursor.execute(f"SET ROLE {role}")
        with pytest.raises(psycopg2.Error) as refused:
            cursor.execute(statement)
    # LOCK by a role that may write: not for the rows of others, and no longer than a transaction may be idle.
    assert isinstance(refused.value, REFUSED) or refused.value.pgcode in ("42501", "42P01", "25P01", "0LP01"), statement


@pytest.mark.parametrize("statement", TAKING)
def test_nor_with_the_workers(database: str, statement: str) -> None:
    with as_(database, WORKER) as cursor:
        cursor.execute("SET ROLE unbroken_system")
        with pytest.raises(psycopg2.Error):
            cursor.execute(statement)


def test_a_temporary_object_hides_nothing_from_a_function_of_ours(database: str, postgres: Postgres) -> None:
    """A login that may make temporary objects gains nothing: their schema comes last in the search path."""
    name = make_url(database).database or ""
    postgres.execute("GRANT TEMPORARY ON DATABASE {} TO {}", name, WEB)
    try:
        with as_(database, WEB) as cursor:
            cursor.execute("SET ROLE unbroken_app")
            cursor.execute("SELECT queued_total()")
            before = cursor.fetchone()
            cursor.execute("RESET ROLE")
            cursor.execute(
                "CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE plpgsql AS "
                "'BEGIN RETURN (SELECT string_agg(content, chr(10)) FROM public.messages); END'"
            )
            cursor.execute("CREATE TEMP VIEW generations AS SELECT pg_temp.g() AS status FROM generate_series(1, 99)")
            cursor.execute("GRANT ALL ON generations TO PUBLIC")
            cursor.execute("SET ROLE unbroken_app")
            cursor.execute("SELECT queued_total()")
            assert cursor.fetchone() == before
    finally:
        postgres.execute("REVOKE TEMPORARY ON DATABASE {} FROM {}", name, WEB)


def test_a_name_set_by_force_shows_that_users_rows_only(database: str, tables: list[str]) -> None:
    """A process may act for any user whose id it knows, and no statement of its login lists these ids."""
    with as_(database, WEB) as cursor:
        cursor.execute("SET ROLE unbroken_app")
        for name in ("", "00000000-0000-0000-0000-000000000000"):
            cursor.execute("SELECT set_config('app.user_id', %s, false)", (name,))
            assert rows(cursor, tables) == 0


@pytest.mark.parametrize("password", [OWNER, WEB, WORKER])
def test_no_password_of_the_application_is_the_superusers(postgres: Postgres, password: str) -> None:
    assert len(set(postgres.passwords.values())) == len(LOGINS)
    url = make_url(postgres.url("postgres", password)).set(drivername="postgresql", username=ADMINISTRATOR)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url.render_as_string(hide_password=False))
