"""How an interrupted answer goes on."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from app.domain.events import Event, Reasoning, Snapshot, Token, Tool, encode, number
from app.domain.transcript import Transcript
from app.store.leases import Claimed, Lease
from worker.policy import Deadlines, Rules, exhausted, may_retry, overdue, pause, plan
from worker.providers.base import ProviderError
from worker.providers.offline import Offline

ALL = ("continue", "restart", "error")
CLAIMED = Claimed(
    lease=Lease("g", 1), user_id="u", conversation_id="c", message_id="m", user_message_id="q", model="offline",
    parameters={}, attempts=[], tries=1, cancelled=False, remaining=100.0, age=0.0,
)  # fmt: skip


class Mute(Offline):
    continues = False


def said(*events: Event) -> Transcript:
    return Transcript.of(number(1, 0, [encode(event) for event in (Snapshot("", "start", 1), *events)]))


@pytest.mark.parametrize(
    ("transcript", "provider", "policy", "expected"),
    [
        (Transcript(), Offline(), ALL, "start"),
        (said(), Offline(), ALL, "takeover"),
        (said(), Offline(), ("error",), "takeover"),
        (said(Token("a")), Offline(), ALL, "continue"),
        (said(Token("a")), Mute(), ALL, "restart"),
        (said(Token("a")), Mute(), ("continue", "error"), None),
        (said(Token("a")), Offline(), ("restart", "continue"), "restart"),
        (said(Token("a")), Offline(), ("error", "continue"), None),
        (said(Token("a")), Offline(), (), None),
        (said(Reasoning("hm")), Offline(), ALL, "restart"),
        (said(Token("a"), Tool("c", "t", "started")), Offline(), ALL, "restart"),
        (said(Tool("c", "t", "started")), Offline(), ALL, "restart"),
        (said(Tool("c", "t", "started")), Offline(), ("continue", "error"), None),
    ],
)
def test_the_first_policy_the_provider_can_follow_decides(
    transcript: Transcript, provider: Any, policy: tuple[str, ...], expected: str | None
) -> None:
    assert plan(transcript, provider, policy) == expected


def test_the_reasons_of_an_end_have_stable_codes() -> None:
    rules = Rules(3, ALL, False)
    assert exhausted(CLAIMED, rules) is None
    late, tired = exhausted(replace(CLAIMED, remaining=0.0), rules), exhausted(replace(CLAIMED, tries=4), rules)
    assert late is not None
    assert tired is not None
    assert (late.code, tired.code) == ("generation_timeout", "attempts_exhausted")
    assert exhausted(replace(CLAIMED, tries=3), rules) is None


def test_at_most_two_more_calls_after_something_was_shown() -> None:
    error = ProviderError("upstream_connection", "cut", retryable=True)
    shown, silent = {"visible": True}, {"visible": False}
    assert may_retry([shown], error, Rules(9, ALL, False))
    assert may_retry([shown, silent, shown], error, Rules(9, ALL, False))
    assert not may_retry([shown, shown, shown], error, Rules(9, ALL, False))
    assert not may_retry([silent] * 5, error, Rules(5, ALL, False))
    assert not may_retry([silent], ProviderError("upstream_rejected", "no", retryable=False), Rules(9, ALL, False))


def test_pauses_grow_and_obey_the_provider_up_to_a_limit() -> None:
    error = ProviderError("upstream_unavailable", "no", retryable=True)
    assert 0 < pause(error, 1) <= 1 < pause(error, 3) <= 4
    assert pause(error, 50) <= 10
    assert pause(ProviderError("x", "x", retryable=True, retry_after=2.5), 1) == 2.5
    assert pause(ProviderError("x", "x", retryable=True, retry_after=9999), 1) <= 60


class Waiting:
    """A run as `overdue` looks at it."""

    def __init__(self, **fields: Any) -> None:
        self.claimed = CLAIMED
        self.heard = False
        self.waiting_since: float | None = None
        self.__dict__.update(fields)


@pytest.mark.parametrize(
    ("heard", "silent", "code"),
    [
        (False, 4, None), (False, 6, "first_token_timeout"), (True, 2, None), (True, 4, "token_timeout"),
        (True, None, None),
    ],
)  # fmt: skip
def test_silence_is_measured_against_the_right_deadline(heard: bool, silent: float | None, code: str | None) -> None:
    now = monotonic()
    run: Any = Waiting(
        heard=heard, waiting_since=None if silent is None else now - silent, began=now - 10, claimed_at=now - 10
    )
    error = overdue(run, now, Deadlines(5, 3, 100))
    assert (error.code if error else None) == code


def test_what_remains_of_the_total_is_counted_from_the_claim_that_told_it() -> None:
    """After 60 of 100 seconds a new revision is told that 40 remain: they begin then, not at the first claim."""
    now = monotonic()
    late = replace(CLAIMED, remaining=40.0)
    run: Any = Waiting(claimed=late, waiting_since=now, heard=True, began=now - 60, claimed_at=now - 1)
    assert overdue(run, now, Deadlines(5, 3, 100)) is None
    run.claimed_at = now - 41
    error = overdue(run, now, Deadlines(5, 3, 100))
    assert error is not None
    assert error.code == "generation_timeout"
