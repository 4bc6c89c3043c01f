"""Percentiles of histograms lie within a tenth of the exact ones."""

from __future__ import annotations

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from app.domain.histogram import bucket_of, merged, percentile, read, write

DURATIONS = st.lists(st.floats(1, 1e8), min_size=1, max_size=200)


def histogram(durations: list[float]) -> Counter[int]:
    return Counter(bucket_of(one) for one in durations)


@given(DURATIONS, st.sampled_from([0.5, 0.95, 0.01, 1.0]))
def test_a_percentile_is_a_tenth_off_at_most(durations: list[float], part: float) -> None:
    exact = sorted(durations)[ceil(part * len(durations)) - 1]
    found = percentile(histogram(durations), part)
    assert found is not None
    # The result is rounded to a tenth of a millisecond.
    assert exact / 1.1 - 0.05 <= found <= exact * 1.1 + 0.05


@given(DURATIONS, DURATIONS)
def test_histograms_are_added(one: list[float], other: list[float]) -> None:
    assert merged([histogram(one), histogram(other)]) == histogram(one + other)


@given(DURATIONS)
def test_a_histogram_survives_its_way_through_json(durations: list[float]) -> None:
    found = histogram(durations)
    assert read(write(found)) == found


def test_nothing_has_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert bucket_of(0.0) == bucket_of(0.9) == 0
