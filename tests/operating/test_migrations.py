"""Each migration, taken from the script directory: beside traffic, up and down with rows, and interrupted anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import PendingRollbackError

from dev.postgres import OWNER, Postgres
from dev.process import ROOT
from tests.factories import owner
from tests.integration.test_schema import schema
from tests.logins import as_administrator, as_login, migrate
from tests.stack import until
from tests.traffic import Traffic

MESSAGES = 10_000
WORDS = 80  # of each message
QUIET = 400  # messages that no traffic touches

SEED = """
    INSERT INTO users (id, subject) SELECT gen_random_uuid(), 'user ' || n FROM generate_series(1, 5) n;
    INSERT INTO conversations (id, user_id, first_message_id, title, message_seq, last_message_at)
    SELECT gen_random_uuid(), u.id, gen_random_uuid(), 'title ' || n, {messages} / 100, now() - make_interval(mins => n)
    FROM users u, generate_series(1, 20) n;
    INSERT INTO messages (id, conversation_id, user_id, seq, role, status, content, created_at)
    SELECT CASE WHEN n = 1 THEN c.first_message_id ELSE gen_random_uuid() END, c.id, c.user_id, n,
        CASE WHEN mod(n, 2) = 1 THEN 'user' ELSE 'assistant' END, 'completed', w.words,
        now() - make_interval(hours => CAST(n AS integer))
    FROM conversations c, generate_series(1, {messages} / 100) n, LATERAL (
        SELECT string_agg('word' || CAST(random() * 50000 AS integer), ' ') AS words
        FROM generate_series(1, {words}) WHERE n IS NOT NULL AND c.id IS NOT NULL
    ) w;
    UPDATE messages m SET parent_id = p.id FROM messages p
    WHERE p.conversation_id = m.conversation_id AND p.seq = m.seq - 1;
    INSERT INTO generations (id, user_id, conversation_id, message_id, user_message_id, seq, model, status, epoch,
        final_epoch, final_n, sha256, finished_at, usage)
    SELECT gen_random_uuid(), m.user_id, m.conversation_id, m.id, m.parent_id, m.seq, 'offline', 'completed',
        1, 1, 9, repeat('0', 64), now(), '{{"input_tokens": 3, "output_tokens": 5}}'
    FROM messages m WHERE role = 'assistant' AND seq < {messages} / 100;
    INSERT INTO generations (id, user_id, conversation_id, message_id, user_message_id, seq, model, status, epoch,
        lease_until)
    SELECT gen_random_uuid(), m.user_id, m.conversation_id, m.id, m.parent_id, m.seq, 'offline', 'running', 1, now()
    FROM messages m WHERE role = 'assistant' AND seq = {messages} / 100;
"""
# A digest of text, parent and last_updated of the messages that no traffic touches, and their number.
WITNESS = """
    SELECT md5(string_agg(id || content || last_updated || coalesce(CAST(parent_id AS text), ''), ',' ORDER BY id)),
        count(*)
    FROM (SELECT * FROM messages WHERE conversation_id <> %s ORDER BY conversation_id, seq) m
