"""A migration does not wait for autovacuum, and leaves earlier code the index that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from alembic import command

from dev.postgres import Postgres
from migrations import online
from tests.factories import owner
from tests.operating.test_migrations import config, revisions
from tests.stack import until

# A vacuum of so many rows takes many minutes: 0.1 s for each page.
ROWS = 60_000
SLOW = """
    ALTER TABLE {table} SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_cost_delay = 100)
"""
# The table that a migration changes, and rows of it.
FILLED = {
    "0054": (
        "feed_events",
        """INSERT INTO feed_events (user_id, seq, conversation_id, conversation_seq, type)
           SELECT gen_random_uuid(), n, gen_random_uuid(), n, 'message.new' FROM generate_series(1, {rows}) n""",
    ),
    "0055": (
        "sessions",
        """INSERT INTO sessions (id, user_id, digest, method, created_at, seen_at)
           SELECT gen_random_uuid(), gen_random_uuid(), uuid_send(gen_random_uuid()), 'link', now(), now()
           FROM generate_series(1, {rows})""",
    ),
}
VACUUMING = """
    SELECT 1 FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE a.backend_type = 'autovacuum worker'
        AND a.datname = current_database() AND l.relation = to_regclass('{table}') AND l.granted
        AND l.mode = 'ShareUpdateExclusiveLock' AND a.query LIKE 'autovacuum: VACUUM%'
"""


@pytest.fixture
def scratch(postgres: Postgres) -> Iterator[str]:
    """An empty database."""
    name = f"scratch_{uuid4().hex}"
    postgres.ensure_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def busy_autovacuum(postgres: Postgres) -> Iterator[None]:
    """Autovacuum looks at the databases each second."""
    postgres.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    postgres.execute("SELECT pg_reload_conf()")
    yield
    postgres.execute("ALTER SYSTEM RESET autovacuum_naptime")
    postgres.execute("SELECT pg_reload_conf()")


@pytest.mark.slow
@pytest.mark.usefixtures("busy_autovacuum")
@pytest.mark.parametrize("revision", FILLED)
def test_a_migration_ends_a_vacuum_that_autovacuum_has_begun(
    scratch: str, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    monkeypatch.setattr(online, "PATIENCE_SECONDS", 10)
    table, filled = FILLED[revision]
    command.upgrade(config(scratch), revisions()[revisions().index(revision) - 1])
    with owner(scratch) as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(filled.format(rows=ROWS))
    with owner(scratch) as cursor:
        cursor.execute(SLOW.format(table=table))
        cursor.execute(f"DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} LIMIT {ROWS // 2})")

    def is_vacuumed() -> bool:
        with owner(scratch) as cursor:
            cursor.execute(VACUUMING.format(table=table))
            return cursor.fetchone() is not None

    until(is_vacuumed, 120)
    command.upgrade(config(scratch), revision)


def test_earlier_code_finds_its_index_also_where_it_was_removed(scratch: str) -> None:
    """Code of before 0053 finds old changes by it. An early form of 0053 has removed it."""
    command.upgrade(config(scratch), "0054")
    present = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('feed_events_passing')"
    with owner(scratch) as cursor:
        cursor.execute(present)
        assert cursor.fetchone() == (True,)
        cursor.execute("DROP INDEX feed_events_passing")
    command.upgrade(config(scratch), "head")
    with owner(scratch) as cursor:
        cursor.execute(present)
        assert cursor.fetchone() == (True,)
