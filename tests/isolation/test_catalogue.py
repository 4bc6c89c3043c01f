"""Isolation as the catalogue of PostgreSQL shows it: every table with data of users, every function, every role."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from app.store import erasures
from app.store.database import Database, fetch
from app.store.isolation import breaches, user_tables
from app.store.own_data import SECTIONS
from dev.postgres import OWNER, WEB, WORKER, Postgres
from tests.factories import (
    add_conversation,
    add_file,
    add_generation,
    add_message,
    add_part,
    add_upload,
    add_user,
    insert,
    new_id,
    owner,
)
from tests.logins import as_login

KNOWN = {
    "users", "conversations", "messages", "generations", "generation_chunks", "generation_archives", "feeds",
    "feed_events", "responses", "reserved_conversations", "client_chats", "stream_tickets", "usage_days", "audit",
    "api_keys",
    "sessions",
    "preferences",
    "shares",
    "key_usage_days",
    "identities",
    "budgets",
    "erasures",
    "holds",
    "webhook_endpoints", "webhook_secrets", "webhook_deliveries", "webhook_attempts", "files", "file_references",
    "uploads", "upload_parts",
}  # fmt: skip


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, 2)
    yield database
    database.close()


def tables_of(url: str) -> list[str]:
    database = Database(url, 1)
    with database.without_user() as tx:
        found = user_tables(tx)
    database.close()
    return found


def fill(cursor: Any, user: str, tables: list[str]) -> None:
    """Insert at least one row of this user into every table; an unknown table is filled from its columns."""
    running = add_generation(cursor, user, "running", epoch=1)
    finished = add_generation(cursor, user, "completed", epoch=1)
    chunk = {"generation_id": running, "user_id": user, "epoch": 1, "first_n": 0, "last_n": 0, "body": b"x"}
    insert(cursor, "generation_chunks", chunk)
    insert(cursor, "generation_archives", {"generation_id": finished, "user_id": user, "revisions": "[]", "body": b""})
    insert(cursor, "feeds", {"user_id": user, "seq": 1})
    insert(cursor, "feed_events", {"user_id": user, "seq": 1, "conversation_id": new_id(), "type": "message.new"})
    insert(cursor, "responses", {"generation_id": finished, "user_id": user})
    insert(cursor, "reserved_conversations", {"id": new_id(), "user_id": user})
    insert(cursor, "client_chats", {"user_id": user, "chat_id": "c", "conversation_id": new_id()})
    ticket = {"digest": new_id().encode(), "user_id": user, "object": new_id(), "token_expires_at": "2100-01-01"}
    insert(cursor, "stream_tickets", ticket)
    day = {"user_id": user, "day": "2026-01-01", "model": "m", "currency": "", "generations": 1}
    insert(cursor, "usage_days", {**day, "input_tokens": 1, "output_tokens": 1})
    insert(cursor, "audit", {"id": new_id(), "user_id": user, "action": "a.b", "object_kind": "a"})
    digest = sha256(user.encode()).digest()
    key = {"id": new_id(), "user_id": user, "name": "n", "digest": digest, "hint": "h", "scopes": ["read"]}
    insert(cursor, "api_keys", key)
    session = {"id": new_id(), "user_id": user, "digest": new_id().encode(), "method": "link"}
    insert(cursor, "identities", {"user_id": user, "issuer": "https://login.example.com", "subject": user})
    insert(cursor, "sessions", {**session, "created_at": "2026-01-01", "seen_at": "2026-01-01"})
    insert(cursor, "key_usage_days", {**day, "key_id": "k", "input_tokens": 1, "output_tokens": 1, "cached_tokens": 0})
    conversation, _ = add_conversation(cursor, user)
    share = {"conversation_id": conversation, "user_id": user, "digest": sha256(f"share {user}".encode()).digest()}
    insert(cursor, "shares", {**share, "title": "t", "messages": "[]"})
    insert(cursor, "preferences", {"user_id": user, "chosen": "{}"})
    insert(cursor, "budgets", {"user_id": user, "limits": "{}"})
    insert(cursor, "erasures", {"id": new_id(), "user_id": user, "digest": bytes(32)})
    insert(cursor, "holds", {"user_id": user, "reason": "r"})
    secret = "whsec_" + "A" * 43 + "="
    endpoint = {"id": new_id(), "user_id": user, "name": "n", "url": "https://example.com/", "secret": secret}
    insert(cursor, "webhook_endpoints", {**endpoint, "event_types": ["response.completed"], "secret_hint": "h"})
    insert(cursor, "webhook_secrets", {"user_id": user, "secret": secret})
    delivery = {"id": new_id(), "user_id": user, "url": "https://example.com/", "event_id": f"evt_{user[-12:]}"}
    insert(cursor, "webhook_deliveries", {**delivery, "event_type": "response.completed", "body": b"{}"})
    attempt = {"delivery_id": delivery["id"], "n": 1, "user_id": user, "status": 200, "latency_ms": 1}
    insert(cursor, "webhook_attempts", attempt)
    add_file(cursor, user, refers_to=message_of(cursor, running))
    add_part(cursor, user, add_upload(cursor, user))
    for table in set(tables) - KNOWN:
        _fill_unknown(cursor, table, user)


def message_of(cursor: Any, generation_id: str) -> str:
    cursor.execute("SELECT message_id FROM generations WHERE id = %s", (generation_id,))
    return str(cursor.fetchone()[0])


def _fill_unknown(cursor: Any, table: str, user: str) -> None:
    """Insert a row with the user and all required columns, without checks of foreign keys."""
    cursor.execute(
        """SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'
           AND table_name = %s AND is_nullable = 'NO' AND column_default IS NULL AND is_generated = 'NEVER'
           AND is_identity = 'NO' AND column_name <> 'user_id'""",
        (table,),
    )
    made = {"uuid": new_id(), "text": "x", "jsonb": "{}", "bytea": b"x", "boolean": True, "date": "2026-01-01"}
    values = {name: made.get(kind, "2026-01-01" if kind.startswith("timestamp") else 1) for name, kind in cursor}
    cursor.execute("SET LOCAL session_replication_role = replica")
    insert(cursor, table, {**values, "user_id": user})


def own(table: str) -> str:
    return "id" if table == "users" else "user_id"


def test_the_catalogue_knows_every_table_of_ours(database_url: str) -> None:
    assert set(tables_of(database_url)) == KNOWN, "a new table is planted below, too"


# Tables of users without a section of their own in the export of app/store/own_data.py, with the reason.
NOT_EXPORTED = {
    "generation_chunks": "the text is in messages",
    "generation_archives": "the text is in messages",
    "feeds": "numbers of changes",
    "feed_events": "the changes of what is exported",
    "responses": "part of generations",
    "stream_tickets": "secrets of a minute",
    "erasures": "refuse their user",
    "webhook_secrets": "secrets",
    "holds": "of operators",
    "file_references": "the ids are in messages",
    "upload_parts": "bytes that are no file yet",
}


def test_every_table_of_users_is_exported_or_has_a_reason(database_url: str) -> None:
    names = {"account": "users", "chats": "client_chats", "usage": "usage_days", "usage_by_key": "key_usage_days"}
    exported = {names.get(section.name, section.name) for section in SECTIONS}
    assert set(tables_of(database_url)) - set(NOT_EXPORTED) == exported


def test_every_table_of_users_is_erased_or_has_a_reason(database_url: str) -> None:
    assert set(tables_of(database_url)) == set(erasures.STEPS) | set(erasures.OTHERWISE)


def two_users(url: str) -> str:
    """Fill every table for two users; return the id of the first."""
    tables = tables_of(url)
    with owner(url) as cursor:
        users = [add_user(cursor), add_user(cursor)]
        for user in users:
            fill(cursor, user, tables)
    return users[0]


def seen_by(url: str, login: str, user: str) -> dict[str, int]:
    """For each table, the number of other users' rows that a user sees without a condition; -1: no row at all."""
    database = Database(as_login(url, login), 1)
    seen = {}
    with database.user(user) as tx:
        for table in user_tables(tx):
            owners = [str(row.owner) for row in fetch(tx, f"SELECT {own(table)} AS owner FROM {table}")]
            seen[table] = sum(owner != user for owner in owners) if owners else -1
    database.close()
    return seen


