"""Calls that the record of a lost worker lacks."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.attempts import calls_made, total_usage, unrecorded
from app.domain.cursor import Cursor
from app.domain.events import Event, Mark, Snapshot, Token, Tool
from app.domain.transcript import Transcript

ROUND = (Tool("c", "clock", "started", "{}"), Tool("c", "clock", "finished", "{}", "now"))
FAILED = {"attempt": 1, "outcome": "upstream_5xx", "target": "a/a", "usage": None}
CUT = {
    "attempt": 1,
    "outcome": "upstream_truncated",
    "target": "a/a",
    "usage": {"input_tokens": 13, "output_tokens": 4},
}


def said(*events: Event) -> Transcript:
    transcript = Transcript()
    for n, event in enumerate(events):
        transcript.add(Cursor(1, n), event)
    return transcript


def usage(input_tokens: int, output_tokens: int, **more: Any) -> dict[str, Any]:
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "reasoning_tokens": 0, **more}


@pytest.mark.parametrize(
    ("recorded", "attempt", "between", "told", "expected"),
    [
        ([], 1, (), usage(13, 10), [usage(13, 10)]),
        ([], 1, (), usage(13, 10, estimated=True, cost=0.25), [usage(13, 10, estimated=True, cost=0.25)]),
        ([], 1, (), None, [None]),
        ([FAILED], 2, (), usage(13, 10), [usage(13, 10)]),
        ([CUT], 2, (), usage(30, 10), [usage(17, 6)]),
        ([], 1, ROUND, usage(27, 11), [usage(13, 5, estimated=True), usage(14, 6, estimated=True)]),
        ([{**CUT, "outcome": "finished"}], 1, (), usage(13, 4), []),
    ],
)
def test_calls_of_a_finished_provider_have_the_usage_of_its_mark(
    recorded: list[Any], attempt: int, between: tuple[Event, ...], told: Any, expected: list[Any]
) -> None:
    answer = said(Snapshot("", "start", attempt), *between, Token("word"), Mark("stop", told))
    made = unrecorded(recorded, calls_made(recorded, answer, "a/a", 1), answer, "lost", 1.0, 99)
    assert [one["usage"] for one in made] == expected
    assert {one["outcome"] for one in made} <= {"finished"}
    total = total_usage([*recorded, *made]) or {}
    for name in ("input_tokens", "output_tokens"):
        assert total.get(name) == (told or {}).get(name)


def test_a_claim_that_only_repeats_the_mark_makes_no_call() -> None:
    answer = said(Snapshot("", "start", 1), Token("word"), Mark("stop", usage(13, 10)))
    answer.add(Cursor(2, 0), Snapshot("word", "takeover", 1))
    answer.add(Cursor(2, 1), Mark("stop", usage(13, 10)))
    [made] = unrecorded([], calls_made([], answer, "a/a", 2), answer, "lost", 1.0, 99)
    assert (made["outcome"], made["visible"], made["usage"]) == ("finished", True, usage(13, 10))


def test_a_call_that_was_lost_before_the_finished_one_is_called_lost() -> None:
    answer = said(Snapshot("", "restart", 2), Token("word"), Mark("stop", usage(26, 10)))
    made = unrecorded([], calls_made([], answer, "a/a", 2), answer, "lost", 1.0, 99)
    assert [(one["attempt"], one["outcome"], one["visible"]) for one in made] == [
        (1, "lost", False),
        (2, "finished", True),
    ]
    assert total_usage(made) == usage(26, 10, cached_tokens=0, estimated=True)


def test_lost_calls_of_an_unfinished_answer_are_estimated() -> None:
    answer = said(Snapshot("", "start", 1), Token("word"))
    made = unrecorded([], calls_made([], answer, "a/a", 2), answer, "lost", 1.0, 9)
    assert [one["usage"]["output_tokens"] for one in made] == [0, 1]
    assert {(one["outcome"], one["usage"]["input_tokens"]) for one in made} == {("lost", 9)}
