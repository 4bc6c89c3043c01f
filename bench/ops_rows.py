"""The operators' requests in a table of millions of generations: times and query plans.

    python -m bench.ops_rows                    1,000,000 generations, some 1 GB
    python -m bench.ops_rows --rows 10000000    the promise; some 12 GB and half an hour
    python -m bench.ops_rows --keep DIR         builds in DIR, or measures what is there

A user has a twentieth of all rows; one model and one worker have few. Every request goes through the services, in the
product's role. Prints the times and writes ``out/bench/ops_rows.json``; exits with 1 when a kind of request is slower
than MOST_MS.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from app.config import Settings
from app.store.admin_generations import Wanted
from app.wiring import Resources, build
from bench.machine import describe
from bench.report import OUT
from bench.scale import BUILDING, Figure, administrator, drop_indexes, line, plans_of, time_it
from dev.postgres import Postgres
from tests.logins import migrate, remember

ROWS, USERS, DAYS = 1_000_000, 20_000, 90
# The 95th percentile may be this many milliseconds.
MOST_MS = 100.0
QUEUED, RUNNING = 300, 400
BATCH = 500_000
TABLES = ("generations",)

USERS_SQL = """
INSERT INTO users (id, subject)
SELECT CAST(lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000' AS uuid), 'user-' || n
FROM generate_series(0, {users} - 1) n
"""
# n is the number of a row, at its time; r and s are even in [0, 1). The newest rows end now.
ROWS_SQL = """
INSERT INTO generations (id, user_id, conversation_id, message_id, user_message_id, seq, model, status, epoch, tries,
    worker, request_id, target, attempts, moments, final_epoch, final_n, sha256, finish_reason, error, usage, cost,
    currency, created_at, started_at, first_token_at, finished_at, last_updated, lease_until)
SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || '70008' ||
        lpad(to_hex(n), 15, '0') AS uuid),
    CAST(lpad(to_hex(CASE WHEN r < 0.05 THEN 0 ELSE 1 + n * 7919 % ({users} - 1) END), 8, '0')
        || '-0000-7000-8000-000000000000' AS uuid),
    gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 2,
    CASE WHEN n % 100000 = 7 THEN 'rare' WHEN n < 0.3 * {rows} AND s < 0.9 THEN 'retired' WHEN s < 0.7 THEN 'large'
        WHEN s < 0.95 THEN 'small' ELSE 'other' END,
    state, CASE WHEN r2 < 0.01 THEN 2 ELSE 1 END, 1,
    CASE WHEN n % 50000 = 9 THEN 'generations@rare' ELSE 'generations@host-' || n % 20 || '-' || n * 30 / {rows} END,
    'request-' || n, 'openai/large', jsonb_build_array(jsonb_build_object('attempt', 1, 'epoch', 1, 'seconds', 8.2,
        'outcome', 'finished', 'visible', true, 'target', 'openai/large')),
    CASE WHEN r2 < 0.01 THEN jsonb_build_array(jsonb_build_object('at', extract(epoch FROM at) + 5, 'what',
        'takeover', 'epoch', 2, 'left', 'a', 'lease_until', extract(epoch FROM at) + 4)) END,
    CASE WHEN ended THEN 1 END, CASE WHEN ended THEN 9 END, CASE WHEN ended THEN repeat('0', 64) END,
    CASE WHEN ended THEN 'stop' END,
    CASE WHEN state = 'error' THEN jsonb_build_object('code', 'upstream_' || n % 5, 'message', 'It broke.') END,
    CASE WHEN ended THEN jsonb_build_object('input_tokens', 300, 'output_tokens', 400) END, 0.01, 'USD',
    at, at + interval '0.1 s', at + make_interval(secs => 0.2 + 2 * s),
    CASE WHEN ended THEN at + make_interval(secs => 1 + 60 * r * s) END, at + interval '1 min',
    CASE WHEN state = 'running' THEN now() + interval '1 day' END
FROM (
    SELECT *, state NOT IN ('queued', 'running') AS ended
    FROM (
        SELECT n, random() AS r, random() AS s, random() AS r2,
            now() - make_interval(secs => 70 + ({rows} - n) * {days} * 86400.0 / {rows}) AS at,
            CASE WHEN n > {rows} - {queued} THEN 'queued' WHEN n > {rows} - {queued} - {running} THEN 'running'
                WHEN n * 31 % 100 = 1 OR n * 31 % 100 = 2 THEN 'error' WHEN n * 31 % 100 = 3 THEN 'cancelled'
                ELSE 'completed' END AS state
        FROM generate_series(CAST({begin} AS bigint), {end}) n) g) g