@pytest.mark.parametrize("login", [WEB, WORKER])
def test_every_table_of_the_catalogue_hides_the_rows_of_others(database_url: str, login: str) -> None:
    assert set(seen_by(database_url, login, two_users(database_url)).values()) == {0}


def test_a_table_that_is_added_later_and_not_protected_is_found(database_url: str) -> None:
    with owner(database_url) as cursor:
        cursor.execute("CREATE TABLE later (id uuid PRIMARY KEY, user_id uuid NOT NULL, note text NOT NULL)")
        cursor.execute("GRANT SELECT ON later TO unbroken_app")
        cursor.execute("CREATE TABLE under_it (generation_id uuid PRIMARY KEY REFERENCES generations, note text)")
    assert {"later", "under_it"} <= set(tables_of(database_url))
    assert any("under_it" in sentence for sentence in found_at_start(database_url, WEB))
    with owner(database_url) as cursor:
        cursor.execute("DROP TABLE under_it")
    assert seen_by(database_url, WEB, two_users(database_url))["later"] == 1


@pytest.fixture(scope="module")
def filled(module_database_url: str) -> tuple[str, str]:
    """The address of a database with rows of two users in every table, and the id of one of them."""
    return module_database_url, two_users(module_database_url)


def plants(tables: set[str]) -> Iterator[Any]:
    """Statements that open a table to other users, each with the statement that closes it again."""
    for table in sorted(tables):
        mine = f"{own(table)} = nullif(current_setting('app.user_id', true), '')::uuid"
        policy = f"ALTER POLICY own_rows ON {table} USING"
        switch = f"ALTER TABLE {table} %s ROW LEVEL SECURITY"
        for name, plant, undo in (
            ("open policy", f"{policy} (true)", f"{policy} ({mine})"),
            ("disabled", switch % "DISABLE", switch % "ENABLE"),
            ("another policy", f"CREATE POLICY also ON {table} TO PUBLIC USING (true)", f"DROP POLICY also ON {table}"),
        ):  # fmt: skip
            yield pytest.param(plant, undo, table, id=f"{table}: {name}")


