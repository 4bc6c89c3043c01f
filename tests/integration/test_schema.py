"""Guarantees of PostgreSQL itself, which hold for any code of the service."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, get_args
from uuid import uuid4

import psycopg2
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from app.domain.commands import ChangeConversation, ListConversations
from app.domain.cursor import START
from app.domain.events import Snapshot, encode, pack
from app.domain.generation import TERMINAL, Status
from app.domain.lease import Lease
from app.services.finishing import Ending
from app.store import checkpoints, conversations, feed, generations, leases, messages
from app.store.database import Database, Tx, execute, fetch, fetch_one
from dev.postgres import Postgres
from tests.conftest import ROOT
from tests.factories import add_conversation, add_generation, add_message, add_user, ending, insert, new_id, owner
from tests.logins import as_administrator, migrate
from tests.stack import Stack, until

USER_TABLES = {
    "users", "conversations", "messages", "generations", "generation_chunks", "generation_archives", "feeds",
    "feed_events",
}  # fmt: skip


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, 5)
    yield database
    database.close()


@pytest.fixture
def scratch(postgres: Postgres) -> Iterator[str]:
    """An empty database."""
    name = f"scratch_{uuid4().hex}"
    postgres.ensure_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


# --- migrations ----------------------------------------------------------------------------------------------------


def schema(url: str) -> set[tuple[str, ...]]:
    """All objects that migrations make, as text."""
    with owner(url) as cursor:
        cursor.execute("""
            SELECT 'column', table_name || '.' || column_name, data_type || ' ' || is_nullable
                || ' ' || coalesce(column_default, '') FROM information_schema.columns WHERE table_schema = 'public'
            UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
            UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace
            UNION ALL SELECT 'trigger', tgname || ' on ' || tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger
                WHERE NOT tgisinternal
            UNION ALL SELECT 'policy', policyname || ' on ' || tablename, coalesce(qual, '') FROM pg_policies
            UNION ALL SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL SELECT 'grant', table_name || ' to ' || grantee,
                string_agg(privilege_type, ',' ORDER BY privilege_type)
                FROM information_schema.role_table_grants WHERE table_schema = 'public' GROUP BY table_name, grantee
        """)
        return set(cursor.fetchall())


def test_there_is_exactly_one_head() -> None:
    script = ScriptDirectory.from_config(Config(str(ROOT / "alembic.ini")))
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1


def test_up_down_and_up_again_gives_the_same_schema(scratch: str) -> None:
    migrate(scratch)
    first = schema(scratch)
    assert {name.partition(".")[0] for kind, name, _ in first if kind == "column"} >= USER_TABLES
    migrate(scratch, "downgrade", "base")
    left = {name.partition(".")[0] for _, name, _ in schema(scratch)}
    assert all("alembic_version" in name for name in left), left
    migrate(scratch)
    assert schema(scratch) == first


def test_migrating_a_migrated_database_does_nothing(database_url: str) -> None:
    before = schema(database_url)
    migrate(database_url)
    assert schema(database_url) == before


# --- row-level security ----------------------------------------------------------------------------------------------


def test_every_table_with_user_data_has_row_level_security(database_url: str) -> None:
    with owner(database_url) as cursor:
        cursor.execute("""
            SELECT relname, relrowsecurity FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
            WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND attname = 'user_id'
        """)
        found = dict(cursor.fetchall())
        cursor.execute("SELECT relrowsecurity FROM pg_class WHERE oid = 'users'::regclass")
        found["users"] = cursor.fetchone()[0]
        cursor.execute("SELECT tablename, array_agg(roles::text) FROM pg_policies GROUP BY tablename")
        policies = dict(cursor.fetchall())
    assert set(found) >= USER_TABLES
    assert all(found.values()), found
    assert all("{unbroken_app}" in policies[table] for table in found)


@pytest.fixture
def two(database_url: str) -> tuple[str, str]:
    """Two users with equal rows in every table."""
    with owner(database_url) as cursor:
        users = []
        for name in ("alice", "bob"):
            user = add_user(cursor, name)
            running = add_generation(cursor, user, "running", epoch=1)
            finished = add_generation(cursor, user, "completed", epoch=1)
            cursor.execute(
                "INSERT INTO generation_chunks VALUES (%s, %s, 1, 0, 0, %s)", (running, user, f"{name} secret".encode())
            )
            cursor.execute(
                "INSERT INTO generation_archives (generation_id, user_id, revisions, body) VALUES (%s, %s, '[]', %s)",
                (finished, user, f"{name} secret".encode()),
            )
            cursor.execute("INSERT INTO feeds VALUES (%s, 1)", (user,))
            insert(
                cursor, "feed_events", {"user_id": user, "seq": 1, "conversation_id": new_id(), "type": "message.new"}
            )
            users.append(user)
    return users[0], users[1]


def own(table: str) -> str:
    return "id" if table == "users" else "user_id"


@pytest.mark.parametrize("table", sorted(USER_TABLES))
def test_a_user_sees_only_own_rows_even_without_where(database: Database, two: tuple[str, str], table: str) -> None:
    alice, _ = two
    with database.user(alice) as tx:
        assert {str(row.owner) for row in fetch(tx, f"SELECT {own(table)} AS owner FROM {table}")} == {alice}


@pytest.mark.parametrize("table", sorted(USER_TABLES))
def test_a_user_deletes_and_changes_only_own_rows_even_without_where(
    database: Database, database_url: str, two: tuple[str, str], table: str
) -> None:
    alice, bob = two
    changed = {
        "users": "tokens_from = now()",
        "conversations": "title = 'x'",
        "messages": "content = 'x'",
        "generations": "worker = 'x'",
        "generation_chunks": "body = 'x'",
        "generation_archives": "body = 'x'",
        "feeds": "seq = 5",
        "feed_events": "type = 'x'",
    }[table]
    before = rows_of(database_url, table, bob)
    with database.user(alice) as tx:
        assert execute(tx, f"UPDATE {table} SET {changed}") == len(rows_of(database_url, table, alice))
    with database.user(alice) as tx:
        execute(tx, f"DELETE FROM {table}")
        if table == "messages":
            execute(tx, "DELETE FROM conversations")  # an empty conversation would be refused
    assert rows_of(database_url, table, bob) == before
    assert rows_of(database_url, table, alice) == []


def rows_of(url: str, table: str, user: str) -> list[Any]:
    with owner(url) as cursor:
        cursor.execute(f"SELECT * FROM {table} WHERE {own(table)} = %s ORDER BY 1", (user,))
        return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in cursor.fetchall()]


@pytest.mark.parametrize("table", sorted(USER_TABLES))
def test_without_a_user_there_are_no_rows(database: Database, two: tuple[str, str], table: str) -> None:
    with database.without_user() as tx:
        assert fetch_one(tx, "SELECT current_user AS name").name == "unbroken_app"  # type: ignore[union-attr]
        assert fetch(tx, f"SELECT 1 FROM {table}") == []


def test_the_user_of_one_transaction_is_not_the_next_ones(database_url: str, two: tuple[str, str]) -> None:
    database = Database(database_url, 1)
    with database.user(two[0]) as tx:
        assert fetch(tx, "SELECT 1 FROM conversations")
    with database.without_user() as tx:
        assert fetch(tx, "SELECT 1 FROM conversations") == []
    with database.system() as tx:
        assert len(fetch(tx, "SELECT DISTINCT user_id FROM conversations")) == 2
    with database.without_user() as tx:
        assert fetch(tx, "SELECT 1 FROM conversations") == []
    database.close()


@pytest.mark.parametrize(
    "table", ["conversations", "messages", "generations", "generation_chunks", "feeds", "feed_events"]
)
def test_a_user_cannot_add_rows_for_another_or_give_them_away(
    database: Database, database_url: str, two: tuple[str, str], table: str
) -> None:
    alice, bob = two
    with pytest.raises(DBAPIError, match="row-level security"), database.user(alice) as tx:
        execute(tx, f"UPDATE {table} SET user_id = :bob", bob=bob)
    with owner(database_url) as cursor:
        cursor.execute(f"SELECT * FROM {table} WHERE user_id = %s LIMIT 1", (alice,))
        row = dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))
    row["user_id"] = bob
    if "id" in row:
        row["id"] = new_id()
    generated = {"search"}
    kept = {name: v for name, v in row.items() if not isinstance(v, (dict, list)) and name not in generated}
    columns, places = ", ".join(kept), ", ".join(f":{name}" for name in kept)
    with pytest.raises(DBAPIError, match="row-level security"), database.user(alice) as tx:
        execute(tx, f"INSERT INTO {table} ({columns}) VALUES ({places})", **kept)


def test_the_system_role_is_not_reachable_from_a_users_statement_by_mistake(database: Database) -> None:
    with database.without_user() as tx:
        row = fetch_one(tx, "SELECT rolbypassrls, rolsuper, rolcanlogin FROM pg_roles WHERE rolname = 'unbroken_app'")
    assert row is not None
    assert tuple(row) == (False, False, False)


def test_a_login_role_that_owns_nothing_is_enough_at_run_time(
    postgres: Postgres, database_url: str, redis_url: str, tmp_path: Any
) -> None:
    """A login that an administrator has made needs only to be a member of the service's roles."""
    name = f"guest_{uuid4().hex[:8]}"
    postgres.execute("CREATE ROLE {} LOGIN PASSWORD 'guest'", name)
    postgres.execute("GRANT unbroken_app, unbroken_operator, unbroken_system TO {} WITH INHERIT FALSE", name)
    guest = make_url(database_url).set(username=name, password="guest").render_as_string(hide_password=False)
    stack = Stack(tmp_path, guest, redis_url)
    try:
        started = stack.start("Hello", model="offline")
        with stack.resources.database.system() as tx:
            claimed = leases.claim(tx, started.generation.id, "test", 30, 60)
        assert claimed
        frozen = stack.resources.takeover.freeze(claimed, 1)
        payloads = [encode(Snapshot("", "start", 1))]
        stack.resources.finisher.finish(claimed, payloads, frozen.transcript, Ending("completed", "stop"), [])
        assert stack.resources.generations.get(stack.user, started.generation.id).row.status == "completed"
        assert stack.resources.reader.read(started.generation.id, START)
    finally:
        stack.stop()
        postgres.execute("DROP ROLE {}", name)


