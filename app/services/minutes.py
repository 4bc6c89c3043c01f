"""The chore that writes a row for each minute of the service, and what operators read of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Literal

from app.domain import histogram
from app.domain.errors import LogDown
from app.domain.histogram import Histogram
from app.store import admin_generations, minutes, overview
from app.store.database import Database, Tx
from app.store.minutes import Gauges, Minute, Stored

MINUTE, QUARTER = timedelta(minutes=1), timedelta(minutes=15)
# Seconds between two runs of the chore in one worker. One worker of all does the work of a minute.
RUN_SECONDS = 10.0
# Ends that are being committed when a minute is over belong to it: it is counted this long afterwards, and once more
# with the next one.
SETTLED = timedelta(seconds=3)
# Minutes counted in one transaction. After a time without workers, the runs catch up with the last day.
STEP = QUARTER
CATCH_UP = timedelta(days=1)
# Seconds of a run after which it begins no further step.
CATCH_UP_SECONDS = 0.5
# A gauge is of its minute when it is sampled within this time after it.
SAMPLED_WITHIN = timedelta(seconds=45)

_NUMBERS = ("started", "completed", "failed", "cancelled", "takeovers", "failovers", "input_tokens", "output_tokens")
Span = Literal["hour", "day"]
STEPS = {"hour": MINUTE, "day": QUARTER}
TABLES: dict[Span, minutes.Table] = {"hour": "service_minutes", "day": "service_quarters"}
SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Total:
    """The counts of several minutes together."""

    started: int
    completed: int
    failed: int
    cancelled: int
    takeovers: int
    failovers: int
    errors: dict[str, int]
    first_token: Histogram
    total: Histogram
    input_tokens: int
    output_tokens: int

    def at(self, begin: datetime) -> Minute:
        """The counts as a row that begins then."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        first_token, total = histogram.write(self.first_token), histogram.write(self.total)
        return Minute(minute=begin, errors=self.errors, first_token=first_token, total=total, **numbers)


@dataclass(frozen=True, slots=True)
class Point:
    """A step of a plot. ``counts`` is None where no minute of it was counted; a gauge is the highest of the step."""

    at: datetime
    counts: Total | None
    gauges: Gauges


@dataclass(frozen=True, slots=True)
class Minutes:
    """Writes and reads minutes. ``streams_open`` returns the streams of all web processes, or raises LogDown.

    ``lost``: seconds without a report after which a worker is lost. Rows are kept for ``kept_days``.
    """

    database: Database
    streams_open: Callable[[], int]
    lost: float
    kept_days: float

    def record(self) -> None:
        """Write the minutes that are over and have no row yet, and the last one before them again; in steps.

        One process does it at a time. A run that is repeated, or late, writes what an earlier one would have. A run
        that is far behind leaves the rest to the next one: its thread also sweeps.
        """
        until = monotonic() + CATCH_UP_SECONDS
        while self._step() and monotonic() < until:
            pass

    def _step(self) -> bool:
        """Count the next minutes; whether more of them are due."""
        with self.database.system() as tx:
            now = minutes.clock(tx)
            due, last = _floor(now - SETTLED), minutes.newest(tx)
            if (last is not None and last >= due - MINUTE) or not minutes.hold(tx):
                return False
            since = max(last or due - SPANS["hour"], due - CATCH_UP)
            until = min(due, since + STEP)
            counted = minutes.count(tx, since, until)
            is_fresh = until == due and now - due < SAMPLED_WITHIN
            for minute in counted:
                is_newest = minute.minute == due - MINUTE
                minutes.store(tx, minute, self._sample(tx) if is_newest and is_fresh else Gauges())
            self._sum_up(tx, counted)
            minutes.prune(tx, now - timedelta(days=self.kept_days))
            return until < due

    def _sum_up(self, tx: Tx, counted: Sequence[Minute]) -> None:
        """Write the quarters that these minutes belong to, from all of their minutes."""
        begins = sorted({_quarter(minute.minute) for minute in counted})
        rows = minutes.stored(tx, begins[0])
        for begin in begins:
            of_quarter = [row for row in rows if _quarter(row.counts.minute) == begin]
            minutes.store_quarter(tx, _total([row.counts for row in of_quarter]).at(begin), _highest(of_quarter))

    def _sample(self, tx: Tx) -> Gauges:
        census = admin_generations.census(tx, self.lost)
        return Gauges(
            waiting=int(census["queued"]),
            running=int(census["running"]),
            slots=overview.workers(tx, self.lost).slots,
            streams_open=open_streams(self.streams_open),
            webhooks_waiting=overview.webhooks(tx).waiting,
        )

    def last_hour(self) -> Total:
        """The counts of the last 60 minutes: of the rows, and of the minutes from the newest row on, counted now."""
        with self.database.operator() as tx:
            now = minutes.clock(tx)
            since = _floor(now) - SPANS["hour"] + MINUTE
            rows = minutes.stored(tx, since)
            fresh = rows.pop().counts.minute if rows else since
            counted = minutes.count(tx, fresh, _floor(now) + MINUTE)
        return _total([*(row.counts for row in rows), *counted])

    def series(self, span: Span) -> list[Point]:
        """The points of a plot, oldest first; the last one has the newest minute that is over."""
        with self.database.operator() as tx:
            last = _floor(minutes.clock(tx) - SETTLED) - MINUTE
            rows = {row.counts.minute: row for row in minutes.stored(tx, last - SPANS[span], TABLES[span])}
        if last not in rows and last - MINUTE in rows:
            # The newest minute is being counted.
            last -= MINUTE
        if span == "day":
            last = _quarter(last)
        steps = int(SPANS[span] / STEPS[span])
        return [_point(last - n * STEPS[span], rows) for n in reversed(range(steps))]


def open_streams(count: Callable[[], int]) -> int | None:
    """The number of open streams; None while Redis is away."""
    try:
        return count()
    except LogDown:
        return None


def _point(at: datetime, rows: Mapping[datetime, Stored]) -> Point:
    row = rows.get(at)
    return Point(at, _total([row.counts]), row.gauges) if row else Point(at, None, Gauges())


def _highest(rows: Sequence[Stored]) -> Gauges:
    highest = {}
    for name in Gauges.__dataclass_fields__:
        highest[name] = max((n for row in rows if (n := getattr(row.gauges, name)) is not None), default=None)
    return Gauges(**highest)


def _total(counted: Sequence[Minute]) -> Total:
    errors = Counter[str]()
    for minute in counted:
        errors.update(minute.errors)
    return Total(
        errors=dict(errors.most_common()),
        first_token=histogram.merged(histogram.read(minute.first_token) for minute in counted),
        total=histogram.merged(histogram.read(minute.total) for minute in counted),
        **{name: sum(getattr(minute, name) for minute in counted) for name in _NUMBERS},
    )


def _floor(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _quarter(at: datetime) -> datetime:
    return at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0)