@pytest.mark.parametrize(("plant", "undo", "table"), list(plants(KNOWN)))
def test_each_opened_table_is_seen_and_refused(filled: tuple[str, str], plant: str, undo: str, table: str) -> None:
    url, alice = filled
    with owner(url) as cursor:
        cursor.execute(plant)
    try:
        assert seen_by(url, WEB, alice)[table] > 0
        found = found_at_start(url, WEB)
    finally:
        with owner(url) as cursor:
            cursor.execute(undo)
    assert found
    assert all(table in sentence for sentence in found)
    assert seen_by(url, WEB, alice)[table] == 0


@pytest.mark.parametrize("table", sorted(KNOWN))
def test_a_table_whose_owner_would_see_everything_is_refused(filled: tuple[str, str], table: str) -> None:
    database_url, _ = filled
    with owner(database_url) as cursor:
        cursor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    (sentence,) = found_at_start(database_url, WEB)
    assert f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;" in sentence
    with owner(database_url) as cursor:
        cursor.execute(sentence.partition("run: ")[2])
    assert found_at_start(database_url, WEB) == []


@pytest.mark.parametrize("change", ["WITH CHECK (true)", "TO unbroken_app, unbroken_operator"])
def test_a_policy_that_lets_rows_be_written_or_others_read_is_refused(database_url: str, change: str) -> None:
    with owner(database_url) as cursor:
        cursor.execute(f"ALTER POLICY own_rows ON messages {change}")
    assert any("messages" in sentence for sentence in found_at_start(database_url, WEB))


def found_at_start(url: str, login: str, **options: bool) -> list[str]:
    database = Database(as_login(url, login), 1)
    try:
        with database.without_user() as tx:
            return breaches(tx, sees_everybody=login == WORKER, **options)
    finally:
        database.close()


@pytest.mark.parametrize("login", [WEB, WORKER])
def test_nothing_is_found_in_a_database_as_the_migrations_leave_it(database_url: str, login: str) -> None:
    assert found_at_start(database_url, login) == []


# --- functions -------------------------------------------------------------------------------------------------------

