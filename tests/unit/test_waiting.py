"""The reason for which an unfinished answer has nothing new to show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.cursor import START, Cursor
from app.domain.waiting import WaitFacts, Waiting, waiting
from app.services.waits import Waits

AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
RUNNING = WaitFacts(
    status="running", epoch=2, is_cancelled=False, is_behind=False, running=1, is_quiet=False,
    lease_until=AT, moment=None,
)  # fmt: skip
QUEUED = replace(RUNNING, status="queued", epoch=0, is_quiet=True, lease_until=None)
PAUSE = {"what": "pause", "epoch": 2, "at": AT.timestamp(), "error": "upstream_timeout", "attempt": 3, "seconds": 4.0}


def reason(facts: WaitFacts, *, has_begun: bool = False, most: int = 5) -> str | None:
    found = waiting(facts, has_begun, lambda: most)
    return found and found.reason


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (QUEUED, "queue"),
        (replace(QUEUED, running=5), "own_limit"),
        (replace(QUEUED, running=5, is_behind=True), "conversation"),
        (RUNNING, None),
        (replace(RUNNING, is_quiet=True), "worker"),
        (replace(RUNNING, is_quiet=True, is_cancelled=True), None),
        (replace(RUNNING, moment=PAUSE), "retry"),
        (replace(RUNNING, moment={"what": "target", "epoch": 2}), "failover"),
        # The moment of an earlier revision, and one of another kind.
        (replace(RUNNING, moment={**PAUSE, "epoch": 1}), None),
        (replace(RUNNING, moment={"what": "takeover", "epoch": 2}), None),
    ],
)
def test_each_wait_has_its_reason(facts: WaitFacts, expected: str | None) -> None:
    assert reason(facts) == expected


def test_a_model_that_has_begun_to_answer_is_not_waited_for() -> None:
    assert reason(replace(RUNNING, moment=PAUSE), has_begun=True) is None
    assert reason(replace(RUNNING, is_quiet=True), has_begun=True) == "worker"


def test_a_pause_tells_when_it_ends_and_what_failed() -> None:
    found = waiting(replace(RUNNING, moment=PAUSE), False, lambda: 1)
    assert found == Waiting("retry", AT + timedelta(seconds=4), "upstream_timeout", 3)


def test_the_first_event_of_a_revision_is_not_the_models() -> None:
    waits = Waits(lambda: 1, 30, 5)
    paused = replace(RUNNING, moment=PAUSE)
    for cursor, expected in ((Cursor(2, 0), "retry"), (Cursor(1, 90), "retry"), (START, "retry"), (Cursor(2, 1), None)):
        found = waits.reason(paused, cursor)
        assert (found and found.reason) == expected
    assert waits.reason(None, START) is None