# --- rules ----------------------------------------------------------------------------------------------------------


def test_the_database_allows_exactly_the_moves_of_the_table(database_url: str) -> None:
    allowed = set()
    with owner(database_url) as cursor:
        user = add_user(cursor)
        for old, new in itertools.permutations(get_args(Status), 2):
            generation = add_generation(cursor, user, old, epoch=1)
            values = {"status": new, **ending(new)}
            sets = ", ".join(f"{name} = %s" for name in values)
            cursor.execute("SAVEPOINT before")
            try:
                cursor.execute(f"UPDATE generations SET {sets} WHERE id = %s", [*values.values(), generation])
                allowed.add((old, new))
            except psycopg2.errors.CheckViolation:
                cursor.execute("ROLLBACK TO before")
    assert allowed == {("queued", "running"), *(("running", end) for end in TERMINAL)}


@pytest.mark.parametrize("status", get_args(Status))
@pytest.mark.parametrize("change", ["epoch = epoch - 1", "epoch = 0, status = 'running'"])
def test_an_epoch_never_goes_back(database_url: str, status: str, change: str) -> None:
    with owner(database_url) as cursor:
        generation = add_generation(cursor, add_user(cursor), status, epoch=2)
        with pytest.raises(psycopg2.errors.CheckViolation, match="never goes back"):
            cursor.execute(f"UPDATE generations SET {change} WHERE id = %s", (generation,))