"""
MINUTE = "date_trunc('minute', now())"
QUARTER = "date_bin('15 minutes', now(), timestamptz '2000-01-01 00:00+00')"
MINUTES_SQL = """
INSERT INTO {table} (minute, started, completed, failed, cancelled, takeovers, failovers, errors, first_token,
    total, input_tokens, output_tokens, waiting, running, slots, streams_open, webhooks_waiting)
SELECT {last} - n * {step}, 80, 77, 2, 1, 1, 0, '{{"upstream_1": 2}}', h.h, h.h,
    24000, 32000, 3, 40, 400, 200, 5
FROM generate_series(1, {count}) n,
    (SELECT jsonb_object_agg(b, b % 7 + 1) AS h FROM generate_series(30, 60) b) h
"""


def main() -> int:
    """Build, measure, show; 1 when a kind of request is too slow."""
    parser = argparse.ArgumentParser(prog="python -m bench.ops_rows", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.keep is not None:
        return _run(given.keep, given.rows)
    with tempfile.TemporaryDirectory(prefix="unbroken-ops-rows-") as directory:
        return _run(Path(directory), given.rows)


def _run(directory: Path, rows: int) -> int:
    seconds = 0.0 if (directory / "data").exists() else _build(directory, rows)
    server = Postgres(directory)
    server.start()
    remember(server)
    try:
        figures, plans = _measure(server, rows)
        sizes = _sizes(server)
    finally:
        server.stop()
    return _show(rows, seconds, figures, plans, sizes)


def _build(directory: Path, rows: int) -> float:
    """Fill a database. Returns the seconds that it took."""
    began = time.monotonic()
    server = Postgres(directory, settings=BUILDING)
    server.start()
    try:
        server.ensure_database()
        remember(server)
        migrate(server.url())
        with closing(administrator(server)) as connection, connection.cursor() as cursor:
            indexes = drop_indexes(cursor, TABLES)
            _fill(cursor, rows)
            cursor.execute("SET maintenance_work_mem = '1GB'")
            for definition in indexes:
                cursor.execute(definition)
            cursor.execute("VACUUM (ANALYZE) users, generations, service_minutes")
    finally:
        server.stop()
    return time.monotonic() - began


def _fill(cursor: Any, rows: int) -> None:
    values = {"users": USERS, "rows": rows, "days": DAYS, "queued": QUEUED, "running": RUNNING}
    cursor.execute(USERS_SQL.format(**values))
    cursor.execute(MINUTES_SQL.format(table="service_minutes", last=MINUTE, step="interval '1 minute'", count=7 * 1440))
    cursor.execute(
        MINUTES_SQL.format(table="service_quarters", last=QUARTER, step="interval '15 minutes'", count=7 * 96)
    )
    for begin in range(1, rows + 1, BATCH):
        cursor.execute(ROWS_SQL.format(**values, begin=begin, end=min(begin + BATCH - 1, rows)))
        print(f"{min(begin + BATCH - 1, rows):,} rows", flush=True)


def _measure(server: Postgres, rows: int) -> tuple[list[Figure], dict[str, str]]:
    resources = build(
        Settings(database_url=server.url(), redis_url="redis://127.0.0.1:1/0", jwt_secret="s" * 32)  # type: ignore[arg-type,call-arg]
    )
    try:
        figures, plans = [], {}
        for name, ask in _requests(resources, rows):
            figures.append(time_it(name, ask))
            print(line(figures[-1]), flush=True)
            plans[name] = plans_of(server, resources, ask)
        return figures, plans
    finally:
        resources.close()


def _requests(resources: Resources, rows: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields each kind of request with a function that sends one at every call."""
    dice = random.Random(3)
    admin, of = resources.admin, resources.for_operators

    def page(limit: int = 50, **wanted: Any) -> Any:
        return admin.look(Wanted(**wanted), limit)

    def deep() -> object:
        at = datetime.now(UTC) - timedelta(days=dice.uniform(1, DAYS - 1))
        return page(until=at)

    def within(hours: float = 1, **wanted: Any) -> Callable[[], object]:
        def ask() -> object:
            at = datetime.now(UTC) - timedelta(days=dice.uniform(1, DAYS - 2))
            return page(since=at, until=at + timedelta(hours=hours), **wanted)

        return ask

    def somebody() -> str:
        return f"user-{dice.randrange(1, USERS)}"

    some = [item.id for item in page(200, status="completed").items]
    filters: dict[str, Callable[[], dict[str, Any]]] = {
        "all": dict,
        **{status: lambda status=status: {"status": status} for status in _STATUSES},  # type: ignore[misc]
        "stuck": lambda: {"stuck": True},
        "not stuck": lambda: {"stuck": False},
        "a user": lambda: {"user": somebody()},
        "who has most": lambda: {"user": "user-0"},
        "who has most, failed": lambda: {"user": "user-0", "status": "error"},
        "who has most, rare model": lambda: {"user": "user-0", "model": "rare"},
        "who has most, no such worker": lambda: {"user": "user-0", "worker": "none"},
        "common model": lambda: {"model": "large"},
        "rare model": lambda: {"model": "rare"},
        "retired model": lambda: {"model": "retired"},
        "retired model, failed": lambda: {"model": "retired", "status": "error"},
        "no such model": lambda: {"model": "none"},
        "a worker": lambda: {"worker": f"generations@host-{dice.randrange(20)}-{dice.randrange(30)}"},
        "rare worker": lambda: {"worker": "generations@rare"},
        "rare worker, failed": lambda: {"worker": "generations@rare", "status": "error"},
        "failed, rare model": lambda: {"status": "error", "model": "rare"},
        "failed, no such model": lambda: {"status": "error", "model": "none"},
        "completed, no such worker": lambda: {"status": "completed", "worker": "none"},
        "a request": lambda: {"request_id": f"request-{dice.randrange(1, rows)}"},
        "no such request": lambda: {"request_id": "none"},
    }

    def page_of(wanted: Callable[[], dict[str, Any]]) -> object:
        return page(**wanted())

    for name, wanted in filters.items():
        yield f"page, {name}", partial(page_of, wanted)
    yield "page, before a day", deep
    yield "page, an hour", within()
    yield "page, an hour, failed", within(status="error")
    yield "page, an hour, rare model", within(model="rare")
    yield "page, half a day, rare model", within(12, model="rare")
    yield "page, half a day, no such worker", within(12, worker="none")
    yield "page, an hour, who has most", within(user="user-0")
    yield "one generation", lambda: admin.one(dice.choice(some))
    yield "overview", lambda: of.overviews.now(with_breakers=False)
    yield "overview, last hour", of.minutes.last_hour
    yield "series, hour", lambda: of.minutes.series("hour")
    yield "series, day", lambda: of.minutes.series("day")
    yield "users", lambda: resources.user_admin.page(50, None, None)
    yield "users, search", lambda: resources.user_admin.page(50, somebody()[:7], None)
    who_has_most = page(1, user="user-0").items[0].user_id
    yield "a user's figures, who has most", lambda: resources.user_admin.look(who_has_most)


