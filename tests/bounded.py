"""A bound on a call that a bug would make wait for ever: the test turns red by an assertion, within seconds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from time import monotonic
from typing import Any


def ended(work: Callable[[], Any], seconds: float) -> tuple[float, Any]:
    """Call ``work`` in a thread of its own; return its duration in seconds and its result. Raises its exception.

    Fails when ``work`` has not ended after ``seconds``. The thread is left behind then.
    """
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    began = monotonic()
    Thread(target=run, name="bounded", daemon=True).start()
    wait([future], seconds)
    assert future.done(), f"it has not ended within {seconds:g} s"
    return monotonic() - began, future.result()
