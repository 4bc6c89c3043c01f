"""Looks at a store that may not reply. The look runs in a thread; its caller waits for a bounded time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from threading import Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class NoAnswer(Exception):
    """The look has not ended in time."""


class Look(Generic[T]):
    """At most one call of ``look`` at a time. Callers that arrive meanwhile share its result."""

    def __init__(self, name: str, look: Callable[[], T]) -> None:
        self._name = name
        self._look = look
        self._lock = Lock()
        self._under_way: Future[T] | None = None

    def result(self, seconds: float) -> T:
        """Return or raise the outcome of ``look``. Raises NoAnswer after ``seconds``; the look continues."""
        return self._wait(self._join(), seconds)

    def begin(self) -> Callable[[float], T]:
        """Start a look, and return a function like ``result`` for this look: once it has ended, it needs no time."""
        return partial(self._wait, self._join())

    @property
    def is_under_way(self) -> bool:
        """True while a look has not ended."""
        return self._under_way is not None and not self._under_way.done()

    def _wait(self, look: Future[T], seconds: float) -> T:
        try:
            return look.result(seconds)
        except FutureTimeout as error:
            raise NoAnswer(f"{self._name} has not answered within {seconds:g} seconds (PROBE_SECONDS).") from error

    def _join(self) -> Future[T]:
        with self._lock:
            if self._under_way is None or self._under_way.done():
                self._under_way = Future()
                Thread(target=self._run, args=(self._under_way,), name=f"look at {self._name}", daemon=True).start()
            return self._under_way

    def _run(self, future: Future[T]) -> None:
        try:
            found = self._look()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(found)