"""


def config(url: str) -> Config:
    made = Config(str(ROOT / "alembic.ini"))
    made.set_main_option("script_location", str(ROOT / "migrations"))
    made.set_main_option("sqlalchemy.url", as_login(url, OWNER))
    return made


def revisions() -> list[str]:
    scripts = ScriptDirectory.from_config(Config(str(ROOT / "alembic.ini")))
    return [script.revision for script in scripts.walk_revisions()][::-1]


@pytest.fixture
def scratch(postgres: Postgres) -> Iterator[str]:
    """An empty database."""
    name = f"scratch_{uuid4().hex}"
    postgres.ensure_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


def seeded(url: str, messages: int = MESSAGES, words: int = WORDS) -> dict[str, str]:
    """Fill a database of the first revision. Returns the ids of some rows that traffic may use."""
    command.upgrade(config(url), revisions()[0])
    with owner(url) as cursor:
        cursor.execute(SEED.format(messages=messages, words=words))
        cursor.execute("SELECT id, conversation_id, user_id FROM messages ORDER BY conversation_id, seq LIMIT 1")
        message, conversation, user = cursor.fetchone()
        cursor.execute("SELECT id FROM generations WHERE conversation_id = %s AND status = 'running'", (conversation,))
        generation = cursor.fetchone()[0]
    return {"message": message, "conversation": conversation, "user": user, "generation": generation}


def witness(url: str, conversation: str) -> Any:
    with owner(url) as cursor:
        cursor.execute(WITNESS, (conversation,))
        return cursor.fetchone()


def move(url: str, ids: dict[str, str], direction: str, targets: list[str]) -> dict[str, list[str]]:
    """Migrate to each target beside traffic. Returns the statements that waited too long, by target."""
    late: dict[str, list[str]] = {}
    for target in targets:
        with Traffic(url, ids) as traffic:
            getattr(command, direction)(config(url), target)
        assert not traffic.broken
        assert traffic.done > 0
        if traffic.late:
            late[f"{direction} to {target}"] = traffic.late
    return late


@pytest.mark.slow
def test_no_migration_makes_a_reader_or_a_writer_wait_for_a_second(scratch: str, migrated_template: str) -> None:
    ids = seeded(scratch)
    before = witness(scratch, ids["conversation"])
    assert move(scratch, ids, "upgrade", revisions()[1:]) == {}
    check_rows(scratch, ids, before)


@pytest.mark.slow
def test_no_way_back_makes_a_reader_or_a_writer_wait_for_a_second(scratch: str, migrated_template: str) -> None:
    ids = seeded(scratch)
    before = witness(scratch, ids["conversation"])
    command.upgrade(config(scratch), "head")
    assert move(scratch, ids, "downgrade", revisions()[-2::-1]) == {}
    assert move(scratch, ids, "upgrade", ["head"]) == {}
    check_rows(scratch, ids, before)


def check_rows(url: str, ids: dict[str, str], before: Any) -> None:
    """Assert that the rows of the seed are as they were, and that the columns made of them are right."""
    assert witness(url, ids["conversation"]) == before
    with owner(url) as cursor:
        cursor.execute(
            "SELECT count(*) FROM messages WHERE search IS DISTINCT FROM words_of_message(user_id, created_at, content)"
        )
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT sum(output_tokens) FROM usage_days")
        assert cursor.fetchone()[0] == 5 * (MESSAGES // 2 - 100)


WAITS_FOR = """
    SELECT 1 FROM pg_locks WHERE NOT granted AND relation = to_regclass(%s) AND mode = 'AccessExclusiveLock'
