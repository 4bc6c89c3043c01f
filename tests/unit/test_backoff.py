"""Pauses grow, end at the longest one, and are spread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.backoff import Backoff


def test_pauses_double_up_to_the_longest() -> None:
    assert [Backoff(0.5, 3).pause(failures) for failures in range(5)] == [0.5, 1, 2, 3, 3]


@given(st.floats(0.001, 10), st.floats(0.001, 100), st.floats(0, 1), st.integers(0, 10**9))
def test_a_pause_is_never_longer_than_the_longest_and_chance_takes_its_part_only(
    first: float, longest: float, jitter: float, failures: int
) -> None:
    full = Backoff(first, longest).pause(failures)
    assert full <= longest
    assert full * (1 - jitter) <= Backoff(first, longest, jitter).pause(failures) <= full


def test_pauses_of_processes_that_fail_together_differ() -> None:
    assert len({Backoff(1, 1, 0.5).pause(3) for _ in range(20)}) > 10
    assert {Backoff(1, 1).pause(3) for _ in range(20)} == {1}


@pytest.mark.parametrize("failures", [0, 50, 10_000])
def test_many_failures_overflow_nothing(failures: int) -> None:
    assert Backoff(0.01, 0.5).pause(failures) <= 0.5
