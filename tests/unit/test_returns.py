"""Requests collect while a batch is being opened, and each connection leaves exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest

from app.relay.returns import MOST_AT_ONCE, Batch, Notes, Opened, Returns
from tests.stack import until


class Desk:
    """An opener whose batches wait until a test lets them go, and the connections that have left."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.begun = Event()
        self.outcomes: SimpleQueue[Batch | Exception | None] = SimpleQueue()
        self.opened: list[Any] = []
        self.handed_on: list[tuple[Any, Notes]] = []
        self.broken = ""
        self.returns = Returns(self, self.settle, self.hand_on)

    def recognise(self, environ: dict[str, Any]) -> Any | None:
        return environ.get("known")

    def open_all(self, requests: Sequence[Any]) -> Batch:
        self.batches.append(list(requests))
        self.begun.set()
        outcome = self.outcomes.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or Batch([Opened(None, ()) for _ in requests])  # type: ignore[arg-type]  # no stream is needed

    def settle(self, opened: list[tuple[Any, Opened]]) -> None:
        self.opened += [conn for conn, _ in opened]

    def hand_on(self, conn: Any, notes: Notes) -> None:
        if conn == self.broken:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.handed_on.append((conn, notes))

    def offer(self, *names: str) -> None:
        for name in names:
            assert self.returns.offer(name, {"known": name})

    def begin(self, *names: str) -> None:
        """Offer requests, the first of which is opened alone while the others wait."""
        self.offer(names[0])
        assert self.begun.wait(30)
        self.offer(*names[1:])


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_is_not_recognised_is_not_taken(desk: Desk) -> None:
    assert not desk.returns.offer("a", {})
    assert desk.batches == []


def test_requests_collect_while_a_batch_is_opened(desk: Desk) -> None:
    desk.begin("a", "b", "c")
    for _ in range(2):
        desk.outcomes.put(None)
    until(lambda: desk.opened == ["a", "b", "c"])
    assert desk.batches == [["a"], ["b", "c"]]


def test_a_batch_has_a_bound(desk: Desk) -> None:
    names = [str(n) for n in range(2 * MOST_AT_ONCE + 2)]
    desk.begin(*names)
    for _ in range(4):
        desk.outcomes.put(None)
    until(lambda: desk.opened == names)
    assert [len(batch) for batch in desk.batches] == [1, MOST_AT_ONCE, MOST_AT_ONCE, 1]


def test_those_behind_a_failed_store_do_not_wait_again(desk: Desk) -> None:
    desk.begin("a", "b", "c")
    desk.outcomes.put(Batch([{"own": 1}], behind={"behind": 1}))
    until(lambda: len(desk.handed_on) == 3)
    assert desk.handed_on == [("a", {"own": 1}), ("b", {"behind": 1}), ("c", {"behind": 1})]
    desk.offer("d")
    desk.outcomes.put(None)
    until(lambda: desk.opened == ["d"])
    assert desk.batches == [["a"], ["d"]]


def test_a_connection_that_cannot_be_handed_on_keeps_none_of_the_others(desk: Desk) -> None:
    desk.broken = "b"
    desk.begin("a", "b", "c", "d")
    desk.outcomes.put(None)
    desk.outcomes.put(Batch([{}, {}, Opened(None, ())]))  # type: ignore[arg-type]  # no stream is needed
    until(lambda: desk.opened == ["a", "d"])
    assert desk.handed_on == [("c", {})]


def test_a_fault_hands_its_batch_on_and_the_next_one_is_opened(desk: Desk) -> None:
    desk.begin("a", "b")
    desk.outcomes.put(ValueError("a fault"))
    desk.outcomes.put(None)
    until(lambda: desk.opened == ["b"])
    assert desk.handed_on == [("a", {})]
