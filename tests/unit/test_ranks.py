"""The test that tells two sorts of durations apart."""

from __future__ import annotations

from random import Random

import pytest

from tests.hostile.ranks import compare, signed_rank


def test_a_shift_of_a_fifth_of_the_noise_is_seen_and_none_is_not() -> None:
    dice = Random(7)
    noise = [(dice.gauss(100, 10), dice.gauss(100, 10)) for _ in range(2000)]
    assert compare(noise).p > 0.01
    shifted = compare([(first + 2, second) for first, second in noise])
    assert shifted.p < 1e-4
    assert shifted.difference == pytest.approx(2, abs=1)


@pytest.mark.parametrize(
    ("differences", "p"),
    [([], 1.0), ([0.0, 0.0], 1.0), ([1.0, -1.0] * 20, 0.7), ([float(n) for n in range(1, 31)], 1.7e-6)],
)
def test_the_p_of_known_samples(differences: list[float], p: float) -> None:
    assert signed_rank(differences) == pytest.approx(p, rel=0.35)
    assert signed_rank([-one for one in differences]) == pytest.approx(signed_rank(differences), rel=0.35)
