"""The minutes of the service: one row for each, whenever and however often it is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
import pytest
from flask_openapi3.openapi import OpenAPI

from app.domain.errors import LogDown
from app.domain.histogram import bucket_of
from app.domain.time_ids import smallest_at
from app.services import minutes as services
from app.services.minutes import MINUTE, Minutes
from app.store import minutes as store
from app.store.minutes import Minute
from app.wiring import Resources
from tests.factories import add_generation, add_user, owner

from .conftest import Person, token

Ended = Callable[..., str]


def floor(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


@pytest.fixture
def empty(resources: Resources) -> None:
    with owner(resources.settings.database_url) as cursor:
        cursor.execute("DELETE FROM users; DELETE FROM service_minutes; DELETE FROM service_quarters")


@pytest.fixture
def ended(resources: Resources, empty: None) -> Ended:
    """A function that adds an answer with the times of its life, in seconds after ``at``."""

    def add(at: datetime, status: str = "completed", *, first: float = 1.0, last: float = 2.0, **more: Any) -> str:
        with owner(resources.settings.database_url) as cursor:
            user = add_user(cursor)
            number = int(smallest_at(at).replace("-", ""), 16) | int(user[-12:], 16)
            made = {
                "id": f"{number:032x}",
                "created_at": at,
                "first_token_at": at + timedelta(seconds=first),
                "finished_at": at + timedelta(seconds=last),
                "usage": orjson.dumps({"input_tokens": 3, "output_tokens": 5}).decode(),
            }
            return add_generation(cursor, user, status, **{**made, **more})

    return add


@pytest.fixture
def minutes(resources: Resources) -> Minutes:
    return resources.for_operators.minutes


def rows(resources: Resources) -> dict[datetime, store.Stored]:
    with resources.database.system() as tx:
        return {row.counts.minute: row for row in store.stored(tx, datetime(2020, 1, 1, tzinfo=UTC))}


def moment(at: datetime, what: str, **more: Any) -> dict[str, Any]:
    return {"at": at.timestamp(), "what": what, "epoch": 1, **more}


def count(resources: Resources, since: datetime, until: datetime) -> list[Minute]:
    with resources.database.system() as tx:
        return store.count(tx, since, until)


def test_a_minute_has_what_happened_in_it(resources: Resources, ended: Ended) -> None:
    begin = floor(datetime.now(UTC)) - 30 * MINUTE
    ended(begin, first=0.5, last=30)
    ended(begin + timedelta(seconds=59), first=4, last=31, status="cancelled")
    ended(begin - timedelta(seconds=1), first=2, last=3, status="error", error='{"code": "upstream_error"}')
    one, two = count(resources, begin, begin + 2 * MINUTE)
    assert (one.minute, one.started, one.completed, one.failed, one.cancelled) == (begin, 2, 1, 1, 0)
    assert (two.started, two.completed, two.cancelled) == (0, 0, 1)
    assert one.errors == {"upstream_error": 1}
    assert one.first_token == {str(bucket_of(500)): 1, str(bucket_of(2000)): 1}
    assert one.total == {str(bucket_of(30_000)): 1}
    assert (one.input_tokens, one.output_tokens) == (6, 10)


@pytest.mark.parametrize("tokens", ["null", '"many"', "1e300", "-5"])
def test_a_usage_that_is_no_number_breaks_no_minute(resources: Resources, ended: Ended, tokens: str) -> None:
    begin = floor(datetime.now(UTC)) - 30 * MINUTE
    ended(begin, usage=f'{{"input_tokens": {tokens}}}')
    [found] = count(resources, begin, begin + MINUTE)
    assert (found.completed, found.output_tokens) == (1, 0)
    assert found.input_tokens in (0, 10**12)


def test_a_takeover_counts_when_it_happens_and_not_when_its_answer_ends(resources: Resources, ended: Ended) -> None:
    begin = floor(datetime.now(UTC)) - 30 * MINUTE
    moments = [
        moment(begin, "released"),
        moment(begin + MINUTE, "takeover"),
        moment(begin + MINUTE, "target", target="b/m"),
    ]
    ended(begin, last=200, moments=orjson.dumps(moments).decode())
    ended(begin, "running", moments=orjson.dumps(moments).decode(), first_token_at=None, usage=None, finished_at=None)
    assert [(m.takeovers, m.failovers) for m in count(resources, begin, begin + 4 * MINUTE)] == [
        (0, 0), (2, 2), (0, 0), (0, 0)
    ]  # fmt: skip


def test_late_and_repeated_runs_write_one_and_the_same_row(
    resources: Resources, minutes: Minutes, ended: Ended
) -> None:
    due = floor(datetime.now(UTC) - timedelta(seconds=3))
    with resources.database.system() as tx:
        [old] = store.count(tx, due - 40 * MINUTE, due - 39 * MINUTE)
        store.store(tx, old, store.Gauges(waiting=7))
    for n in range(40):
        ended(due - n * MINUTE - timedelta(seconds=30), last=1)
    while max(rows(resources)) < due - MINUTE:
        minutes.record()
    first = rows(resources)
    assert [at for at in first if at >= due - 40 * MINUTE][:40] == [due - n * MINUTE for n in range(40, 0, -1)]
    assert all(first[due - n * MINUTE].counts.completed == 1 for n in range(1, 40))
    assert first[due - 40 * MINUTE].gauges.waiting == 7, "a sample is kept"
    assert first[due - 20 * MINUTE].gauges.waiting is None, "nobody was there to look"
    minutes.record()
    again = rows(resources)
    assert {at: again[at] for at in first} == first


def test_an_end_that_was_committed_late_is_counted_with_the_next_minute(resources: Resources, ended: Ended) -> None:
    due = floor(datetime.now(UTC) - timedelta(seconds=3))
    with resources.database.system() as tx:
        [early] = store.count(tx, due - 3 * MINUTE, due - 2 * MINUTE)
        store.store(tx, early, store.Gauges())
    assert early.completed == 0
    ended(due - 3 * MINUTE, last=1)
    resources.for_operators.minutes.record()
    assert rows(resources)[due - 3 * MINUTE].counts.completed == 1


def test_one_process_counts_at_a_time(resources: Resources, minutes: Minutes, empty: None) -> None:
    with resources.database.system() as tx:
        assert store.hold(tx)
        minutes.record()
        assert rows(resources) == {}
    minutes.record()
    assert len(rows(resources)) >= 1


def test_old_rows_are_removed(resources: Resources, minutes: Minutes, empty: None) -> None:
    old = floor(datetime.now(UTC)) - timedelta(days=3)
    with resources.database.system() as tx:
        [counted] = store.count(tx, old, old + MINUTE)
        store.store(tx, counted, store.Gauges())
    replace(minutes, kept_days=2).record()
    assert old not in rows(resources)


def test_a_run_that_is_far_behind_leaves_the_rest_to_the_next_one(
    resources: Resources, minutes: Minutes, empty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "CATCH_UP_SECONDS", 0)
    due = floor(datetime.now(UTC) - timedelta(seconds=3))
    minutes.record()
    assert max(rows(resources)) < due - 40 * MINUTE
    for _ in range(5):
        minutes.record()
    assert max(rows(resources)) >= due - MINUTE


def test_a_redis_that_is_away_leaves_the_streams_out(resources: Resources, minutes: Minutes, empty: None) -> None:
    def away() -> int:
        raise LogDown

    while max(rows(resources), default=None) is None or max(rows(resources)) < floor(datetime.now(UTC)) - 2 * MINUTE:
        replace(minutes, streams_open=away).record()
    newest = max(rows(resources).items())[1]
    if newest.gauges.waiting is not None:  # the run began too late in its minute to sample otherwise
        assert newest.gauges.streams_open is None
    assert newest.counts.started == 0


def operator(app: OpenAPI) -> Person:
    person = Person(app.test_client(), "operator")
    person.headers["Authorization"] = f"Bearer {token('operator', role='operator')}"
    return person


def test_the_last_hour_has_its_rows_and_what_is_behind_them(
    app: OpenAPI, resources: Resources, minutes: Minutes, ended: Ended
) -> None:
    now = datetime.now(UTC)
    ended(now - timedelta(minutes=30), first=1, last=10)
    ended(now - timedelta(minutes=90))
    for _ in range(6):
        minutes.record()
    ended(datetime.now(UTC) - timedelta(seconds=20), "error", last=10, error='{"code": "upstream_error"}')
    found = operator(app).get("/api/v1/ops/overview").json["last_hour"]
    assert (found["completed"], found["failed"], found["errors"]) == (1, 1, [{"code": "upstream_error", "count": 1}])
    assert 9000 < found["total_ms"]["p50"] < 11000
    assert found["input_tokens"] == 6


def times(points: list[dict[str, Any]]) -> list[datetime]:
    return [datetime.fromisoformat(point["at"]) for point in points]


def test_an_hour_has_every_minute_and_nulls_where_nothing_was_counted(
    app: OpenAPI, resources: Resources, ended: Ended
) -> None:
    due = floor(datetime.now(UTC) - timedelta(seconds=3))
    ended(due - 2 * MINUTE, last=1)
    with resources.database.system() as tx:
        for counted in store.count(tx, due - 2 * MINUTE, due):
            store.store(tx, counted, store.Gauges(waiting=4, slots=8, streams_open=2))
    found = operator(app).get("/api/v1/ops/series?span=hour").json
    points = found["points"]
    assert (found["step_seconds"], len(points)) == (60, 60)
    assert {(later - earlier).seconds for earlier, later in pairwise(times(points))} == {60}
    assert sum(point["completed"] or 0 for point in points) == 1
    # The last point is a later one when a minute has begun meanwhile.
    last = points[times(points).index(due - MINUTE)]
    assert (last["waiting"], last["slots"], last["webhooks_waiting"]) == (4, 8, None)
    assert points[0]["started"] is None
    assert points[0]["first_token_ms"] == {"p50": None, "p95": None}
    assert operator(app).get("/api/v1/ops/series?span=year").status_code == 422


def test_a_day_has_every_quarter_of_its_minutes(
    app: OpenAPI, resources: Resources, minutes: Minutes, ended: Ended
) -> None:
    due = floor(datetime.now(UTC) - timedelta(seconds=3))
    for n in (2, 3, 31):
        ended(due - n * MINUTE, first=1, last=1)
    while max(rows(resources), default=due - timedelta(days=1)) < due - MINUTE:
        minutes.record()
    for _ in range(2):
        minutes.record()
        found = operator(app).get("/api/v1/ops/series?span=day").json
        points = found["points"]
        assert (found["step_seconds"], len(points)) == (900, 96)
        assert all((at.minute % 15, at.second) == (0, 0) for at in times(points))
        assert {(later - earlier).seconds for earlier, later in pairwise(times(points))} == {900}
        assert sum(point["completed"] or 0 for point in points) == 3
        assert {point["started"] for point in points[:80]} == {None}
        assert [point["total_ms"]["p50"] for point in points if point["completed"]][-1] == pytest.approx(1000, rel=0.1)
    with resources.database.system() as tx:
        written = store.stored(tx, due - timedelta(days=1), "service_quarters")
        highest = max((row.gauges.waiting or 0) for row in rows(resources).values())
    assert max((row.gauges.waiting or 0) for row in written) == highest


def test_the_schema_and_the_code_agree_on_buckets(resources: Resources, ended: Ended) -> None:
    begin = floor(datetime.now(UTC)) - 20 * MINUTE
    lengths = [0.0001, 0.001, 0.0011, 0.9, 1.7, 29.0, 59.0]
    for seconds in lengths:
        ended(begin, first=seconds, last=seconds)
    [found] = count(resources, begin, begin + MINUTE)
    expected: dict[str, int] = {}
    for seconds in lengths:
        # PostgreSQL keeps microseconds.
        bucket = str(bucket_of(round(seconds * 1e6) / 1e3))
        expected[bucket] = expected.get(bucket, 0) + 1
    assert found.total == expected
    assert asdict(found)["first_token"] == expected


def test_web_processes_tell_their_streams(resources: Resources) -> None:
    now = [1000.0]
    one, other = (type(resources.open_streams)(resources.redis, f"{resources.settings.redis_namespace}-x",
                  clock=lambda: now[0]) for _ in range(2))  # fmt: skip
    one.report(3)
    other.report(4)
    assert one.total() == 7
    one.report(2)
    assert other.total() == 6
    other.leave()
    assert one.total() == 2
    now[0] += 25
    other.report(1)
    assert one.total() == 1, "a process that died does not count for ever"


def test_the_queues(app: OpenAPI, alice: Person) -> None:
    alice.start()
    found = {item["name"]: item for item in operator(app).get("/api/v1/ops/queues").json["items"]}
    assert found.keys() == {"generations", "webhooks", "embeddings"}
    assert found["generations"]["waiting"] == 1
    assert found["generations"]["broker_messages"] is not None
    assert found["webhooks"]["waiting"] == 0