"""
# Shorter than the migration's wait for one lock, so that it gets the lock.
LEAVES_SECONDS = 0.2


def _leave_when_waited_for(url: str, table: str, holding: Event, over: Event) -> None:
    """Hold a table like a reader whose transaction ends a moment after a migration has begun to wait for it."""
    with closing(psycopg2.connect(as_administrator(url))) as connection, owner(url) as looker:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {table} LIMIT 1")
        holding.set()
        while not over.is_set():
            looker.execute(WAITS_FOR, (table,))
            if looker.fetchone():
                over.wait(LEAVES_SECONDS)
                return
            over.wait(0.01)


@pytest.mark.slow
def test_a_migration_that_waits_for_one_table_after_the_other_delays_nobody_for_a_second(scratch: str) -> None:
    """The wait for each lock is bounded; the sum of the waits is the time for which the first lock is held."""
    ids = seeded(scratch)
    command.upgrade(config(scratch), "0013")
    over = Event()
    holders = []
    for table in ("messages", "generations", "generation_chunks", "responses", "client_chats", "feeds", "feed_events"):
        holding = Event()
        arguments = (scratch, table, holding, over)
        holders.append(Thread(target=_leave_when_waited_for, args=arguments, daemon=True))
        holders[-1].start()
        assert holding.wait(30)
    with Traffic(scratch, ids, holds=False) as traffic:
        command.upgrade(config(scratch), "0014")
    over.set()
    for thread in holders:
        thread.join(30)
    assert not traffic.broken
    assert traffic.late == []


class Interrupted(BaseException):
    """Stands for a kill of the process: no handler of an Exception catches it."""


@pytest.fixture
def interrupted() -> Iterator[Any]:
    """A function that makes the connection die after a number of statements from now on; None: never."""
    left: list[int | None] = [None]

    def count(*_: Any) -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted

    event.listen(Engine, "after_cursor_execute", count)
    yield lambda statements: left.__setitem__(0, statements)
    event.remove(Engine, "after_cursor_execute", count)


@pytest.mark.slow
def test_a_migration_that_was_interrupted_after_any_statement_runs_again(
    postgres: Postgres, scratch: str, migrated_template: str, interrupted: Any
) -> None:
    with owner(scratch) as cursor:
        cursor.execute("SELECT 1")
    statements = 0
    while True:
        statements += 1
        interrupted(statements)
        try:
            command.upgrade(config(scratch), "head")
        except (Interrupted, PendingRollbackError):
            continue
        finally:
            interrupted(None)
        break
    assert statements > 10
    assert schema(scratch) == schema(postgres.url(migrated_template))


def test_an_index_of_which_a_killed_build_left_half_is_built_again(scratch: str) -> None:
    seeded(scratch)
    command.upgrade(config(scratch), "0002")
    with closing(psycopg2.connect(as_administrator(scratch))) as writer, writer.cursor() as cursor:
        # A concurrent build of an index waits for this transaction.
        cursor.execute("UPDATE messages SET content = 'x' WHERE seq = 1")
        refused: list[BaseException] = []
        thread = Thread(target=lambda: _run_refused(scratch, refused))
        thread.start()
        until(lambda: _kill_build(scratch))
        thread.join(60)
        assert refused
    with owner(scratch) as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('messages_client_msg')")
        assert cursor.fetchone() == (False,)
    command.upgrade(config(scratch), "0003")
    with owner(scratch) as cursor:
        cursor.execute("SELECT bool_and(indisvalid) FROM pg_index")
        assert cursor.fetchone() == (True,)


def _run_refused(url: str, refused: list[BaseException]) -> None:
    try:
        command.upgrade(config(url), "0003")
    except Exception as error:
        refused.append(error)


def _kill_build(url: str) -> bool:
    with owner(url) as cursor:
        cursor.execute("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'
        """)
        return bool(cursor.fetchall())


@pytest.mark.slow
def test_two_deployments_that_migrate_at_once_do_not_wait_for_each_other_for_ever(
    scratch: str, postgres: Postgres, migrated_template: str
) -> None:
    seeded(scratch)
    # Alembic keeps its context in a module, so each needs a process of its own.
    threads = [Thread(target=migrate, args=(scratch,), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not [thread for thread in threads if thread.is_alive()]
    assert schema(scratch) == schema(postgres.url(migrated_template))


def test_an_installation_with_generated_columns_gets_the_same_schema(
    scratch: str, postgres: Postgres, migrated_template: str
) -> None:
    """Releases up to revision 0014 made ``search`` a generated column."""
    command.upgrade(config(scratch), "0014")
    with owner(scratch) as cursor:
        cursor.execute("""
            DROP TRIGGER keep_words ON messages;
            DROP TRIGGER keep_words ON conversations;
            DROP FUNCTION keep_words_of_message(), keep_words_of_conversation(), words_of_conversation(uuid, text),
                words_of_message(uuid, timestamptz, text);
            ALTER TABLE messages DROP COLUMN search;
            ALTER TABLE messages ADD COLUMN search tsvector GENERATED ALWAYS AS (
                array_to_tsvector(ARRAY['=' || CAST(user_id AS text) || '/' || CAST(month_of(created_at) AS text)])
                || to_tsvector('simple', left(content, 100000))) STORED;
            ALTER TABLE conversations DROP COLUMN search;
            ALTER TABLE conversations ADD COLUMN search tsvector GENERATED ALWAYS AS (
                array_to_tsvector(ARRAY['=' || CAST(user_id AS text)])
                || to_tsvector('simple', coalesce(title, ''))) STORED;
            CREATE INDEX messages_search ON messages USING gin (search) WHERE indexed;
            CREATE INDEX conversations_search ON conversations USING gin (search) WHERE title IS NOT NULL;
        """)
    command.upgrade(config(scratch), "head")
    assert schema(scratch) == schema(postgres.url(migrated_template))
