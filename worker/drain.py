"""The drain of this worker at an operator's request, which its row has. The process goes on, and can work again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import structlog

from app.domain.workers import DrainOrder

# The longest wait for the consumer, in seconds. A task that it takes afterwards is handed on, and may come back.
CLOSE_SECONDS = 1.0
LOOK_SECONDS = 0.01
# Seconds between two times of handing over: the reports of the other workers then show what they have taken.
HAND_OVER_SECONDS = 2.5

_log = structlog.get_logger()


class Part(Protocol):
    """A part of a worker that begins work. Its methods are called by the loop."""

    @property
    def is_idle(self) -> bool:
        """True when nothing of it is under way."""
        ...

    def pause(self) -> None:
        """Begin nothing new; what is under way goes on."""
        ...

    def resume(self) -> None:
        """Begin work again."""
        ...


class Intake(Protocol):
    """The intake of tasks, ``worker.intake``."""

    @property
    def is_closed(self) -> bool: ...

    @property
    def is_idle(self) -> bool: ...

    def close(self) -> None: ...

    def open(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a worker. ``hand_over`` gives up to so many answers back, and returns how many it gave."""

    intake: Intake
    others: Sequence[Part]
    hand_over: Callable[[int], int]


class Drain:
    """Follows the order of each heartbeat. Used from the process's loop only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._order: DrainOrder | None = None
        self._closing: asyncio.Task[None] | None = None
        self._hand_over_at = 0.0

    @property
    def is_requested(self) -> bool:
        """True from the order to drain to its end."""
        return self._order is not None

    @property
    def may_stop(self) -> bool:
        """True when the worker is drained and nothing runs in it."""
        if self._order is None or self._closing is None or not self._closing.done():
            return False
        return self._parts.intake.is_idle and all(part.is_idle for part in self._parts.others)

    def follow(self, order: DrainOrder | None) -> None:
        """Drain, or work again, as the row says; ``order`` is None without a request."""
        before, self._order = self._order, order
        if order is None:
            if before is not None:
                self._resume()
            return
        if before is None:
            _log.info("worker drains", action="drain", mode=order.mode)
            self._hand_over_at = 0.0
            self._closing = asyncio.ensure_future(self._close())
        elif self._closing is not None and self._closing.done():
            self._hand_over()

    async def _close(self) -> None:
        """Close the intake first: a task that is handed on must not come back to this worker."""
        self._parts.intake.close()
        until = monotonic() + CLOSE_SECONDS
        while not self._parts.intake.is_closed and monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
        for part in self._parts.others:
            part.pause()
        self._hand_over()

    def _hand_over(self) -> None:
        """Give back as many answers as other workers have free slots; the others go on here, and nobody waits."""
        order = self._order
        if order is None or order.mode != "hand_over" or monotonic() < self._hand_over_at:
            return
        if given := self._parts.hand_over(order.free_elsewhere):
            self._hand_over_at = monotonic() + HAND_OVER_SECONDS
            _log.info("answers handed over", action="drain", answers=given)

    def _resume(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        for part in self._parts.others:
            part.resume()
        self._parts.intake.open()
        _log.info("worker works again", action="undrain")