def test_an_end_is_written_completely_or_not_at_all(database_url: str) -> None:
    complete = ending("completed")
    for missing in complete:
        with owner(database_url) as cursor:
            generation = add_generation(cursor, add_user(cursor), "running", epoch=1)
            values = {"status": "completed", **complete, missing: None}
            sets = ", ".join(f"{name} = %s" for name in values)
            with pytest.raises(psycopg2.errors.CheckViolation):
                cursor.execute(f"UPDATE generations SET {sets} WHERE id = %s", [*values.values(), generation])


def test_a_conversation_without_its_message_is_refused_at_commit(database_url: str) -> None:
    with owner(database_url) as cursor:
        user = add_user(cursor)
        cursor.execute(
            "INSERT INTO conversations (id, user_id, first_message_id) VALUES (%s, %s, %s)", (new_id(), user, new_id())
        )
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="conversations_first_message"):
            cursor.connection.commit()
    with owner(database_url) as cursor:
        cursor.execute("SELECT count(*) FROM conversations")
        assert cursor.fetchone() == (0,)


def test_an_idempotency_key_is_unique_for_its_user_only(database_url: str) -> None:
    with owner(database_url) as cursor:
        alice, bob = add_user(cursor), add_user(cursor)
        add_generation(cursor, alice, idempotency_key="k")
        add_generation(cursor, bob, idempotency_key="k")
        add_generation(cursor, alice)
        add_generation(cursor, alice)
        with pytest.raises(psycopg2.errors.UniqueViolation):
            add_generation(cursor, alice, idempotency_key="k")


