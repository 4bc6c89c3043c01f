"""The decisions about a generation at work: its next attempt, the reason of its next revision, its deadlines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.attempts import Attempt
from app.domain.backoff import Backoff
from app.domain.events import SnapshotReason
from app.domain.lease import Claimed
from app.domain.transcript import Transcript
from worker.providers.base import Provider, ProviderError
from worker.run_state import RunState

# Automatic attempts after readers have seen something of the answer.
VISIBLE_RETRIES = 2
# The longest pause before the next attempt that an upstream may request (Retry-After), in seconds.
LONGEST_PAUSE = 30.0
# The most calls of one answer that an upstream may charge for and that fail.
MOST_CHARGED = 3
# Failures of a moment, or of a way that the next call need not take. All others come again when they have come twice.
PASSING = frozenset(
    {"upstream_connection", "upstream_timeout", "upstream_rate_limited", "upstream_unavailable", "token_timeout"}
)
# The calls that ended with their worker.
INTERRUPTED = frozenset({"lost", "released"})
# An upstream that sends comments, and nothing else, has so many times FIRST_TOKEN_TIMEOUT before its first token.
ALIVE_FACTOR = 5
# The pauses before further attempts where the upstream asks for none.
BACKOFF = Backoff(first=0.5, longest=10.0, jitter=0.5)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a provider may be silent before its first piece and between pieces, and that an answer may take."""

    first_token: float
    between: float
    total: float


@dataclass(frozen=True, slots=True)
class Rules:
    """A deployment's policy for interrupted answers. ``most_schema_steps`` is MAX_SCHEMA_STEPS."""

    max_attempts: int
    on_interruption: tuple[str, ...]
    strict: bool
    most_schema_steps: int = 500_000


def plan(said: Transcript, provider: Provider, policy: Sequence[str]) -> SnapshotReason | None:
    """The reason of the next revision, given what readers have seen. None: no provider may be called again."""
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
    """True when the provider is to be called once more after ``error``; ``made`` includes the failed call.

    A failure that has come twice comes a third time. An upstream that wants a longer pause than LONGEST_PAUSE is not
    called before it. An upstream that accepted a request may charge for it, whatever error it sends then.
    """
    if not error.retryable or (error.retry_after or 0) > LONGEST_PAUSE:
        return False
    visible = sum(1 for attempt in made if attempt["visible"])
    charged = sum(1 for attempt in made if attempt.get("usage") and attempt.get("outcome") not in INTERRUPTED)
    if error.is_inside and sum(attempt.get("outcome") not in INTERRUPTED for attempt in made) >= MOST_CHARGED:
        return False
    alike = sum(1 for attempt in made if attempt.get("outcome") == error.code)
    repeats = error.code not in PASSING and alike >= 2
    return len(made) < rules.max_attempts and visible <= VISIBLE_RETRIES and charged < MOST_CHARGED and not repeats


def overdue(run: RunState, now: float, deadlines: Deadlines) -> ProviderError | None:
    """The error of a provider that was silent for too long, or of an answer that takes too long."""
    if run.waiting_since is None:
        return None
    remaining = deadlines.total if run.claimed.remaining is None else run.claimed.remaining
    if now - run.claimed_at > remaining:
        return ProviderError("generation_timeout", "The answer took longer than it may.", retryable=False)
    if run.resting:
        return None
    silent = now - run.waiting_since
    is_late = run.called_at is not None and now - run.called_at > ALIVE_FACTOR * deadlines.first_token
    if not run.is_visible and (is_late or silent > deadlines.first_token):
        return ProviderError("first_token_timeout", "The model did not begin to answer in time.", retryable=True)
    if run.is_visible and silent > deadlines.between:
        return ProviderError("token_timeout", "The model fell silent in the middle of its answer.", retryable=True)
    return None


def exhausted(claimed: Claimed, rules: Rules) -> ProviderError | None:
    """The error of an answer for which no further attempt is made; None when one may be made."""
    if claimed.remaining is not None and claimed.remaining <= 0:
        return ProviderError("generation_timeout", "The answer took longer than it may.", retryable=False)
    if claimed.tries > rules.max_attempts:
        return ProviderError("attempts_exhausted", "Every attempt to generate this answer failed.", retryable=False)
    return None


def unconfigured(model: str, provider: object) -> ProviderError:
    """The error of an answer whose model names an upstream that this worker does not have."""
    message = f"The model {model} names the provider {provider}, which is not configured (UPSTREAMS)."
    return ProviderError("provider_unknown", message, retryable=False)


def gone(model: str) -> ProviderError:
    """The error of an answer whose model was removed after the answer was accepted."""
    return ProviderError("model_gone", f"The model {model} does not exist any more.", retryable=False)


def broken() -> ProviderError:
    """The error of an interrupted answer that the policy ``on_interruption`` does not continue."""
    return ProviderError("interrupted", "The answer was interrupted and is not continued.", retryable=False)


def pause(error: ProviderError, failures: int) -> float:
    """Seconds before the next attempt: what the provider asks for, or a pause that grows, with jitter."""
    if error.retry_after is not None:
        return min(error.retry_after, LONGEST_PAUSE)
    return BACKOFF.pause(failures)
