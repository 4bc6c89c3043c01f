"""A generation at work in this process, and the way to interrupt it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from app.domain.attempts import Attempt
from app.domain.lease import Claimed
from app.domain.upstreams import UpstreamRun
from worker.generation_trace import GenerationTrace
from worker.outcome import CANCELLED
from worker.target_call import TargetCall


class Draining(Exception):
    """The worker is leaving; the generation is to be given back."""


class OutOfReach(Exception):
    """This worker cannot read the log of an earlier one; another worker may be able to."""


class RunState:
    """A generation at work in this process: its claim, its attempts, and the way to interrupt it."""

    def __init__(self, claimed: Claimed, trace: GenerationTrace, *, asked_at: float, hesitated: bool) -> None:
        self.claimed = claimed
        self.claimed_at = asked_at  # before the statement: a pause before its reply has taken from the lease
        self.proven_at = asked_at  # when PostgreSQL was last asked to extend the lease before a draft began, and did
        self.trace = trace
        self.others_first = claimed.lease.epoch > 1 and not hesitated  # if the log cannot be read from here
        self.began = monotonic()
        self.attempts: list[Attempt] = []  # since the last revision; earlier ones are in the claim
        self.waiting_since: float | None = None  # while a provider is called: since its last sign of life
        self.called_at: float | None = None  # the beginning of the last call
        self.outcome = CANCELLED  # until an answer ends otherwise
        self.is_calling = False  # from the beginning of a call until it is among the attempts
        self.resting = False  # while the provider is not read, for want of room in the buffer
        self.is_visible = False  # readers have seen something of this call
        self.has_begun = False  # some call has sent a piece
        self.on_chunk: Callable[[], None] | None = None  # measures the chunks of this call
        self.said_chars = 0  # how much, with its reasoning and the arguments of its tool calls
        self.input_tokens = 0  # about as many were sent with this call
        self.files: list[dict[str, Any]] = []  # of the prompt, as they were sent
        self.file_bytes = 0  # of the memory for files, held by this run
        self.upstream_run: UpstreamRun | None = None  # of this call, at an upstream that keeps runs
        self.target = claimed.target  # the one that is called; None for the model's first one
        self.next_call: TargetCall | None = None  # chosen for the revision that begins after a failed call
        self._task = asyncio.current_task()
        self._waiting = False
        self._reason: Exception | None = None

    def advance(self, claimed: Claimed, asked_at: float) -> None:
        """Go on under the next revision, which has the attempts so far; ``asked_at``: when it was asked for."""
        self.claimed, self.claimed_at, self.proven_at = claimed, asked_at, asked_at
        self.others_first = False  # the earlier revision is this worker's own, and saved
        self.attempts.clear()
        self.trace.advanced(claimed)

    @property
    def age(self) -> float:
        """Seconds since the generation was accepted."""
        return self.claimed.age + monotonic() - self.claimed_at

    @property
    def all_attempts(self) -> list[Attempt]:
        """Every call of a provider so far."""
        return [*self.claimed.attempts, *self.attempts]

    def record(self, made: Attempt) -> None:
        """Add the record of the call that has just ended."""
        self.attempts.append(made)
        self.is_calling = False

    @property
    def is_interrupted(self) -> bool:
        """True from an interruption until it is raised."""
        return self._reason is not None

    def interrupt(self, reason: Exception) -> None:
        """Make this run raise ``reason``: now if it waits for others, otherwise before it waits again.

        Work on the stores is never cut: whether it took effect would not be known.
        """
        if self._reason is None:
            self._reason = reason
            if self._waiting and self._task:
                self._task.cancel()

    def check(self) -> None:
        """Raise the reason of an interruption, if there was one."""
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