_STATUSES = ("queued", "running", "completed", "error", "cancelled")


def _sizes(server: Postgres) -> dict[str, int]:
    """The bytes of the table and of each of its indexes."""
    with closing(administrator(server)) as connection, connection.cursor() as cursor:
        cursor.execute(
            """SELECT 'generations', pg_table_size('generations') UNION ALL
               SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes
               WHERE relname = 'generations' ORDER BY 2 DESC"""
        )
        return dict(cursor.fetchall())


def _show(rows: int, seconds: float, figures: list[Figure], plans: dict[str, str], sizes: dict[str, int]) -> int:
    for name, plan in plans.items():
        print(f"\n=== {name}\n{plan}")
    print(f"\n{describe()}: {rows:,} generations, built in {seconds:.0f} s\n")
    for name, size in sizes.items():
        print(f"{name:45} {size / 1e6:10,.0f} MB")
    print()
    for figure in figures:
        print(line(figure))
    body = {
        "machine": describe(),
        "rows": rows,
        "build_seconds": round(seconds, 1),
        "bytes": sizes,
        "milliseconds": {f.name: {"p50": f.p50, "p95": f.p95, "max": f.most} for f in figures},
        "plans": plans,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "ops_rows.json").write_text(json.dumps(body, indent=1))
    slow = [figure.name for figure in figures if figure.p95 > MOST_MS]
    print(f"\nslower than {MOST_MS:.0f} ms: {', '.join(slow)}" if slow else f"\nall below {MOST_MS:.0f} ms (p95)")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