def test_a_message_number_is_used_once_in_a_conversation(database_url: str) -> None:
    with owner(database_url) as cursor:
        user = add_user(cursor)
        conversation, _ = add_conversation(cursor, user)
        with pytest.raises(psycopg2.errors.UniqueViolation):
            add_message(cursor, conversation, user, seq=1)


@pytest.mark.parametrize("table", ["conversations", "messages", "generations", "models"])
def test_last_updated_moves_with_every_change(database_url: str, table: str) -> None:
    key = "name" if table == "models" else "id"
    with owner(database_url) as cursor:
        add_generation(cursor, add_user(cursor))
    seen = []
    for _ in range(2):
        with owner(database_url) as cursor:
            cursor.execute(f"UPDATE {table} SET last_updated = '2001-01-01', {key} = {key}")
            cursor.execute(f"SELECT min(last_updated), now() FROM {table}")
            changed, now = cursor.fetchone()
            assert changed >= now
            seen.append(changed)
    assert seen[0] < seen[1]


def test_deleting_a_user_deletes_everything_of_theirs(database_url: str, two: tuple[str, str]) -> None:
    alice, bob = two
    with owner(database_url) as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", (alice,))
    assert [rows_of(database_url, table, alice) for table in sorted(USER_TABLES)] == [[]] * len(USER_TABLES)
    assert all(rows_of(database_url, table, bob) for table in USER_TABLES)


def test_the_built_in_models_are_there(database: Database) -> None:
    with database.system() as tx:
        names = [row.name for row in fetch(tx, "SELECT name FROM models ORDER BY name")]
    assert names == ["offline", "offline-fast", "offline-tools"]


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(module_database_url: str) -> Iterator[tuple[Database, dict[str, str]]]:
    """Some thousand rows in every table, as after a year: nearly all are finished, a few are live."""
    with owner(module_database_url) as cursor:
        for subject in range(40):
            add_user(cursor, f"user {subject}")
        cursor.execute(
            """
            INSERT INTO conversations (id, user_id, first_message_id, model, message_seq, last_message_at, archived_at)
            SELECT gen_random_uuid(), u.id, gen_random_uuid(), CASE WHEN mod(n, 5) = 0 THEN 'offline' END, 6,
                now() - make_interval(mins => n), CASE WHEN mod(n, 7) = 0 THEN now() END
            FROM users u, generate_series(1, 100) n;
            INSERT INTO messages (id, conversation_id, user_id, seq, role, status, content)
            SELECT CASE WHEN n = 1 THEN c.first_message_id ELSE gen_random_uuid() END, c.id, c.user_id, n,
                CASE WHEN mod(n, 2) = 1 THEN 'user' ELSE 'assistant' END, 'completed', repeat('word ', 20)
            FROM conversations c, generate_series(1, 6) n;
            UPDATE messages m SET parent_id = p.id FROM messages p
            WHERE p.conversation_id = m.conversation_id AND p.seq = m.seq - 1;
            INSERT INTO generations (id, user_id, conversation_id, message_id, user_message_id, seq, model, status,
                epoch, final_epoch, final_n, sha256, finished_at, idempotency_key, request_hash)
            SELECT gen_random_uuid(), m.user_id, m.conversation_id, m.id, m.parent_id, m.seq, 'offline', 'completed',
                1, 1, 9, repeat('0', 64), now(), gen_random_uuid()::text, ''
            FROM messages m WHERE role = 'assistant';
            INSERT INTO generation_archives SELECT id, user_id, '[[1, 2]]', %s FROM generations;
            INSERT INTO feed_events (user_id, seq, conversation_id, conversation_seq, type, message_id)
            SELECT m.user_id, row_number() OVER (PARTITION BY m.user_id ORDER BY m.id), m.conversation_id, m.seq,
                'message.new', m.id FROM messages m;
            INSERT INTO feeds SELECT user_id, max(seq) FROM feed_events GROUP BY user_id;
            UPDATE conversations SET feed_seq = 6;
        """,
            (pack([b"a", b"b"]),),
        )
        cursor.execute("SELECT id FROM users ORDER BY id LIMIT 1")
        ids = {"user": cursor.fetchone()[0]}
        for number_ in range(30):
            status = "running" if number_ % 3 else "queued"
            ids[f"live {number_}"] = ids["live"] = add_generation(
                cursor, ids["user"], status, epoch=number_ % 2, lease_until="2001-01-01"
            )
            for first in range(0, 500, 25):
                cursor.execute(
                    "INSERT INTO generation_chunks VALUES (%s, %s, 1, %s, %s, %s)",
                    (ids["live"], ids["user"], first, first + 24, pack([b"x"] * 25)),
                )
        cursor.execute(
            "SELECT id, conversation_id, idempotency_key FROM generations WHERE user_id = %s", (ids["user"],)
        )
        ids["generation"], ids["conversation"], ids["key"] = cursor.fetchone()
        cursor.execute("SELECT id FROM messages WHERE conversation_id = %s ORDER BY seq DESC", (ids["conversation"],))
        ids["message"] = cursor.fetchone()[0]
    with closing(psycopg2.connect(as_administrator(module_database_url))) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE")
    database = Database(module_database_url, 2)
    yield database, ids
    database.close()


