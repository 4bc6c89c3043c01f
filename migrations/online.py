"""Changes of the schema beside a running service. No reader or writer waits for one of them longer than a second.

A migration has two parts. The first runs outside a transaction, inside ``with online()``: long work that locks little,
in steps that can be repeated, because an interrupted migration runs again from its beginning. The second part is short:
it is one transaction together with the new revision number, and every lock in it comes from ``quickly``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from alembic import op
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

# A statement that waits for a strong lock delays every statement behind it, so it gives up soon and is repeated later.
# The locks of one transaction are waited for so long together: the first is held while the others are waited for.
LOCK_MILLISECONDS = 300
# When that time is used up, each further lock is waited for this long: a free lock is taken at once.
LAST_LOCKS_MILLISECONDS = 10
PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 900.0
# A vacuum of autovacuum gives way to a statement that waits for it longer than deadlock_timeout, by default 1 s.
VACUUM_MILLISECONDS = 5_000
# A batch locks its rows until it is committed.
BATCH_SECONDS = 0.2
FIRST_BATCH = 100
LARGEST_BATCH = 5_000

_LOCK_NOT_AVAILABLE = "55P03"
# Tables of this database that a vacuum, or another statement of its lock mode, has in another session.
_VACUUMED = """
    SELECT CAST(CAST(c.oid AS regclass) AS text) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.mode = 'ShareUpdateExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid() AND c.relkind = 'r'
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND pg_has_role(c.relowner, 'USAGE')
"""
_NO_LIMITS = "SET lock_timeout = 0; SET statement_timeout = 0"

# Filling a column is no change of a row that its reader should see.
_TOUCH = """
CREATE OR REPLACE FUNCTION touch_last_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN{condition}
    NEW.last_updated := clock_timestamp();
    RETURN NEW;
END $$;
"""
_UNLESS_FILLING = """
    IF current_setting('unbroken.filling', true) = '1' THEN
        RETURN NEW;
    END IF;"""


class LockNotTaken(Exception):
    """Other transactions held the lock for all of PATIENCE_SECONDS."""


def quickly(*statements: str) -> None:
    """Execute the statements inside the migration's transaction. Their locks are waited for briefly and repeatedly.

    Raises LockNotTaken.
    """
    bind = op.get_bind()

    def attempt() -> None:
        began = time.monotonic()
        with bind.begin_nested():
            for statement in statements:
                left = LOCK_MILLISECONDS - int((time.monotonic() - began) * 1000)
                bind.execute(text(f"SET LOCAL lock_timeout = {max(LAST_LOCKS_MILLISECONDS, left)}"))
                bind.execute(text(statement))

    _patiently(attempt, lambda: _end_vacuums(bind, bind.begin_nested))


@contextmanager
def online() -> Iterator[Online]:
    """The part of a migration that runs outside a transaction. It comes before every call of ``quickly``."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.execute(text(_NO_LIMITS))
        yield Online(connection)
        # A pooler may give this session to another client.
        connection.execute(text("RESET lock_timeout; RESET statement_timeout"))


