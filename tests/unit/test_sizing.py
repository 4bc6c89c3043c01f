"""The law of sizing: lines through points, the need for a load, and the table of docs/sizing.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sizing.fit import costs_of, least_squares, line
from bench.sizing.law import (
    MOST_STREAMS,
    USED,
    Costs,
    Load,
    Needs,
    carries,
    costs_from,
    followed,
    load_of,
    needs,
    stream_processes,
)
from bench.sizing.limits import reached
from bench.sizing.measured import MEASURED
from bench.sizing.page import (
    COLUMNS,
    DEPLOYMENTS,
    arithmetic_markdown,
    costs_markdown,
    deployments_markdown,
    limits_markdown,
    million_markdown,
    picture,
)
from dev.process import ROOT

DOCUMENT = (ROOT / "docs" / "sizing.md").read_text()
# Nothing costs anything: a test sets the one cost that it is about.
FREE = costs_from({field.name: 0.0 for field in fields(Costs)})
# All but the time until the readers are back, which falls when another process is added.
SIZES = [field.name for field in fields(Needs) if field.name != "seconds_back"]
numbers = st.floats(0.01, 1000, allow_nan=False)
loads = st.builds(
    Load,
    readers=st.floats(0, 2e6),
    generations=st.floats(0, 2e5),
    messages=st.floats(0, 1e9),
    idle=st.floats(0, 1e6),
    rate=st.floats(1, 200),
    tokens=st.floats(10, 5000),
    peak=st.floats(1, 20),
)


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=3), st.integers(5, 12))
def test_points_on_a_plane_give_its_factors(wanted: list[float], count: int):
    rows = [[1.0, n * 1000.0, (n * n) % 7] for n in range(count)]
    values = [sum(a * b for a, b in zip(row, wanted, strict=True)) for row in rows]
    assert least_squares(rows, values) == pytest.approx(wanted, abs=1e-6)


def test_a_line_lies_between_its_points():
    assert least_squares([[1, 0], [1, 1], [1, 2], [1, 3]], [0, 2, 2, 4]) == pytest.approx([0.2, 1.2])


def test_equal_points_give_no_line():
    with pytest.raises(ValueError, match="too few different points"):
        least_squares([[1, 5], [1, 5]], [1, 2])


def test_no_factor_of_a_line_is_below_zero():
    assert line([{"x": 1, "y": 1}, {"x": 2, "y": 5}], "y", "x") == [0.0, pytest.approx(4)]


def test_a_field_whose_slope_would_fall_leaves_the_mean_to_the_others():
    points = [{"x": 1, "y": 41}, {"x": 2, "y": 32}]
    assert line(points, "y", "x") == pytest.approx([36.5, 0.0])


def test_points_made_with_known_costs_give_these_costs():
    def point(x: float) -> dict[str, float]:
        """Every kind of point in one: values that rise with every field across, each by a slope of its own."""
        across = {"received": x, "delivered": x * x, "readers": x, "tokens": x, "generations": x, "bytes_an_event": 150,
                  "kernel": 1e7 + 9e3 * x}  # fmt: skip
        cores = {
            "proxy_cores": 0.05 + 6e-6 * x * x,
            "stream_cores": 0.01 + 20e-6 * x + 8e-6 * x * x,
            "redis_cores": 0.02 + 2e-6 * x * x,
        }
        return {**across, **cores, "worker_cores": 0.03 + 30e-6 * x, "database_cores": 0.04 + 5e-6 * x}

    sizes = [{**point(x), "memory": 9e7 + 2e3 * x, "session_bytes": 5e6} for x in (10, 50, 200, 400)]
    answers = [{**one, "redis_cores": 0.02 + 7e-6 * one["tokens"]} for one in sizes]
    messages = [
        {"tokens": x, "wal": 9e3 + 20 * x, "disk": 4e3 + 9 * x, "redis_log_bytes": 1e3 + 60 * x, "web_idle": 0.01,
         "web_bytes": 8e7, "redis_bytes": 6e6, "web_us": 7e3 + x, "worker_us": 6e3 + x, "redis_us": 5e2 + x,
         "database_us": 4e3 + x}
        for x in (50, 400)
    ]  # fmt: skip
    back = [{"name": "come back", "web": 1700, "redis": 180, "postgres": 380}, {"name": "poll", "web": 1}]
    parts = {"readers": sizes, "processes": sizes, "proxy": sizes, "generations": answers, "messages": messages}
    found = costs_of({**parts, "requests": back})
    wanted = Costs(
        stream_idle=0.01, stream_event_us=20, stream_delivery_us=8, stream_bytes=9e7, reader_bytes=2e3,
        socket_bytes=4500, delivery_bytes=150, proxy_delivery_us=6, proxy_bytes=2e3,
        redis_idle=0.02, redis_event_us=5, redis_process_us=2, redis_bytes=6e6,
        redis_log_bytes=1e3, redis_event_bytes=60, worker_idle=0.03, worker_token_us=30, worker_bytes=9e7,
        generation_bytes=2e3, database_idle=0.04, database_token_us=5, session_bytes=5e6, web_idle=0.01,
        web_bytes=8e7, web_message_us=7e3, worker_message_us=6e3, redis_message_us=5e2, database_message_us=4e3,
        wal_message=9e3, wal_token=20, disk_message=4e3, disk_token=9, connect_us=1700, redis_connect_us=180,
        database_connect_us=380,
    )  # fmt: skip
    for field in fields(Costs):
        assert getattr(found, field.name) == pytest.approx(getattr(wanted, field.name), rel=1e-6), field.name


def test_a_stream_process_is_used_half_and_one_is_spare():
    # 10,000 readers × 20 events × 10 µs are two cores: four processes at half of a core, and one.
    load, costs = Load(10_000, 1, 0), replace(FREE, stream_delivery_us=10)
    assert stream_processes(load, costs) == 5
    assert needs(load, costs).stream_cores == pytest.approx(2 / USED)


def test_idle_streams_need_places_and_memory_and_no_time():
    need = needs(
        Load(0, 0, 0, idle=25_000),
        replace(FREE, stream_delivery_us=10, reader_bytes=2000, proxy_bytes=500, socket_bytes=100),
    )
    assert (need.streams, need.stream_cores, need.stream_memory) == (4, 0, 25_000 * 2800)


@pytest.mark.parametrize(("readers", "processes", "pairs"), [(100, 1, 100), (1000, 1, 100), (50, 4, 50), (0, 4, 0)])
def test_an_answer_is_followed_once_by_each_process_with_a_reader_of_it(readers: int, processes: int, pairs: int):
    assert followed(Load(readers, 100, 0), processes) == pytest.approx(pairs)


def test_readers_spread_by_chance_meet_in_fewer_processes_than_there_are_readers():
    # Two readers of each answer in two processes: half of the pairs are in one process.
    assert followed(Load(200, 100, 0), 2) == pytest.approx(150)


def test_messages_are_counted_at_the_peak_for_processes_and_by_the_day_for_the_disk():
    # 864,000 messages a day are 10 a second, and 40 at the peak.
    load = Load(0, 0, 864_000, tokens=100)
    need = needs(load, replace(FREE, web_message_us=25_000, wal_message=1000, wal_token=10, disk_message=500))
    assert (need.web, need.web_cores) == (3, pytest.approx(2))
    assert (need.wal_a_day, need.disk_a_month) == (864_000 * 2000, 864_000 * 500 * 30)


def test_redis_keeps_the_logs_of_an_hour():
    # 10 messages a second at the peak are 36,000 logs in an hour, beside 100 that are half as long.
    load = Load(0, 100, 216_000, tokens=200)
    need = needs(load, replace(FREE, redis_log_bytes=1000, redis_event_bytes=50))
    assert need.redis_memory * 0.7 == pytest.approx(36_100 * 1000 + (36_000 * 200 + 100 * 100) * 50)


def test_connections_are_the_pools_of_all_processes():
    # Two web processes, two of streams, three workers: the example of docs/deploy.md.
    assert needs(Load(10, 1, 0), FREE).connections == 4 * 21 + 3 * 20 == 144


def test_tokens_of_one_tick_are_one_event():
    assert Load(0, 10, 0, rate=400).events == 10 * 50


def test_a_load_beyond_one_redis_is_named():
    need = needs(Load(0, 1000, 0), replace(FREE, redis_event_us=50))
    assert need.redis_cores == pytest.approx(2)
    assert "Redis uses one core" in need.beyond[0]


@given(loads, st.sampled_from(["readers", "generations", "messages", "idle", "peak"]), st.floats(1, 10))
def test_more_load_never_needs_less(load: Load, name: str, factor: float):
    less, more = needs(load, MEASURED), needs(replace(load, **{name: getattr(load, name) * factor + 1}), MEASURED)
    for size in SIZES:
        # Sums of millions differ in their last digits.
        assert getattr(more, size) >= getattr(less, size) * (1 - 1e-9), size


@given(loads)
def test_the_processes_that_are_found_carry_the_load_and_one_less_would_not(load: Load):
    processes, streams = stream_processes(load, MEASURED) - 1, load.readers + load.idle
    assert carries(load, MEASURED, processes)
    assert processes * MOST_STREAMS >= streams
    assert processes == 1 or (processes - 1) * MOST_STREAMS < streams or not carries(load, MEASURED, processes - 1)


def test_a_disturbed_measurement_is_refused():
    with pytest.raises(ValueError, match="disturbed"):
        replace(MEASURED, worker_idle=0.5)


def test_a_load_is_read_from_words():
    assert load_of("readers=5000, generations=300,messages=4e5,rate=10") == Load(5000, 300, 400_000, rate=10)


@pytest.mark.parametrize("words", ["readers=1,generations=1", "reader=1,generations=1,messages=1", "readers=-1", "x"])
def test_words_that_are_no_load_are_refused(words: str):
    with pytest.raises(ValueError, match=r"field|given"):
        load_of(words)


@pytest.mark.parametrize(
    "table",
    [costs_markdown, deployments_markdown, million_markdown, limits_markdown, arithmetic_markdown],
    ids=lambda table: table.__name__,
)
def test_the_document_has_the_table_that_the_law_gives(table: Callable[[Costs], str]):
    assert table(MEASURED) in DOCUMENT, f"docs/sizing.md must have\n{table(MEASURED)}"


def test_a_limit_is_reached_by_the_load_that_is_named_and_not_by_less():
    costs = replace(FREE, redis_event_us=25)
    found = dict(reached(costs, Load(1000, 100, 0)))
    # 25 µs × 20 events × 1,000 answers are half a core; ten readers of each.
    assert found["half of the core of one Redis, which is planned for it"] == pytest.approx(10_000)
    assert found["the whole core of one Redis"] == pytest.approx(20_000)
    assert list(found.values()) == sorted(found.values())


def test_the_document_explains_each_column_of_its_table():
    explained = DOCUMENT.split("## The law behind each column")[1].split("\n## ")[0]
    assert [name for name in list(COLUMNS)[3:] if f"| {name} |" not in explained] == []


def test_each_deployment_has_ten_times_the_load_of_the_one_before():
    assert [load.readers / less.readers for less, load in pairwise(DEPLOYMENTS)] == [10.0] * 3


def test_the_picture_has_a_point_for_each_measurement():
    points = [{"tokens": x, "wal": 9e3 + x, "disk": 4e3 + x, "redis_log_bytes": 1e3 + x} for x in (50, 200, 400)]
    assert picture({"messages": points}).count("<circle") == 9
