"""A pass that goes on in pieces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from threading import Event

import pytest

from app.services.passes import Pass
from app.services.sweeper import Chore, Sweeper
from tests.stack import until

NOTHING_DUE: dict[str, str] = {}


class Steps:
    """Steps that are counted. The one at ``broken`` raises once."""

    def __init__(self, count: int, broken: int | None = None) -> None:
        self.count = count
        self.broken = broken
        self.done: list[int] = []

    def begin(self) -> Iterator[None]:
        for step in range(self.count):
            if step == self.broken:
                self.broken = None
                raise RuntimeError
            self.done.append(step)
            yield


def test_a_pass_without_time_does_one_step_at_a_time_and_then_begins_anew() -> None:
    steps = Steps(3)
    each = Pass(steps.begin, seconds=0)
    assert [each.go_on() for _ in range(8)] == [True, True, True, False] * 2
    assert steps.done == [0, 1, 2, 0, 1, 2]


def test_a_pass_with_time_does_all_steps() -> None:
    steps = Steps(1_000)
    assert Pass(steps.begin, seconds=60).go_on() is False
    assert steps.done == list(range(1_000))


def test_a_pass_with_an_error_begins_anew() -> None:
    steps = Steps(3, broken=1)
    each = Pass(steps.begin, seconds=60)
    with pytest.raises(RuntimeError):
        each.go_on()
    assert each.go_on() is False
    assert steps.done == [0, 0, 1, 2]


def test_sweeps_go_on_between_the_pieces_of_a_pass() -> None:
    """The chore is due once an hour. Its pieces follow each other in the rounds of the sweeper."""
    seen: list[str] = []
    finished = Event()

    def pieces() -> Iterator[None]:
        for _ in range(4):
            seen.append("piece")
            yield
        finished.set()

    class Due:
        def take(self) -> dict[str, str]:
            seen.append("sweep")
            return NOTHING_DUE

    sweeper = Sweeper(Due(), lambda _: None, 0.01, [Chore("pass", Pass(pieces, seconds=0).go_on, 3600)])  # type: ignore[arg-type]
    # A chore runs first at a random moment of its period.
    sweeper._chores = dict.fromkeys(sweeper._chores, time.monotonic())
    sweeper.start()
    try:
        until(finished.is_set)
        pieces_at = [at for at, what in enumerate(seen) if what == "piece"]
        assert all("sweep" in seen[first:second] for first, second in pairwise(pieces_at))
        assert seen.count("piece") == 4
    finally:
        sweeper.stop()
