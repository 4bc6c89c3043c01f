"""Readers and writers of every table, none of which may wait for a lock longer than a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from threading import Event, Thread
from typing import Any

import psycopg2
from psycopg2 import errors

from tests.logins import as_administrator

LIMIT_SECONDS = 1.0
# A transaction of an export or a backup: longer than the limit, so that a statement queued behind it is late.
HOLD_SECONDS = 1.3
BETWEEN_SECONDS = 0.8
# Between two rounds of statements, so that traffic leaves processor time to the migration.
BREATH_SECONDS = 0.1

# Statements that the service sends all the time, with the names of the first schema.
STATEMENTS = (
    "SELECT count(*) FROM (SELECT * FROM messages WHERE user_id = '{user}' ORDER BY id DESC LIMIT 50) m",
    "SELECT * FROM conversations WHERE user_id = '{user}' ORDER BY last_message_at DESC LIMIT 20",
    "UPDATE messages SET content = content || ' more' WHERE id = '{message}'",
    "UPDATE conversations SET preview = 'changed' WHERE id = '{conversation}'",
    "UPDATE generations SET lease_until = now() + interval '30 s' WHERE id = '{generation}'",
    """
        INSERT INTO messages (id, conversation_id, user_id, seq, role, status, content)
        SELECT gen_random_uuid(), '{conversation}', '{user}', max(seq) + 1, 'user', 'completed', 'new words'
        FROM messages WHERE conversation_id = '{conversation}'
    """,
)
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


class Traffic:
    """Runs while the ``with`` block does. ``late`` has the statements that waited too long.

    ``longest`` has the duration of each statement in seconds. ``holds``: a transaction holds all tables, too.
    """

    def __init__(self, url: str, ids: dict[str, str], limit: float = LIMIT_SECONDS, holds: bool = True) -> None:
        self.late: list[str] = []
        self.broken: list[str] = []
        self.longest: dict[str, float] = {}
        self.done = 0
        self._url = as_administrator(url)
        self._ids = ids
        self._limit = limit
        self._begun = Event()
        self._over = Event()
        parts = (self._use_rows, self._use_tables, *([self._hold_tables] if holds else []))
        self._threads = [Thread(target=self._repeat, args=(part,), daemon=True) for part in parts]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        # A short migration would end before the first statement.
        assert self._begun.wait(60) or self.broken, "no statement has ended"
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _repeat(self, part: Callable[[Any], None]) -> None:
        with closing(psycopg2.connect(self._url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = {int(self._limit * 1000)}")
                while not self._over.is_set():
                    part(cursor)

    def _use_rows(self, cursor: Any) -> None:
        for statement in STATEMENTS:
            self._execute(cursor, statement.format(**self._ids))
        self._over.wait(BREATH_SECONDS)

    def _use_tables(self, cursor: Any) -> None:
        for table in self._tables(cursor):
            self._execute(cursor, f"SELECT 1 FROM {table} LIMIT 1")
            self._execute(cursor, f"DELETE FROM {table} WHERE false")
        self._over.wait(BREATH_SECONDS)

    def _hold_tables(self, cursor: Any) -> None:
        cursor.execute("BEGIN")
        for table in self._tables(cursor):
            if not self._execute(cursor, f"SELECT 1 FROM {table} LIMIT 1"):
                break
        self._over.wait(HOLD_SECONDS)
        cursor.execute("ROLLBACK")
        self._over.wait(BETWEEN_SECONDS)

    def _tables(self, cursor: Any) -> list[str]:
        cursor.execute(TABLES)
        return sorted(name for (name,) in cursor.fetchall() if name != "alembic_version")

    def _execute(self, cursor: Any, statement: str) -> bool:
        began = time.monotonic()
        try:
            cursor.execute(statement)
            return True
        except errors.UndefinedTable:
            pass  # the table was dropped after it was listed
        except errors.LockNotAvailable:
            self.late.append(statement)
        except psycopg2.Error as error:
            self.broken.append(f"{statement}: {error}")
        finally:
            self.done += 1
            self._begun.set()
            took = time.monotonic() - began
            self.longest[statement] = max(took, self.longest.get(statement, 0.0))
        return False