FUNCTIONS = """
    SELECT CAST(p.oid AS regprocedure)::text AS name, p.prosecdef, pg_get_userbyid(p.proowner) AS owner,
        coalesce(array_to_string(p.proconfig, '; '), '') AS settings,
        EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0) AS open
    FROM pg_proc p WHERE p.pronamespace NOT IN (SELECT oid FROM pg_namespace
        WHERE nspname LIKE 'pg\\_%' OR nspname = 'information_schema')
"""


def complaints(url: str) -> list[str]:
    """Functions with their definer's rights that PUBLIC may call, or whose owner or search path is not the safe one."""
    with owner(url) as cursor:
        cursor.execute(FUNCTIONS)
        rows = cursor.fetchall()
    definers = [row for row in rows if row[1]]
    assert len(definers) >= 14
    return [
        name
        for name, _, function_owner, settings, is_open in definers
        if is_open or "search_path=pg_catalog, public, pg_temp" not in settings or function_owner != "unbroken_definer"
    ]


def test_functions_with_their_definers_rights_look_at_temporary_objects_last(database_url: str) -> None:
    assert complaints(database_url) == []


@pytest.mark.parametrize(
    "plant",
    [
        "ALTER FUNCTION queued_total() SET search_path = public",
        "ALTER FUNCTION queued_total() RESET search_path",
        "GRANT EXECUTE ON FUNCTION queued_total() TO PUBLIC",
        "ALTER FUNCTION queued_total() OWNER TO postgres",
        "CREATE FUNCTION later() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM messages'",
    ],
)
def test_a_function_that_is_not_closed_is_found(database_url: str, plant: str) -> None:
    with owner(database_url) as cursor:
        cursor.execute(plant)
    assert complaints(database_url) in (["queued_total()"], ["later()"])


# --- rights of each role ---------------------------------------------------------------------------------------------


def test_the_roles_are_no_logins_and_have_no_powers(postgres: Postgres, database_url: str) -> None:
    rows = postgres.execute("""SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb
        FROM pg_roles
        WHERE rolname IN ('unbroken_app', 'unbroken_operator', 'unbroken_system', 'unbroken_definer')""")
    assert len(rows) == 4
    assert all(not any(powers) for _, *powers in rows)


RIGHTS = """
    SELECT CAST(p.oid AS regprocedure)::text, 'EXECUTE' FROM pg_proc p, aclexplode(p.proacl) a
    WHERE p.pronamespace = CAST('public' AS regnamespace) AND a.grantee = CAST(%(role)s AS regrole)
    UNION ALL
    SELECT c.relname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.relnamespace = CAST('public' AS regnamespace) AND a.grantee = CAST(%(role)s AS regrole)
"""
# A function that sees every row is granted to the role that needs it; a new function must be added here on purpose.
FUNCTIONS_OF = {
    "unbroken_app": {
        "access_of", "account_of", "api_key_of", "record_audit", "conversation_feed_tops", "find_api_key",
        "generation_census", "generations_of_users", "empty_conversations",
        "log_ends", "next_to_ring",
        "owner_of_conversation", "owner_of_generation", "places_in_queue", "queue_position", "queue_positions",
        "queued_total", "search_mine", "state_of_user", "use_ticket", "user_feed_tops",
        "begin_sign_in", "take_sign_in", "user_of_identity", "owner_of_session",
        "sign_in_code", "touch_sessions", "use_session",
        "set_aside_message", "set_aside_reservation", "shared_conversation", "webhook_census",
    },
    "unbroken_operator": {
        "add_service_account", "end_service_account", "figures_of_user", "service_accounts", "watched_users",
        "audit_page", "block_user", "end_hold", "hold_of", "model_is_used", "place_hold", "record_audit",
        "set_budget", "unblock_user", "watched_generations",
        "count_minutes", "find_generations", "saved_events", "seen_generations",
        "watched_webhook_deliveries",
    },
}  # fmt: skip
# Tables without data of users, and the rights of a role on them.
BESIDE_USERS = {
    "unbroken_app": {
        "alembic_version": {"SELECT"}, "ended_tokens": {"INSERT"}, "model_versions": {"SELECT"}, "models": {"SELECT"},
        "revocations": {"SELECT", "INSERT"}, "schema_info": {"SELECT"}, "upstream_models": {"SELECT"},
    },
    "unbroken_operator": {
        "alembic_version": {"SELECT"}, "model_versions": {"SELECT", "INSERT"}, "workers": {"SELECT"},
        "models": {"SELECT", "INSERT", "UPDATE", "DELETE"}, "revocations": {"INSERT"}, "service_minutes": {"SELECT"},
        "service_quarters": {"SELECT"},
    },
}  # fmt: skip


