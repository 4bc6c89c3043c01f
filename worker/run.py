"""A generation at work in this process, and the way to interrupt it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from app.domain.attempts import Attempt
from app.store.leases import Claimed


class Draining(Exception):
    """The worker is leaving; the generation is to be given back."""


class OutOfReach(Exception):
    """The log of an earlier worker cannot be read from here; perhaps from elsewhere."""


class Run:
    """A generation at work in this process: its claim, its attempts, and the way to interrupt it."""

    def __init__(self, claimed: Claimed, *, hesitated: bool) -> None:
        self.claimed = claimed
        self.others_first = claimed.lease.epoch > 1 and not hesitated  # if the log cannot be read from here
        self.began = self.claimed_at = monotonic()
        self.attempts: list[Attempt] = []  # since the last revision; earlier ones are in the claim
        self.waiting_since: float | None = None  # while the provider is asked
        self.heard = False  # whether this call has said anything
        self._task = asyncio.current_task()
        self._waiting = False
        self._reason: Exception | None = None

    def advance(self, claimed: Claimed) -> None:
        """Go on under the next revision, which has the attempts so far and a deadline counted from now."""
        self.claimed, self.claimed_at = claimed, monotonic()
        self.others_first = False  # what was said is this worker's own, and saved
        self.attempts.clear()

    @property
    def all_attempts(self) -> list[Attempt]:
        """Every call of a provider so far."""
        return [*self.claimed.attempts, *self.attempts]

    def interrupt(self, reason: Exception) -> None:
        """Make this run raise ``reason``: now if it waits for others, otherwise before it waits again.

        Work on the stores is never cut: whether it took effect would not be known.
        """
        if self._reason is None:
            self._reason = reason
            if self._waiting and self._task:
                self._task.cancel()

    def check(self) -> None:
        """Raise what this run was interrupted with, if it was."""
        if self._reason is not None:
            reason, self._reason = self._reason, None
            raise reason

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that may be interrupted at any await."""
        self.check()
        self._waiting = True
        try:
            yield
        except asyncio.CancelledError:
            if self._reason is None or self._task is None:
                raise
            self._task.uncancel()
            self.check()
        finally:
            self._waiting = False
