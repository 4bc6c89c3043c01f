"""A look that began in advance is the one whose result counts, however late it is asked for."""

from __future__ import annotations

from threading import Event

import pytest

from app.ops.looking import Look, NoAnswer
from tests.stack import until


def test_a_look_that_has_ended_meanwhile_needs_no_further_time() -> None:
    made: list[int] = []
    look = Look("Redis", lambda: made.append(1) or len(made))
    begun = look.begin()
    until(lambda: made, 60)
    until(lambda: not look.is_under_way, 60)
    assert begun(0.0) == 1
    assert made == [1]


def test_a_look_that_hangs_is_given_up_and_shared() -> None:
    goes_on, made = Event(), []

    def hang() -> int:
        made.append(1)
        goes_on.wait(60)
        return 7

    look = Look("PostgreSQL", hang)
    begun = look.begin()
    for attempt in (begun, look.result):
        with pytest.raises(NoAnswer, match="PROBE_SECONDS"):
            attempt(0.01)
    goes_on.set()
    assert begun(60) == 7
    assert made == [1]


def test_a_look_that_fails_raises_its_error() -> None:
    def fail() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        Look("Redis", fail).begin()(60)
