"""The cost of what operators see: bytes of WAL of a generation's claim, renewals and end, with and without it.

    python -m bench.ops_writes

Without it: the indexes for operators are dropped, and no moment is appended. The bytes do not depend on the load of the
machine. Prints them for one generation, and the renewals that were heap-only updates.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from app.store import generations, leases
from app.store.checkpoints import Checkpoint
from app.store.database import Database
from app.store.generations import End
from bench.machine import describe
from bench.scale import administrator
from dev.postgres import Postgres
from dev.process import wait_until
from tests.factories import add_generation, add_user
from tests.logins import migrate, remember

GENERATIONS, RENEWALS = 2000, 10
INDEXES = (
    "generations_ended_by_user", "generations_ended_by_model", "generations_ended_by_worker",
    "generations_ended_by_request", "generations_failed", "generations_by_end",
)  # fmt: skip
# Stands in the way of the column, so that the row is written without it.
WITHOUT_MOMENTS = """
CREATE FUNCTION no_moments() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.moments := NULL; RETURN NEW; END $$;
CREATE TRIGGER no_moments BEFORE UPDATE ON generations FOR EACH ROW EXECUTE FUNCTION no_moments();
"""


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="unbroken-ops-writes-") as directory:
        server = Postgres(Path(directory), settings={"full_page_writes": "off", "fsync": "off", "autovacuum": "off"})
        server.start()
        try:
            server.ensure_database()
            remember(server)
            migrate(server.url())
            with_it = _measure(server)
            with closing(administrator(server)) as connection, connection.cursor() as cursor:
                for name in INDEXES:
                    cursor.execute(f"DROP INDEX {name}")
                cursor.execute(WITHOUT_MOMENTS)
            without = _measure(server)
        finally:
            server.stop()
    print(f"{describe()}: {GENERATIONS} generations, bytes of WAL of each\n")
    for name, size in with_it.items():
        print(f"{name:40} {size:9.1f}   without {without[name]:9.1f}   {100 * (size / without[name] - 1):+.0f} %")
    return 0


def _measure(server: Postgres) -> dict[str, float]:
    """The bytes of WAL of one claim, one renewal and one end, and the part of renewals that were heap-only."""
    with closing(administrator(server)) as connection, connection.cursor() as cursor:
        user = add_user(cursor)
        ids = [add_generation(cursor, user, request_id=f"request-{n}") for n in range(GENERATIONS)]
        found: dict[str, float] = {}
        claimed = {}
        with _phase(cursor, server, found, "claim", GENERATIONS) as database, database.system() as tx:
            for generation in ids:
                claim = leases.claim(tx, generation, "generations@host-1", 30, 600)
                assert claim is not None, "a queued generation can be claimed"
                claimed[generation] = claim
        before = _hot(cursor)
        with _phase(cursor, server, found, "renewal", GENERATIONS * RENEWALS) as database:
            for _ in range(RENEWALS):
                with database.system() as tx:
                    leases.renew(tx, [Checkpoint(one.lease, user, 0, 0, None, 1.0) for one in claimed.values()], 30)
        found["heap-only renewals, per mille"] = 1000 * (_hot(cursor) - before) / (GENERATIONS * RENEWALS)
        usage = {"input_tokens": 3, "output_tokens": 5}
        end = End("completed", 9, "0" * 64, "stop", None, usage, [{"attempt": 1, "epoch": 1}], 1.0, None, None)
        with _phase(cursor, server, found, "end", GENERATIONS) as database, database.user(user) as tx:
            for one in claimed.values():
                generations.finish(tx, one.lease, end)
        return found


@contextmanager
def _phase(cursor: Any, server: Postgres, found: dict[str, float], name: str, count: int) -> Iterator[Database]:
    """A database whose writes are measured. Its connections end, because they report their statistics then."""
    cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
    (begin,) = cursor.fetchone()
    database = Database(server.url(), 2)
    yield database
    cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
    found[name] = float(cursor.fetchone()[0] - begin) / count
    database.close()
    wait_until(lambda: _sessions(cursor) == 0, 10)


def _sessions(cursor: Any) -> int:
    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'unbroken'")
    return int(cursor.fetchone()[0])


def _hot(cursor: Any) -> int:
    cursor.execute("SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'generations'")
    return int(cursor.fetchone()[0])


if __name__ == "__main__":
    sys.exit(main())
