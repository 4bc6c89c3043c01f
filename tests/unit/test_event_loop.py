"""The event loop of one thread: it sleeps until there is work, and every posted call wakes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from app.relay.event_loop import EventLoop

failures: list[Exception] = []


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop(failures.append)
    loop.open()
    yield loop
    loop.close()


def ring_soon(loop: EventLoop, rung: list[int], number: int) -> threading.Thread:
    """Post a call from another thread, most likely when the loop is asleep."""
    timer = threading.Timer(0.01, loop.post, (rung.append, number))
    timer.start()
    return timer


def test_every_ring_wakes_it(loop: EventLoop) -> None:
    rung: list[int] = []
    began = monotonic()
    for number in range(20):
        ring_soon(loop, rung, number)
        while len(rung) == number:
            loop.wait(began + 30)
            loop.run_posted()
    assert rung == list(range(20))
    assert monotonic() < began + 20


def test_having_been_woken_it_sleeps_again(loop: EventLoop) -> None:
    rung: list[int] = []
    ringing = ring_soon(loop, rung, 1)
    while not rung:
        loop.wait(monotonic() + 10)
        loop.run_posted()
    ringing.join()
    # A wake-up that arrived while its call was already running ends one more wait.
    loop.wait(monotonic())
    until = monotonic() + 0.05
    assert loop.wait(until) == []
    assert monotonic() >= until


def test_it_wakes_for_a_call_that_is_due_before_anything_else(loop: EventLoop) -> None:
    called: list[int] = []
    due = monotonic() + 0.02
    loop.at(due, called.append, 1)
    loop.wait(due + 30)
    loop.run_timers()
    assert called == [1]
    assert monotonic() < due + 20
