"""The drain of a worker beside its parts: the intake closes first, and only free slots are handed over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.workers import DrainMode, DrainOrder
from worker import drain as drain_module
from worker.drain import Drain, Parts


@dataclass
class Intake:
    """An intake whose consumer follows when ``follows`` says so."""

    steps: list[str]
    follows: bool = True
    is_idle: bool = True
    is_requested: bool = False

    @property
    def is_closed(self) -> bool:
        return self.is_requested and self.follows

    def close(self) -> None:
        self.is_requested = True
        self.steps.append("close")

    def open(self) -> None:
        self.is_requested = False
        self.steps.append("open")


@dataclass
class Part:
    steps: list[str]
    is_idle: bool = True

    def pause(self) -> None:
        self.steps.append("pause")

    def resume(self) -> None:
        self.steps.append("resume")


@dataclass
class Bench:
    """A drain with parts that write down what they are told. ``running`` answers are at work."""

    running: int = 0
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.intake, self.part = Intake(self.steps), Part(self.steps)
        self.drain = Drain(Parts(self.intake, (self.part,), self._hand_over))

    def _hand_over(self, most: int) -> int:
        given = min(self.running, most)
        self.running -= given
        self.steps.append(f"give {given}")
        return given

    async def follow(self, mode: DrainMode | None, free: int = 0) -> None:
        """A heartbeat, and time for what it begins."""
        self.drain.follow(DrainOrder(mode, free) if mode else None)
        for _ in range(5):
            await asyncio.sleep(0)


def on_loop(test: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(test())


def test_the_intake_closes_first() -> None:
    async def run() -> None:
        bench = Bench()
        await bench.follow("finish")
        assert bench.steps == ["close", "pause"]
        assert bench.drain.may_stop
        bench.part.is_idle = False
        assert not bench.drain.may_stop
        await bench.follow(None)
        assert bench.steps == ["close", "pause", "resume", "open"]
        assert not bench.drain.may_stop
        assert not bench.drain.is_requested

    on_loop(run)


def test_nothing_pauses_while_the_consumer_takes_tasks() -> None:
    async def run() -> None:
        bench = Bench(running=1)
        bench.intake.follows = False
        await bench.follow("hand_over", 5)
        assert bench.steps == ["close"]
        assert not bench.drain.may_stop
        await bench.follow(None)
        await asyncio.sleep(3 * drain_module.LOOK_SECONDS)
        assert bench.steps == ["close", "resume", "open"]
        assert bench.running == 1

    on_loop(run)


def test_a_consumer_that_never_follows_is_not_waited_for_any_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_module, "CLOSE_SECONDS", 0.0)

    async def run() -> None:
        bench = Bench()
        bench.intake.follows = False
        await bench.follow("finish")
        assert bench.steps == ["close", "pause"]

    on_loop(run)


def test_a_second_hand_over_waits_for_the_reports_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        bench = Bench(running=5)
        await bench.follow("finish", 9)
        assert bench.running == 5
        await bench.follow("hand_over", 0)
        await bench.follow("hand_over", 2)
        assert bench.running == 3
        await bench.follow("hand_over", 9)
        assert bench.running == 3
        monkeypatch.setattr(drain_module, "monotonic", lambda: float("inf"))
        await bench.follow("hand_over", 9)
        assert bench.running == 0

    on_loop(run)


@given(st.lists(st.tuples(st.sampled_from(["finish", "hand_over", None]), st.integers(0, 3)), max_size=12))
def test_the_parts_are_as_the_last_order_says(orders: list[tuple[DrainMode | None, int]]) -> None:
    async def run() -> None:
        bench, free = Bench(running=6), 0
        for mode, slots in orders:
            await bench.follow(mode, slots)
            free += slots if mode == "hand_over" else 0
        drained = bool(orders) and orders[-1][0] is not None
        assert bench.drain.is_requested == drained == bench.intake.is_requested
        assert bench.steps.count("pause") - bench.steps.count("resume") == drained
        assert 6 - bench.running <= free

    on_loop(run)