def plans(tx: Tx, ask: Callable[[], Any]) -> str:
    """The plans of the statements that ``ask`` executes, with their values."""
    said: list[tuple[str, Any]] = []

    def remember(connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
        said.append((statement, values))

    event.listen(tx, "before_cursor_execute", remember)
    ask()
    event.remove(tx, "before_cursor_execute", remember)
    assert said
    lines = []
    for statement, values in said:
        result = tx.exec_driver_sql(f"EXPLAIN {statement}", values)
        lines += [row[0] for row in result]
    return "\n".join(lines)


BIG = ("conversations", "messages", "generations", "generation_chunks", "generation_archives", "feed_events")
Ask = Callable[[Tx, dict[str, str]], Any]


# One conversation of a user is found by either, in one step.
OF_CONVERSATION = ("conversations_pkey", "conversations_of_user")


def listing(before: Any = None, **fields: Any) -> Ask:
    return lambda tx, ids: conversations.page(tx, ids["user"], ListConversations(**fields), 21, before)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        pytest.param(listing(), "conversations_listed", id="list"),
        pytest.param(listing(archived=True), "conversations_archived", id="list of archived ones"),
        pytest.param(listing(pinned=True), ("conversations_pinned", "conversations_listed"), id="list of pinned ones"),
        pytest.param(listing(model="offline"), "conversations_by_model", id="list by model"),
        pytest.param(
            listing(before=("2026-01-01T00:00:00Z", new_id())), "conversations_listed", id="second page of the list"
        ),
        pytest.param(lambda tx, ids: conversations.get(tx, ids["conversation"]), OF_CONVERSATION, id="conversation"),
        pytest.param(
            lambda tx, ids: messages.page(tx, ids["conversation"], 2, 50),
            "messages_conversation_id_seq_key",
            id="messages",
        ),
        pytest.param(lambda tx, ids: messages.branch(tx, ids["message"], 15), "messages_pkey", id="branch"),
        pytest.param(
            lambda tx, ids: messages.newest_id(tx, ids["conversation"]),
            "messages_conversation_id_seq_key",
            id="last message",
        ),
        pytest.param(lambda tx, ids: generations.live_in(tx, ids["conversation"]), "generations_live", id="status"),
        pytest.param(lambda tx, ids: generations.get(tx, ids["generation"]), "generations_pkey", id="generation"),
        pytest.param(lambda tx, ids: generations.by_key(tx, ids["key"]), "generations_idempotency", id="repeat"),
        pytest.param(
            lambda tx, ids: conversations.change(tx, ids["conversation"], ChangeConversation(title="x")),
            OF_CONVERSATION,
            id="change",
        ),
        pytest.param(
            lambda tx, ids: feed.of_conversation(tx, ids["conversation"], 2, 200),
            "feed_events_of_conversation",
            id="feed of a conversation",
        ),
        pytest.param(lambda tx, ids: feed.of_user(tx, ids["user"], 500, 50), "feed_events_pkey", id="feed of a user"),
        pytest.param(
            lambda tx, ids: feed.tops_of_conversations(tx, [ids["conversation"]]),
            OF_CONVERSATION,
            id="end of a feed",
        ),
        pytest.param(
            lambda tx, ids: feed.record_deletion(tx, ids["conversation"]),
            "feed_events_of_conversation",
            id="forget a feed",
        ),
    ],
)
def test_a_users_statements_use_their_indexes(
    crowded: tuple[Database, dict[str, str]], ask: Ask, index: str | tuple[str, ...]
) -> None:
    database, ids = crowded
    with database.user(ids["user"]) as tx:
        plan = plans(tx, lambda: ask(tx, ids))
    assert any(name in plan for name in ((index,) if isinstance(index, str) else index)), plan
    assert not [table for table in BIG if f"Seq Scan on {table}" in plan], plan


