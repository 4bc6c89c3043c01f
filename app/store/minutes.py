"""The minutes of the service, and its quarters of an hour: counts and sampled gauges, one row for each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from app.domain.time_ids import first_after, first_since
from app.store.database import Tx, as_json, execute, fetch, fetch_one

# A takeover of an answer that ends later than this after it is counted nowhere when its minute is counted late.
LONGEST_LIFE = timedelta(hours=1)


# A row of quarters has the counts of its minutes so far, and the highest of their gauges.
Table = Literal["service_minutes", "service_quarters"]


@dataclass(frozen=True, slots=True)
class Minute:
    """The counts of a minute, or of a quarter of an hour that begins with it.

    ``errors``: by code. ``first_token`` and ``total``: histograms, as JSON.
    """

    minute: datetime
    started: int
    completed: int
    failed: int
    cancelled: int
    takeovers: int
    failovers: int
    errors: dict[str, int]
    first_token: dict[str, int]
    total: dict[str, int]
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Gauges:
    """The gauges that were sampled a moment after the minute; None: not known."""

    waiting: int | None = None
    running: int | None = None
    slots: int | None = None
    streams_open: int | None = None
    webhooks_waiting: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A row."""

    counts: Minute
    gauges: Gauges


_COUNTS = tuple(Minute.__dataclass_fields__)
_GAUGES = tuple(Gauges.__dataclass_fields__)
_JSON = ("errors", "first_token", "total")


def hold(tx: Tx) -> bool:
    """Hold the lock of those who write minutes until the transaction ends. False: another one has it."""
    row = fetch_one(tx, "SELECT pg_try_advisory_xact_lock(hashtextextended('service minutes', 0)) AS held")
    assert row is not None, "a function has a result"
    return bool(row.held)


def clock(tx: Tx) -> datetime:
    """PostgreSQL's time."""
    row = fetch_one(tx, "SELECT clock_timestamp() AS now")
    assert row is not None, "a function has a result"
    now: datetime = row.now
    return now


def newest(tx: Tx) -> datetime | None:
    """The newest minute that has a row."""
    row = fetch_one(tx, "SELECT max(minute) AS minute FROM service_minutes")
    return row.minute if row else None


def count(tx: Tx, since: datetime, until: datetime) -> list[Minute]:
    """Count the minutes from ``since`` up to ``until``, which are full minutes."""
    rows = fetch(
        tx,
        """SELECT * FROM count_minutes(:since, :until, CAST(:first AS uuid), CAST(:last AS uuid), :life)
           ORDER BY minute""",
        since=since,
        until=until,
        first=first_since(since),
        last=first_after(until),
        life=LONGEST_LIFE,
    )
    return [Minute(**row._mapping) for row in rows]


def store(tx: Tx, minute: Minute, gauges: Gauges) -> None:
    """Write a minute. Counts replace earlier ones; gauges that were sampled before stay."""
    _write(tx, "service_minutes", minute, gauges, "coalesce(m.{0}, EXCLUDED.{0})")


def store_quarter(tx: Tx, quarter: Minute, gauges: Gauges) -> None:
    """Write a quarter. What was written of it before is replaced."""
    _write(tx, "service_quarters", quarter, gauges, "EXCLUDED.{0}")


def _write(tx: Tx, table: Table, minute: Minute, gauges: Gauges, kept: str) -> None:
    values: dict[str, Any] = {name: getattr(minute, name) for name in _COUNTS}
    values |= {name: as_json(values[name]) for name in _JSON} | {name: getattr(gauges, name) for name in _GAUGES}
    names = (*_COUNTS, *_GAUGES)
    changes = [f"{name} = EXCLUDED.{name}" for name in _COUNTS[1:]]
    changes += [f"{name} = {kept.format(name)}" for name in _GAUGES]
    execute(
        tx,
        f"""INSERT INTO {table} AS m ({", ".join(names)}) VALUES (:{", :".join(names)})
            ON CONFLICT (minute) DO UPDATE SET {", ".join(changes)}""",
        **values,
    )


def stored(tx: Tx, since: datetime, table: Table = "service_minutes") -> list[Stored]:
    """The rows from a minute on, oldest first."""
    rows = fetch(tx, f"SELECT * FROM {table} WHERE minute >= :since ORDER BY minute", since=since)
    return [
        Stored(
            Minute(**{name: getattr(row, name) for name in _COUNTS}),
            Gauges(**{name: getattr(row, name) for name in _GAUGES}),
        )
        for row in rows
    ]


def prune(tx: Tx, before: datetime) -> None:
    """Remove the rows of earlier minutes and quarters."""
    execute(tx, "DELETE FROM service_minutes WHERE minute < :before", before=before)
    execute(tx, "DELETE FROM service_quarters WHERE minute < :before", before=before)
