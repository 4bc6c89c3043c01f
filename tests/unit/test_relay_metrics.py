"""The counts of the relay reach Prometheus, each increase exactly once."""

from __future__ import annotations

from dataclasses import fields
from time import monotonic

import pytest

from app.ops.relay_metrics import (
    COLLECTING_SECONDS,
    COUNTERS,
    DELIVERY_SECONDS,
    GAUGE_HELP,
    GAUGES,
    HELP,
    SILENT_SECONDS,
    RelayMetrics,
)
from app.relay.stats import RelayStats


def value(field: str) -> float:
    return COUNTERS[field]._value.get()


@pytest.mark.parametrize("field", [one.name for one in fields(RelayStats) if one.name in HELP])
def test_an_increase_is_published_once(field: str) -> None:
    stats = RelayStats()
    metrics, before = RelayMetrics(stats), value(field)
    setattr(stats, field, 3)
    metrics.publish()
    metrics.publish()
    assert value(field) - before == 3
    setattr(stats, field, 5)
    metrics.publish()
    assert value(field) - before == 5


def test_a_subscription_built_again_is_a_reconnect_and_the_first_is_none() -> None:
    stats = RelayStats(redis_connects=1)
    metrics, before = RelayMetrics(stats), value("redis_reconnects")
    metrics.publish()
    assert value("redis_reconnects") == before
    stats.redis_connects = 3
    metrics.publish()
    assert value("redis_reconnects") - before == 2


def test_every_count_of_the_relay_is_shown() -> None:
    """Frames sent have a counter of their own, fed when a stream ends."""
    counted = {one.name for one in fields(RelayStats)} - {"redis_connects"} | {"redis_reconnects"}
    assert counted - set(HELP) - set(GAUGE_HELP) == {
        "frames_sent", "canary_seconds", "canary_at", "collecting_seconds",
    }  # fmt: skip


def test_the_time_of_each_canary_is_observed_once() -> None:
    stats = RelayStats()
    metrics, before = RelayMetrics(stats), DELIVERY_SECONDS._sum.get()
    stats.canary_seconds.extend((0.25, 0.5))
    metrics.publish()
    metrics.publish()
    assert DELIVERY_SECONDS._sum.get() - before == 0.75


def test_the_silence_of_a_subscription_is_counted_from_its_last_canary() -> None:
    stats = RelayStats(canary_at=monotonic() - 30)
    metrics = RelayMetrics(stats)
    metrics._began -= 60
    metrics.publish()
    assert 30 <= SILENT_SECONDS._value.get() < 45
    stats.canary_at = monotonic()
    metrics.publish()
    assert SILENT_SECONDS._value.get() < 15


def test_the_time_of_collecting_is_shown_as_it_is_now() -> None:
    stats = RelayStats(collecting_seconds=0.04)
    metrics = RelayMetrics(stats)
    for seconds in (0.04, 0.0):
        stats.collecting_seconds = seconds
        metrics.publish()
        assert COLLECTING_SECONDS._value.get() == seconds


def test_gauges_follow_the_relay_up_and_down() -> None:
    stats = RelayStats(streams_behind=2, bytes_held=900)
    metrics = RelayMetrics(stats)
    metrics.publish()
    assert (GAUGES["streams_behind"]._value.get(), GAUGES["bytes_held"]._value.get()) == (2, 900)
    stats.streams_behind = stats.bytes_held = 0
    metrics.publish()
    assert (GAUGES["streams_behind"]._value.get(), GAUGES["bytes_held"]._value.get()) == (0, 0)
