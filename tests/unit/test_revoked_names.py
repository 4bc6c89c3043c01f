"""Names that were revoked a short while ago: nothing that was proved before a revocation passes after it."""

from __future__ import annotations

from math import inf
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from app.domain.revoked_names import KEPT_SECONDS, RevokedNames

NAMES = st.sampled_from(["user 1", "user 2", "key 1", "key 2", "tokens 1"])
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.0, KEPT_SECONDS / 2, KEPT_SECONDS + 1]), st.sets(NAMES)))


@given(steps=STEPS, asked=st.sets(NAMES, min_size=1), before=st.floats(0, 200), most=st.integers(1, 4))
def test_a_revocation_is_never_forgotten_by_something_older(
    steps: list[tuple[float, set[str]]], asked: set[str], before: float, most: int
) -> None:
    recent, now, last = RevokedNames(), 1_000.0, -inf
    with patch("app.domain.revoked_names.MOST_NAMES", most):
        for pause, names in steps:
            now += pause
            recent.add(names, now)
            last = now if names & asked else last
    since = now - before
    if last >= since:
        assert recent.meets(asked, since)
    # A name is kept at most until it is old, and what is proved now is never refused for an old one.
    assert not recent.meets(asked, now + 0.001)


@given(names=st.sets(NAMES, min_size=1), others=st.sets(NAMES, min_size=1))
def test_only_the_revoked_names_are_revoked_and_only_what_was_proved_before(names: set[str], others: set[str]) -> None:
    recent = RevokedNames()
    recent.add(names, 10.0)
    assert recent.meets(others, 10.0) == bool(names & others)
    assert recent.meets(others, 9.0) == bool(names & others)
    assert not recent.meets(others, 10.5)


def test_everything_that_was_proved_before_a_gap_is_revoked() -> None:
    recent = RevokedNames()
    recent.add_everything(10.0)
    assert recent.meets(["user 1"], 10.0)
    assert not recent.meets(["user 1"], 10.5)
