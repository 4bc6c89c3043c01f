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


class Parts:
    """Parts of ``steps`` steps, which are counted. The ``broken`` steps raise, as often as it says."""

    def __init__(self, parts: int, steps: int, broken: dict[tuple[int, int], int] | None = None) -> None:
        self.parts = parts
        self.steps = steps
        self.broken = broken or {}
        self.done: list[tuple[int, int]] = []

    def begin(self) -> Iterator[Iterator[None]]:
        return (self._part(part) for part in range(self.parts))

    def _part(self, part: int) -> Iterator[None]:
        for step in range(self.steps):
            if self.broken.get((part, step), 0):
                self.broken[part, step] -= 1
                raise RuntimeError
            self.done.append((part, step))
            yield


def test_a_pass_without_time_does_one_step_at_a_time_and_then_begins_anew() -> None:
    parts = Parts(2, 2)
    each = Pass(parts.begin, seconds=0)
    assert [each.resume() for _ in range(10)] == [True, True, True, True, False] * 2
    assert parts.done == [(0, 0), (0, 1), (1, 0), (1, 1)] * 2


def test_a_pass_with_time_does_all_steps() -> None:
    parts = Parts(2, 500)
    assert Pass(parts.begin, seconds=60).resume() is False
    assert parts.done == [(part, step) for part in range(2) for step in range(500)]


def test_a_part_that_always_fails_keeps_none_of_the_others() -> None:
    parts = Parts(3, 2, broken={(1, 1): 1000})
    each = Pass(parts.begin, seconds=60)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            each.resume()
        assert parts.done == [(0, 0), (0, 1), (1, 0)]
        parts.done.clear()
        assert each.resume() is True, "a new pass follows at once"
        assert parts.done == [(2, 0), (2, 1)]
        parts.done.clear()


def test_a_pass_that_has_failed_once_is_at_its_end_after_the_next_one() -> None:
    parts = Parts(1, 3, broken={(0, 1): 1})
    each = Pass(parts.begin, seconds=60)
    with pytest.raises(RuntimeError):
        each.resume()
    assert [each.resume(), each.resume()] == [True, False]
    assert parts.done == [(0, 0), (0, 0), (0, 1), (0, 2)]


def test_a_pass_whose_parts_are_not_found_begins_anew() -> None:
    found: list[bool] = []

    def begin() -> Iterator[Iterator[None]]:
        found.append(True)
        if len(found) == 1:
            raise RuntimeError
        yield iter([None])

    each = Pass(begin, seconds=60)
    with pytest.raises(RuntimeError):
        each.resume()
    assert [each.resume(), each.resume()] == [True, False]


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

    sweeper = Sweeper(Due(), lambda _: None, 0.01, [Chore("pass", Pass(lambda: [pieces()], seconds=0).resume, 3600)])  # type: ignore[arg-type]
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