def inside(tx: Tx, function: str, **arguments: str) -> None:
    """Run the statement of an SQL function by itself, as the system role. EXPLAIN shows no plan inside a function."""
    body = fetch_one(tx, "SELECT prosrc FROM pg_proc WHERE proname = :name", name=function)
    assert body is not None
    statement = body.prosrc
    for name, value in arguments.items():
        array = f"ANY(CAST('{{{value}}}' AS uuid[]))"
        statement = statement.replace(f"ANY({name})", array).replace(f"=> {name}", f"=> {value}")
        statement = statement.replace(f"= {name}", f"= '{value}'")
    fetch(tx, statement)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        pytest.param(lambda tx, ids: leases.due(tx, 100, 30, 1000), "generations_turns", id="sweep"),
        pytest.param(lambda tx, ids: leases.claim(tx, ids["live"], "w", 30, 60), "generations_pkey", id="claim"),
        pytest.param(
            lambda tx, ids: leases.renew(
                tx,
                [
                    checkpoints.Checkpoint(Lease(ids[f"live {n}"], 1), ids["user"], 500, 524, b"x", None)
                    for n in range(3)
                ],
                30,
            ),
            "generations_pkey",
            id="renew",
        ),
        pytest.param(
            lambda tx, ids: checkpoints.chunks(tx, ids["live"], 1, 480), "generation_chunks_pkey", id="chunks"
        ),
        pytest.param(
            lambda tx, ids: checkpoints.archived(tx, ids["generation"]), "generation_archives_pkey", id="archive"
        ),
        pytest.param(
            lambda tx, ids: inside(tx, "generation_census", lost_seconds="4", stuck_seconds="9"),
            "generations_",
            id="census",
        ),
        pytest.param(lambda tx, ids: inside(tx, "log_ends", wanted=ids["generation"]), "generations_pkey", id="ends"),
        pytest.param(
            lambda tx, ids: inside(tx, "owner_of_generation", wanted=ids["generation"]), "generations_pkey", id="owner"
        ),
    ],
)
def test_the_workers_statements_use_their_indexes(
    crowded: tuple[Database, dict[str, str]], ask: Ask, index: str
) -> None:
    database, ids = crowded
    with database.system() as tx:
        plan = plans(tx, lambda: ask(tx, ids))
        tx.rollback()
    assert any(name in plan for name in ((index,) if isinstance(index, str) else index)), plan
    assert not [table for table in BIG if f"Seq Scan on {table}" in plan], plan


def test_counting_the_queue_does_not_read_the_finished(crowded: tuple[Database, dict[str, str]]) -> None:
    database, _ = crowded
    with owner(str(database.engine.url.render_as_string(hide_password=False))) as cursor:
        cursor.execute("EXPLAIN SELECT count(*) FROM generations WHERE status = 'queued'")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "generations_turns" in plan, plan


def test_what_a_renewal_changes_stands_together(database_url: str) -> None:
    """The WAL record of a heap-only update has all bytes from the first changed one to the last."""
    with owner(database_url) as cursor:
        cursor.execute("""
            SELECT attname FROM pg_attribute WHERE attrelid = 'generations'::regclass AND attnum > 0
                AND NOT attisdropped ORDER BY attnum
        """)
        columns = [row[0] for row in cursor.fetchall()]
    first, last = sorted((columns.index("last_updated"), columns.index("lease_until")))
    # Columns that an end writes are NULL while leases are renewed, and a NULL takes no bytes.
    assert set(columns[first + 1 : last]) <= {"cost", "currency"}


def test_renewing_a_lease_touches_no_index(database: Database, database_url: str, two: tuple[str, str]) -> None:
    """A renewal is a heap-only update, which makes heartbeats cheap."""
    with owner(database_url) as cursor:
        generation = add_generation(cursor, two[0], "running", epoch=1, lease_until="2100-01-01")
    beat = checkpoints.Checkpoint(Lease(generation, 1), two[0], 0, 0, None, None)
    for _ in range(5):
        with database.system() as tx:
            assert leases.renew(tx, [beat], 30) == {generation}
    database.close()  # a backend publishes its statistics when it exits, if not before

    def counted() -> tuple[int, int]:
        with owner(database_url) as cursor:
            cursor.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'generations'")
            [(updated, hot)] = cursor.fetchall()
            return updated, hot

    until(lambda: counted()[0] >= 5)
    updated, hot = counted()
    assert hot == updated
