"""The retry policy: an interrupted answer continues, restarts, is taken over or ends with an error."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.events import Event, Reasoning, Snapshot, Token, Tool, encode, number
from app.domain.lease import Claimed, Lease
from app.domain.transcript import Transcript
from worker.providers.base import ProviderError
from worker.providers.offline.provider import Offline
from worker.providers.reading.upstream_errors import from_event, from_response
from worker.retry_policy import Deadlines, Rules, exhausted, may_retry, overdue, pause, plan

ALL = ("continue", "restart", "error")
CLAIMED = Claimed(
    lease=Lease("g", 1), user_id="u", conversation_id="c", message_id="m", user_message_id="q", model="offline",
    parameters={}, attempts=[], tries=1, cancelled=False, remaining=100.0, age=0.0,
    model_version=None,
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


@pytest.mark.parametrize(("seconds", "again"), [(0.0, True), (6.5, True), (30.0, True), (30.5, False), (3600, False)])
def test_an_upstream_is_not_called_before_its_time(seconds: float, again: bool) -> None:
    error = ProviderError("upstream_rate_limited", "daily", retryable=True, retry_after=seconds)
    assert may_retry([attempt("upstream_rate_limited")], error, Rules(9, ALL, False)) is again
    assert not again or pause(error, 1) == seconds


def attempt(outcome: str, **fields: Any) -> dict[str, Any]:
    return {"outcome": outcome, "visible": False, "usage": None, **fields}


def test_what_fails_twice_in_one_way_is_not_tried_a_third_time() -> None:
    rules = Rules(9, ALL, False)
    for code in ("upstream_truncated", "upstream_malformed", "upstream_error", "first_token_timeout", "another"):
        error = ProviderError(code, "no", retryable=True)
        assert may_retry([attempt(code)], error, rules)
        assert may_retry([attempt("upstream_unavailable"), attempt(code)], error, rules)
        assert not may_retry([attempt(code), attempt(code)], error, rules)
        assert not may_retry([attempt(code), attempt("upstream_unavailable"), attempt(code)], error, rules)
    busy = ProviderError("upstream_unavailable", "no", retryable=True)
    assert may_retry([attempt("upstream_unavailable")] * 4, busy, rules)


codes = st.sampled_from(["upstream_truncated", "upstream_malformed", "upstream_error", "first_token_timeout",
                         "token_timeout", "upstream_connection", "upstream_unavailable"])  # fmt: skip


@given(st.lists(st.tuples(codes, st.booleans()), min_size=9, max_size=9))
def test_never_more_than_three_calls_that_are_charged(failures: list[tuple[str, bool]]) -> None:
    made: list[dict[str, Any]] = []
    for code, visible in failures:
        made.append(attempt(code, visible=visible, usage={"input_tokens": 5}))
        if not may_retry(made, ProviderError(code, "no", retryable=True), Rules(9, ALL, False)):
            break
    assert len(made) <= 3


def test_never_more_than_three_calls_that_were_accepted_whatever_error_follows() -> None:
    rules, code = Rules(9, ALL, False), "upstream_rate_limited"
    inside = from_event({"message": "slow down", "code": 429})
    assert (inside.code, inside.charged) == (code, False)
    assert may_retry([attempt(code)] * 2, inside, rules)
    assert not may_retry([attempt(code)] * 3, inside, rules)
    assert may_retry([attempt("lost"), attempt(code), attempt(code)], inside, rules)
    assert may_retry([attempt(code)] * 4, from_response(429, {}, b""), rules)


def test_signs_of_life_lengthen_the_wait_for_the_first_token_and_not_without_end() -> None:
    now = monotonic()
    for called, heard, late in ((24, 4, False), (24, 6, True), (26, 1, True)):
        run: Any = Waiting(waiting_since=now - heard, called_at=now - called, began=now - 30, claimed_at=now - 30)
        error = overdue(run, now, Deadlines(5, 3, 100))
        assert (error.code if error else None) == ("first_token_timeout" if late else None)
    talking: Any = Waiting(waiting_since=now - 1, called_at=now - 90, is_visible=True, claimed_at=now - 90)
    assert overdue(talking, now, Deadlines(5, 3, 100)) is None


class Waiting:
    """A run with the fields that `overdue` reads."""

    def __init__(self, **fields: Any) -> None:
        self.claimed = CLAIMED
        self.is_visible = False
        self.resting = False
        self.waiting_since: float | None = None
        self.called_at: float | None = None
        self.__dict__.update(fields)


@pytest.mark.parametrize(
    ("is_visible", "silent", "code"),
    [
        (False, 4, None), (False, 6, "first_token_timeout"), (True, 2, None), (True, 4, "token_timeout"),
        (True, None, None),
    ],
)  # fmt: skip
def test_silence_is_measured_against_the_right_deadline(
    is_visible: bool, silent: float | None, code: str | None
) -> None:
    now = monotonic()
    run: Any = Waiting(
        is_visible=is_visible,
        waiting_since=None if silent is None else now - silent,
        began=now - 10,
        claimed_at=now - 10,
    )
    error = overdue(run, now, Deadlines(5, 3, 100))
    assert (error.code if error else None) == code


def test_what_remains_of_the_total_is_counted_from_the_claim_that_told_it() -> None:
    """After 60 of 100 seconds a new claim has 40 seconds left. They count from that claim and not from the first."""
    now = monotonic()
    late = replace(CLAIMED, remaining=40.0)
    run: Any = Waiting(claimed=late, waiting_since=now, is_visible=True, began=now - 60, claimed_at=now - 1)
    assert overdue(run, now, Deadlines(5, 3, 100)) is None
    run.claimed_at = now - 41
    error = overdue(run, now, Deadlines(5, 3, 100))
    assert error is not None
    assert error.code == "generation_timeout"


def test_a_provider_that_nobody_listens_to_is_not_silent() -> None:
    now = monotonic()
    run: Any = Waiting(waiting_since=now - 50, resting=True, is_visible=True, claimed_at=now - 60)
    assert overdue(run, now, Deadlines(5, 3, 1000)) is None
    late: Any = Waiting(claimed=replace(CLAIMED, remaining=40.0), waiting_since=now, resting=True, claimed_at=now - 60)
    error = overdue(late, now, Deadlines(5, 3, 1000))
    assert error is not None
    assert error.code == "generation_timeout"