def too_many_rights(url: str) -> set[tuple[str, str, str]]:
    """Role, object and right of each right that a role has and does not need."""
    ours = set(tables_of(url))
    found = set()
    with owner(url) as cursor:
        for role, functions in FUNCTIONS_OF.items():
            cursor.execute(RIGHTS, {"role": role})
            for name, right in cursor.fetchall():
                if right == "EXECUTE":
                    needed = name.partition("(")[0] in functions
                else:
                    needed = right in BESIDE_USERS[role].get(name, ()) or (role == "unbroken_app" and name in ours)
                if not needed:
                    found.add((role, name, right))
    return found


def test_each_role_has_the_rights_it_needs(database_url: str) -> None:
    assert too_many_rights(database_url) == set()


@pytest.mark.parametrize(
    "plant",
    [
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO unbroken_app",
        "GRANT SELECT ON messages TO unbroken_operator",
        "GRANT SELECT ON workers TO unbroken_app",
        "GRANT INSERT ON models TO unbroken_app",
        "CREATE VIEW everything AS SELECT * FROM messages; GRANT SELECT ON everything TO unbroken_app",
    ],
)
def test_a_right_that_a_role_does_not_need_is_found(database_url: str, plant: str) -> None:
    with owner(database_url) as cursor:
        cursor.execute(plant)
    assert too_many_rights(database_url)


@pytest.mark.parametrize("login", [WEB, WORKER])
def test_the_logins_own_nothing_inherit_nothing_and_have_no_powers(
    postgres: Postgres, database_url: str, login: str
) -> None:
    (row,) = postgres.execute(f"""SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication
        FROM pg_roles WHERE rolname = '{login}'""")
    assert not any(row)
    with owner(database_url) as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = %s", (login,))
        assert cursor.fetchone() == (0,)
        cursor.execute(
            "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = %s AND table_schema = 'public'",
            (login,),
        )
        assert cursor.fetchone() == (0,)
        cursor.execute(
            """SELECT pg_get_userbyid(roleid), inherit_option, admin_option FROM pg_auth_members
               WHERE member = (SELECT oid FROM pg_roles WHERE rolname = %s)""",
            (login,),
        )
        memberships = cursor.fetchall()
    assert {name for name, *_ in memberships} == {"unbroken_app", "unbroken_operator"} | (
        {"unbroken_system"} if login == WORKER else set()
    )
    assert not any(inherits or admin for _, inherits, admin in memberships)


@pytest.mark.parametrize("login", [WEB, WORKER, OWNER])
def test_nobody_but_the_owner_makes_anything_in_the_database(database_url: str, login: str) -> None:
    with owner(database_url) as cursor:
        rights = []
        for role in (login, "unbroken_app", "unbroken_operator", "unbroken_system"):
            cursor.execute(
                """SELECT has_schema_privilege(%s, 'public', 'CREATE'),
                       has_database_privilege(%s, current_database(), 'TEMP'),
                       has_database_privilege(%s, current_database(), 'CREATE')""",
                (role, role, role),
            )
            rights.append(cursor.fetchone())
    assert rights[1:] == [(False, False, False)] * 3
    assert rights[0] == ((True,) * 3 if login == OWNER else (False,) * 3)


def test_the_owner_sees_nothing_without_a_role(database_url: str) -> None:
    """Row-level security is forced: a transaction of the owner that sets no role reads no row."""
    with owner(database_url) as cursor:
        add_message(cursor, *_begun(cursor), seq=2)
    url = make_url(as_login(database_url, OWNER)).set(drivername="postgresql")
    connection = psycopg2.connect(url.render_as_string(hide_password=False))
    try:
        with connection.cursor() as cursor:
            for table in tables_of(database_url):
                cursor.execute(f"SELECT count(*) FROM {table}")
                assert cursor.fetchone() == (0,), table
    finally:
        connection.close()


def _begun(cursor: Any) -> tuple[str, str]:
    user = add_user(cursor, f"somebody-{uuid4().hex[:8]}")
    return add_conversation(cursor, user)[0], user
