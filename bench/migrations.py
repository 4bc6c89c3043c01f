"""The duration of each migration beside traffic, of its strong locks, and of the longest statement it delays.

    .venv/bin/python -m bench.migrations [--messages 100000] [--words 80]

Starts a PostgreSQL of its own, fills the first schema, and applies the migrations one by one, beside readers, writers
and transactions that stay open for two seconds. Seconds include the waits for those transactions; these waits do not
grow with the number of rows. The row "none" is the control: the load and the disk without a migration.

A strong lock is one that excludes readers or writers of a whole table. Its duration is sampled every 5 ms, from the
first sample in which a migration holds it to the last.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import psycopg2
from alembic import command

from dev.postgres import OWNER, Postgres
from tests import logins
from tests.logins import as_administrator
from tests.operating.test_migrations import config, revisions, seeded
from tests.traffic import Traffic

# The migrations make JSON of what is printed while they run.
OUTPUT = sys.stdout
SAMPLE_SECONDS = 0.005
CONTROL = "none"
CONTROL_SECONDS = 60.0
# Tables that a migration makes or removes are nobody else's yet: only those of the first schema are looked at.
STRONG_LOCKS = """
    SELECT l.pid, l.relation, l.mode
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.granted AND a.usename = %s AND c.relname IN ('users', 'conversations', 'messages', 'generations')
        AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


class StrongLocks:
    """Samples, while the ``with`` block runs, the strong locks of the owner's sessions. ``longest`` is in seconds."""

    def __init__(self, url: str) -> None:
        self.longest = 0.0
        self._url = as_administrator(url)
        self._over = Event()
        self._thread = Thread(target=self._sample, daemon=True)

    def __enter__(self) -> StrongLocks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _sample(self) -> None:
        held: dict[tuple[int, int, str], float] = {}
        with closing(psycopg2.connect(self._url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while not self._over.wait(SAMPLE_SECONDS):
                    cursor.execute(STRONG_LOCKS, (OWNER,))
                    now = time.monotonic()
                    held = {lock: held.get(lock, now) for lock in cursor.fetchall()}
                    self.longest = max([self.longest, *(now - since for since in held.values())])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=80, help="of each message")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = Postgres(Path(directory))
        server.start(timeout=120)
        logins.remember(server)
        try:
            server.ensure_database("measured")
            measure(server.url("measured"), chosen.messages, chosen.words)
        finally:
            server.stop()


def measure(url: str, messages: int, words: int) -> None:
    """Print a row for each migration after the first."""
    ids = seeded(url, messages, words)
    print(
        f"| migration | seconds, {messages:,} messages | longest strong lock, ms | longest statement of others, ms |",
        file=OUTPUT,
    )
    print("|---|---|---|---|", flush=True, file=OUTPUT)
    for revision in (*revisions()[1:], CONTROL):
        with Traffic(url, ids) as traffic, StrongLocks(url) as locks:
            began = time.monotonic()
            if revision == CONTROL:
                time.sleep(CONTROL_SECONDS)
            else:
                command.upgrade(config(url), revision)
            took = time.monotonic() - began
        statement, longest = max(traffic.longest.items(), key=lambda item: item[1])
        remark = f" ({len(traffic.late)} refused, {' '.join(statement.split())})" if traffic.late or longest > 1 else ""
        held = f"{locks.longest * 1000:.0f}"
        print(f"| {revision} | {took:.1f} | {held} | {longest * 1000:.0f}{remark} |", flush=True, file=OUTPUT)


if __name__ == "__main__":
    main()
