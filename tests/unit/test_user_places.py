"""Places that users share: never more than there are, and never more than half for one user."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Overloaded
from app.services.user_places import UserPlaces


@given(most=st.integers(1, 8), steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_a_place_is_given_where_there_is_one(most: int, steps: list[tuple[bool, str]]) -> None:
    places = UserPlaces(most, "files", "LIMIT")
    held: dict[str, list[ExitStack]] = {"a": [], "b": [], "c": []}
    for takes, user in steps:
        if not takes:
            if held[user]:
                held[user].pop().close()
            continue
        is_free = len(held[user]) < max(1, most // 2) and sum(map(len, held.values())) < most
        if is_free:
            held[user].append(ExitStack())
            held[user][-1].enter_context(places.of(user))
        else:
            with pytest.raises(Overloaded, match=r"\(LIMIT\)"), places.of(user):
                pytest.fail("a place that does not exist")


def test_a_place_is_free_again_after_an_error() -> None:
    places = UserPlaces(1, "files", "LIMIT")
    for _ in range(2):
        with pytest.raises(ValueError, match="within"), places.of("a"):
            raise ValueError("within")
