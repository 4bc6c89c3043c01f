"""What is decided about a generation at work: whether it goes on, how, and for how long. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.attempts import Attempt
from app.domain.events import SnapshotReason
from app.domain.transcript import Transcript
from app.store.leases import Claimed
from worker.providers.base import Provider, ProviderError
from worker.run import Run

# Automatic attempts after the reader has seen something of the answer.
VISIBLE_RETRIES = 2
# The longest an upstream may ask us to wait before the next attempt, in seconds.
LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a provider may be silent before its first piece, between pieces, and how long all may take. Seconds."""

    first_token: float
    between: float
    total: float


@dataclass(frozen=True, slots=True)
class Rules:
    """A deployment's policy for interrupted answers."""

    max_attempts: int
    on_interruption: tuple[str, ...]
    strict: bool


def plan(said: Transcript, provider: Provider, policy: Sequence[str]) -> SnapshotReason | None:
    """How to go on from what the reader has seen. None: not at all."""
    if not said.text and not said.reasoning and not said.tools:
        return "start" if said.attempt == 0 else "takeover"
    for choice in policy:
        # An unfinished tool call cannot be continued by its text.
        if choice == "continue" and provider.continues and said.text and not said.tools:
            return "continue"
        if choice == "restart":
            return "restart"
        if choice == "error":
            return None
    return None


def may_retry(made: Sequence[Attempt], error: ProviderError, rules: Rules) -> bool:
    """Whether the provider is called once more after ``error``; ``made`` has that call already."""
    visible = sum(1 for attempt in made if attempt["visible"])
    return error.retryable and len(made) < rules.max_attempts and visible <= VISIBLE_RETRIES


def overdue(run: Run, now: float, deadlines: Deadlines) -> ProviderError | None:
    """The error of a provider that was silent for too long, or of an answer that takes too long."""
    if run.waiting_since is None:
        return None
    remaining = deadlines.total if run.claimed.remaining is None else run.claimed.remaining
    if now - run.claimed_at > remaining:
        return ProviderError("generation_timeout", "The answer took longer than it may.", retryable=False)
    silent = now - run.waiting_since
    if not run.heard and silent > deadlines.first_token:
        return ProviderError("first_token_timeout", "The model did not begin to answer in time.", retryable=True)
    if run.heard and silent > deadlines.between:
        return ProviderError("token_timeout", "The model fell silent in the middle of its answer.", retryable=True)
    return None


def exhausted(claimed: Claimed, rules: Rules) -> ProviderError | None:
    """Why no further attempt is made, if so."""
    if claimed.remaining is not None and claimed.remaining <= 0:
        return ProviderError("generation_timeout", "The answer took longer than it may.", retryable=False)
    if claimed.tries > rules.max_attempts:
        return ProviderError("attempts_exhausted", "Every attempt to generate this answer failed.", retryable=False)
    return None


def gone(model: str) -> ProviderError:
    return ProviderError("model_gone", f"The model {model} does not exist any more.", retryable=False)


def broken() -> ProviderError:
    return ProviderError("interrupted", "The answer was interrupted and is not continued.", retryable=False)


def pause(error: ProviderError, failures: int) -> float:
    """Seconds before the next attempt: what the provider asked for, or ever longer with jitter."""
    if error.retry_after is not None:
        return min(error.retry_after, LONGEST_PAUSE)
    return float(min(0.5 * 2**failures, 10.0) * random.uniform(0.5, 1.0))