class Online:
    """Steps outside a transaction. Each of them does nothing where it was done before."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def change(self, *statements: str) -> None:
        """Execute short statements as one transaction."""
        # PostgreSQL runs the statements of one message as one transaction.
        script = ";\n".join([f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}", *statements])
        _patiently(
            lambda: self._connection.execute(text(script)),
            lambda: _end_vacuums(self._connection, nullcontext),
        )

    def index(self, name: str, definition: str) -> None:
        """Build an index; ``definition`` begins with ``INDEX`` or ``UNIQUE INDEX`` and has ``{name}`` in it."""
        if self._is_valid(name):
            return
        # An interrupted build leaves an index that is written to and never read.
        self.drop_index(name)
        kind, _, rest = definition.format(name=name).partition("INDEX ")
        self._connection.execute(text(f"CREATE {kind}INDEX CONCURRENTLY {rest}"))

    def drop_index(self, name: str) -> None:
        """Remove an index."""
        self._connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))

    def check(self, table: str, name: str, condition: str) -> None:
        """Add a CHECK constraint; existing rows are checked under a lock that excludes neither readers nor writers."""
        found = self._one(
            f"SELECT convalidated FROM pg_constraint WHERE conrelid = to_regclass('{table}') AND conname = '{name}'"
        )
        if found is None:
            self.change(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
        if not found:
            self._connection.execute(text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))

    def fill(self, table: str, assignment: str, missing: str) -> None:
        """Set a column in all rows where ``missing`` holds, in short batches by id, without touching last_updated."""
        self._connection.execute(text(_TOUCH.format(condition=_UNLESS_FILLING)))
        while self._one(f"SELECT true FROM {table} WHERE {missing} LIMIT 1"):
            self._pass_over(table, assignment, missing)
        self._connection.execute(text(_TOUCH.format(condition="")))

    def _pass_over(self, table: str, assignment: str, missing: str) -> None:
        """Fill every row that no other transaction has locked at the moment."""
        batch, last, size = 0, "00000000-0000-0000-0000-000000000000", FIRST_BATCH
        while True:
            began = time.monotonic()
            script = f"""
                SET LOCAL unbroken.filling = '1';
                WITH batch AS (
                    SELECT id FROM {table} WHERE id > '{last}' AND {missing} ORDER BY id LIMIT {size}
                    FOR NO KEY UPDATE SKIP LOCKED
                ), filled AS (
                    UPDATE {table} SET {assignment} FROM batch WHERE {table}.id = batch.id RETURNING {table}.id
                )
                SELECT count(*), max(CAST(id AS text)) FROM filled
            """
            batch, last = self._connection.execute(text(script)).one()
            if not batch:
                return
            took = time.monotonic() - began
            size = max(1, min(LARGEST_BATCH, int(size * min(2.0, BATCH_SECONDS / max(took, 0.001)))))

    def exists(self, table: str) -> bool:
        """True when the table exists."""
        return bool(self._one(f"SELECT to_regclass('{table}') IS NOT NULL"))

    def _is_valid(self, index: str) -> bool:
        return bool(self._one(f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{index}')"))

    def _one(self, query: str) -> object:
        return self._connection.execute(text(query)).scalar()


def replace_index(name: str) -> str:
    """The statements that put ``name``_next, which is built, into the place of ``name``; for ``quickly``."""
    return f"DROP INDEX IF EXISTS {name}; ALTER INDEX {name}_next RENAME TO {name}"


def require_code(revision: str) -> None:
    """Exclude code older than ``revision`` from this schema. A downgrade sets the earlier number again."""
    op.get_bind().execute(text("UPDATE schema_info SET minimum_code_revision = :revision"), {"revision": revision})


def _patiently(attempt: Callable[[], object], prepare: Callable[[], object]) -> None:
    """Run ``attempt`` until it gets its locks; ``prepare`` runs before each repetition. Raises LockNotTaken."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            attempt()
            return
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
                raise
            if time.monotonic() > until:
                raise LockNotTaken(
                    f"A table is in use: no lock within {PATIENCE_SECONDS:.0f} s (PATIENCE_SECONDS). End the"
                    " transactions and vacuums that pg_stat_activity shows as oldest, and run the migration again."
                ) from error
        time.sleep(PAUSE_SECONDS)
        prepare()


def _end_vacuums(connection: Connection, begin: Callable[[], AbstractContextManager[object]]) -> None:
    """Wait for the vacuums of tables with their own lock mode, which excludes no reader and no writer.

    PostgreSQL cancels a vacuum of autovacuum for that, and not for a statement that gives up after LOCK_MILLISECONDS.
    A lock that ``begin`` keeps excludes the next vacuum, too. One that prevents wraparound is never cancelled.
    """
    limit = f"SET LOCAL lock_timeout = {VACUUM_MILLISECONDS}"
    for table in connection.execute(text(_VACUUMED)).scalars().all():
        with suppress(OperationalError), begin():
            connection.execute(text(f"{limit}; LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"))
