"""Columns that a user's own transaction must not change: who one is, what one may, and the secrets of keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import DBAPIError

from app.domain.api_key import make
from app.store import api_keys
from app.store.api_keys import KeyRights
from app.store.database import Database, execute
from dev.postgres import WEB
from tests.factories import add_user, new_id, owner
from tests.logins import as_login

FORBIDDEN = [
    ("users", column, value)
    for column, value in (
        ("id", "gen_random_uuid()"), ("subject", "'x'"), ("kind", "'service'"), ("name", "'x'"),
        ("blocked_at", "NULL"), ("erasing_at", "NULL"), ("ended_at", "NULL"),
    )
] + [
    ("api_keys", column, value)
    for column, value in (
        ("id", "gen_random_uuid()"), ("user_id", "gen_random_uuid()"), ("digest", "'x'"), ("hint", "'x'"),
        ("role", "'admin'"), ("scopes", "'{admin}'"), ("models", "NULL"), ("replaces", "NULL"), ("created_at", "now()"),
    )
]  # fmt: skip
FORBIDDEN += [("sessions", column, "'admin'") for column in ("role", "digest", "email")]
FORBIDDEN += [
    ("webhook_endpoints", column, value)
    for column, value in (
        ("id", "gen_random_uuid()"), ("user_id", "gen_random_uuid()"), ("previous_secret", "'x'"),
        ("created_at", "now()"),
    )
] + [
    ("webhook_deliveries", column, value)
    for column, value in (
        ("user_id", "gen_random_uuid()"), ("endpoint_id", "NULL"), ("event_id", "'evt_1'"), ("event_type", "'x'"),
        ("body", "'{}'"), ("attempts", "0"), ("is_test", "true"), ("generation_id", "NULL"),
    )
] + [
    ("webhook_secrets", "user_id", "gen_random_uuid()"), ("webhook_secrets", "previous_secret", "'x'"),
    ("webhook_attempts", "status", "200"),
]  # fmt: skip
FORBIDDEN += [
    ("files", column, value)
    for column, value in (
        ("id", "'file-0'"), ("user_id", "gen_random_uuid()"), ("sha256", "'x'"), ("bytes", "1"),
        ("media_type", "'a/b'"), ("created_at", "now()"), ("expires_at", "NULL"), ("is_attachment", "false"),
    )
] + [("file_references", "message_id", "gen_random_uuid()")]  # fmt: skip
FORBIDDEN += [
    ("uploads", column, value)
    for column, value in (
        ("id", "'upload_0'"), ("user_id", "gen_random_uuid()"), ("bytes", "1"), ("expires_at", "now()"),
        ("is_settled", "true"), ("created_at", "now()"),
    )
] + [
    ("upload_parts", column, value)
    for column, value in (
        ("upload_id", "'upload_0'"), ("user_id", "gen_random_uuid()"), ("bytes", "1"), ("sha256", "'x'"),
        ("starts_at", "0"),
    )
]  # fmt: skip
FORBIDDEN += [("sessions", "created_at", "now()"), ("sessions", "seen_at", "now()"), ("sessions", "seen_on", "now()")]


@pytest.fixture(scope="module")
def user_and_key(module_database_url: str) -> tuple[str, str]:
    with owner(module_database_url) as cursor:
        user_id, key_id = add_user(cursor), new_id()
    database = Database(as_login(module_database_url, WEB), 1)
    with database.user(user_id) as tx:
        api_keys.add(tx, user_id, make(key_id, bytes(32)), KeyRights("k", frozenset({"read"})))
    database.close()
    return user_id, key_id


@pytest.fixture(scope="module")
def database(module_database_url: str) -> Iterator[Database]:
    database = Database(as_login(module_database_url, WEB), 1)
    yield database
    database.close()


@pytest.mark.parametrize(("table", "column", "value"), FORBIDDEN)
def test_a_user_cannot_change(
    database: Database, user_and_key: tuple[str, str], table: str, column: str, value: str
) -> None:
    with pytest.raises(DBAPIError, match="permission denied"), database.user(user_and_key[0]) as tx:
        execute(tx, f"UPDATE {table} SET {column} = {value}")


@pytest.mark.parametrize("column", ["secret", "previous_secret", "previous_secret_until"])
def test_a_web_process_cannot_read_the_secret_of_an_endpoint(
    database: Database, user_and_key: tuple[str, str], column: str
) -> None:
    for statement in (f"SELECT {column} FROM webhook_endpoints", f"UPDATE webhook_endpoints SET name = {column}"):
        with pytest.raises(DBAPIError, match="permission denied"), database.user(user_and_key[0]) as tx:
            execute(tx, statement)


def test_a_web_process_adds_no_attempt_and_removes_no_delivery(
    database: Database, user_and_key: tuple[str, str]
) -> None:
    user_id, _ = user_and_key
    attempt = "INSERT INTO webhook_attempts (delivery_id, n, user_id, latency_ms) VALUES (:id, 1, :user, 1)"
    with pytest.raises(DBAPIError, match="permission denied"), database.user(user_id) as tx:
        execute(tx, attempt, id=new_id(), user=user_id)
    with pytest.raises(DBAPIError, match="permission denied"), database.user(user_id) as tx:
        execute(tx, "DELETE FROM webhook_deliveries")


def test_a_user_cannot_be_added_or_given_a_key(database: Database, user_and_key: tuple[str, str]) -> None:
    with pytest.raises(DBAPIError, match="permission denied"), database.user(user_and_key[0]) as tx:
        execute(tx, "INSERT INTO users (id, subject) VALUES (gen_random_uuid(), 'x')")
    with pytest.raises(DBAPIError, match="row-level security"), database.user(user_and_key[0]) as tx:
        api_keys.add(tx, new_id(), make(new_id(), bytes(32)), KeyRights("k", frozenset({"read"})))


def test_what_a_user_changes_can_be_changed(database: Database, user_and_key: tuple[str, str]) -> None:
    user_id, key_id = user_and_key
    with database.user(user_id) as tx:
        assert execute(tx, "UPDATE users SET tokens_from = now() WHERE id = :id", id=user_id) == 1
        api_keys.note_use(tx, key_id)
        assert api_keys.change(tx, key_id, "new", None)
        assert api_keys.end(tx, key_id)
