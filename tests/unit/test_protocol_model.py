"""The protocol's model (tests/chaos/model.py) holds under thousands of schedules, and finds planted bugs."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.model import BUGS, Broken, run

SCHEDULES = 1200


def test_no_schedule_of_faults_breaks_a_promise() -> None:
    seen: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        seen.update(run(seed))
    # Schedules without these events prove nothing.
    for place in ("takeover", "fence", "gap", "lost", "archive", "ambiguous commit", "left", "cancel left"):
        assert seen[place] > SCHEDULES / 50, f"{place} was met {seen[place]} times"


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    assert any(breaks(seed, bug) for seed in range(500))


def breaks(seed: int, bug: str) -> bool:
    try:
        run(seed, frozenset({bug}))
    except Broken:
        return True
    return False


def test_a_schedule_is_its_seed() -> None:
    assert run(7) == run(7)
