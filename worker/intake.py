"""The intake of tasks from the broker: the loop that drains the worker closes it, the consumer's thread follows."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from threading import Event
from time import monotonic
from typing import Any
from uuid import UUID

from celery.worker import state

# A consumer that has not followed for this long has no connection; with the next one it begins without its queue.
FOLLOW_SECONDS = 2.0


def id_in(arguments: Sequence[object]) -> str | None:
    """The id of an object in the arguments of a task; None for any other arguments."""
    try:
        [text] = arguments
        return str(UUID(text)) if isinstance(text, str) else None
    except (TypeError, ValueError):
        return None


class Intake:
    """The switch for taking tasks. ``hand_on`` sends another task, by name and the id in it, to other workers.

    ``descriptor`` becomes readable when the consumer has to look. Any thread may open and close the intake.
    """

    def __init__(self, hand_on: Callable[[str, str], None]) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._hand_on = hand_on
        self._closed_at: float | None = None
        self._followed = Event()

    @property
    def is_open(self) -> bool:
        """True while this worker takes tasks."""
        return self._closed_at is None

    @property
    def is_idle(self) -> bool:
        """True when no task comes any more, and none that came is left."""
        return self.is_closed and not state.reserved_requests

    @property
    def is_closed(self) -> bool:
        """True when the consumer has stopped to take tasks, or has no connection."""
        if self._closed_at is None:
            return False
        return self._followed.is_set() or monotonic() > self._closed_at + FOLLOW_SECONDS

    def close(self) -> None:
        """Take no task from now on."""
        if self._closed_at is None:
            self._followed.clear()
            self._closed_at = monotonic()
            os.eventfd_write(self.descriptor, 1)

    def open(self) -> None:
        """Take tasks again."""
        if self._closed_at is not None:
            self._closed_at = None
            os.eventfd_write(self.descriptor, 1)

    def acknowledge(self) -> None:
        """Called by the consumer's thread when it looks."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def follow(self) -> None:
        """Called by the consumer's thread when it takes no task any more: those that wait for a thread are handed on.

        They stay in this process, too, and find nothing to do when their turn comes.
        """
        if not self._followed.is_set():
            self._followed.set()
            for request in _members(state.reserved_requests) - _members(state.active_requests):
                if object_id := id_in(request.args):
                    self._hand_on(request.name, object_id)


def _members(requests: Collection[Any]) -> set[Any]:
    """A set of Celery as it is now: the threads that run tasks change it meanwhile."""
    while True:
        try:
            return set(requests)
        except RuntimeError:  # it changed its size
            continue
