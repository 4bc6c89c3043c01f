"""A busy hub collects the events of a log for a while; one with time sends each of them at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.relay.event_loop import EventLoop
from app.relay.pacing import AT_EASE, BUSY, LONGEST_INTERVAL, SHORTEST_INTERVAL, Pacing
from app.relay.stats import RelayStats

TICK = 0.5
SHARES = st.floats(0, 1)


class Load:
    """A loop of which each tick takes half a second, and has a given share of work."""

    def __init__(self) -> None:
        self.loop = EventLoop(lambda error: None, clock=lambda: 0.0)
        self.stats = RelayStats()
        self.pacing = Pacing(self.loop, self.stats, lambda topic: None)

    def work(self, share: float, ticks: int = 1) -> float:
        for _ in range(ticks):
            self.loop.now += TICK
            self.loop.idle += TICK * (1 - share)
            self.pacing.adapt()
        return self.pacing.interval


def test_a_hub_with_time_collects_nothing() -> None:
    assert Load().work(AT_EASE, 20) == 0.0


def test_a_busy_hub_collects_for_longer_and_longer_up_to_a_limit() -> None:
    load = Load()
    intervals = [load.work(0.9) for _ in range(6)]
    assert intervals[0] == SHORTEST_INTERVAL
    assert intervals == sorted(intervals)
    assert intervals[-1] == LONGEST_INTERVAL


def test_a_hub_that_has_time_again_sends_at_once_after_three_ticks() -> None:
    load = Load()
    load.work(0.9, 10)
    assert load.work(0.1, 3) == 0.0


def test_between_the_limits_the_time_of_collecting_stays() -> None:
    load = Load()
    before = load.work(0.9, 2)
    assert load.work((BUSY + AT_EASE) / 2, 10) == before


@given(shares=st.lists(SHARES, max_size=40))
def test_the_time_of_collecting_is_bounded_and_no_step_more_than_doubles_it(shares: list[float]) -> None:
    load, before = Load(), 0.0
    for share in shares:
        interval = load.work(share)
        assert interval == 0.0 or SHORTEST_INTERVAL <= interval <= LONGEST_INTERVAL
        assert interval <= max(2 * before, SHORTEST_INTERVAL)
        assert load.stats.collecting_seconds == interval
        before = interval


def test_no_time_between_two_looks_changes_nothing() -> None:
    load = Load()
    load.work(0.9, 2)
    before = load.pacing.interval
    load.pacing.adapt()
    assert load.pacing.interval == before
