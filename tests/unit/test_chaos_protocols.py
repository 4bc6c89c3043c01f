"""The checker's rules of the other protocols: a good history passes them, and each turns red on one that breaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.checker import RULES
from tests.chaos.evidence import Dump, Evidence
from tests.chaos.history import BROKEN, CLEAN, Asked, Connection, Fault, Frame, History, Reading
from tests.chaos.load import canary

G = "0199f0f0-0000-7000-8000-000000000001"
TEXT = "k0.0 k0.1 "


def frame(at: float, identity: str | None, **fields: Any) -> Frame:
    return Frame(at, identity, json.dumps(fields).encode())


def numbered(*events: dict[str, Any]) -> list[Frame]:
    return [frame(100 + n, str(n), sequence_number=n, **event) for n, event in enumerate(events)]


def message(text: str, status: str = "completed") -> dict[str, Any]:
    return {"type": "message", "status": status, "content": [{"type": "output_text", "text": text}]}


DELTA = {"type": "response.output_text.delta", "output_index": 0}


def good() -> Evidence:
    responses = numbered(
        {"type": "response.created"},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "k0.0 "},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "k0.1 "},
        {"type": "response.output_item.done", "output_index": 0, "item": {"status": "completed"}},
        {"type": "response.completed", "response": {"output": [message("k0.0 k0.1 ")]}},
    )
    chat = [
        *(frame(100 + n, None, id="c", choices=[{"delta": {"content": f"k0.{n} "}}]) for n in range(2)),
        Frame(103, None, b"[DONE]"),
    ]
    sdk = [
        frame(100, None, type="start", messageId="m"),
        frame(101, None, type="text-delta", id="t", delta="k0.0 "),
        frame(102, None, type="text-delta", id="t", delta="k0.1 "),
        frame(103, None, type="finish"),
    ]
    feed = [
        frame(99, None, type="connection.established"),
        frame(99, None, type="open", generation_id=G, after="0-0"),
        frame(100, "7", type="message.new", generation_id=G, status="queued", content=""),
        frame(101, None, type="token", generation_id=G, cursor="1-0"),
        frame(102, None, type="token", generation_id=G, cursor="1-1"),
        frame(103, "8", type="message.updated", generation_id=G, status="completed", content=TEXT),
    ]
    history = History(1, "test", 1, asked=[Asked("message-1-0", "alice", "key", [], G)])
    history.translations = [
        Reading(kind, kind, G, "alice", [Connection(99, "0-0", 200, frames, CLEAN, 106)], True)
        for kind, frames in (("responses", responses), ("chat", chat), ("aisdk", sdk))
    ]
    history.feeds = [Reading("feed", "feed", "", "alice", [Connection(99, "6", 200, feed, BROKEN, 106)])]
    row = {"status": "completed", "content": TEXT, "epoch": 1, "finished_at": 103.0}
    return Evidence(history, [], Dump({G: row}))


RULES_HERE = {"translations", "responses", "chat_completions", "ai_sdk", "feeds"}


def broken(evidence: Evidence) -> set[str]:
    return {violation.rule for name in RULES_HERE for violation in RULES[name](evidence)}


def frames_of(evidence: Evidence, kind: str) -> list[Frame]:
    readings = [*evidence.history.translations, *evidence.history.feeds]
    return next(reading for reading in readings if reading.kind == kind).connections[0].frames


def test_a_good_history_breaks_none_of_them() -> None:
    assert broken(good()) == set()


def without(kind: str, place: int) -> Callable[[Evidence], None]:
    def spoil(evidence: Evidence) -> None:
        del frames_of(evidence, kind)[place]

    return spoil


def twice(kind: str, place: int) -> Callable[[Evidence], None]:
    def spoil(evidence: Evidence) -> None:
        frames = frames_of(evidence, kind)
        frames.insert(place, frames[place])

    return spoil


def another_text(kind: str, place: int) -> Callable[[Evidence], None]:
    def spoil(evidence: Evidence) -> None:
        frames = frames_of(evidence, kind)
        frames[place] = frames[place]._replace(data=frames[place].data.replace(b"k0.1 ", b"k0.9 "))

    return spoil


def refused(kind: str) -> Callable[[Evidence], None]:
    def spoil(evidence: Evidence) -> None:
        readings = [*evidence.history.translations, *evidence.history.feeds]
        next(reading for reading in readings if reading.kind == kind).connections[0].status = 500

    return spoil


def never_told(evidence: Evidence) -> None:
    evidence.history.translations[0].finished = False


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("translations", refused("responses")),
        ("translations", refused("feed")),
        ("translations", never_told),
        ("responses", without("responses", 2)),
        ("responses", twice("responses", 2)),
        ("responses", without("responses", 4)),
        ("responses", another_text("responses", 2)),
        ("responses", another_text("responses", 4)),
        ("chat_completions", without("chat", 1)),
        ("chat_completions", twice("chat", 1)),
        ("chat_completions", without("chat", 2)),
        ("chat_completions", another_text("chat", 1)),
        ("ai_sdk", without("aisdk", 0)),
        ("ai_sdk", without("aisdk", 2)),
        ("ai_sdk", twice("aisdk", 2)),
        ("ai_sdk", without("aisdk", 3)),
        ("feeds", without("feed", 3)),
        ("feeds", twice("feed", 4)),
        ("feeds", without("feed", 5)),
        ("feeds", twice("feed", 2)),
        ("feeds", another_text("feed", 5)),
    ],
)
def test_a_bad_history_turns_its_rule_red(rule: str, spoil: Callable[[Evidence], None]) -> None:
    evidence = good()
    spoil(evidence)
    assert rule in broken(evidence)


def test_what_was_shown_and_is_gone_needs_the_faults() -> None:
    evidence = good()
    frames_of(evidence, "aisdk")[2:] = [frame(102, None, type="text-delta", id="t", delta="lost ")]
    evidence.history.translations[2].connections[0].end = BROKEN
    assert broken(evidence) == {"ai_sdk"}
    evidence.history.faults = [Fault(102, "redis flushed", "", 102), Fault(102, "worker killed", f"worker-1 {G}", 102)]
    assert broken(evidence) == set()


def test_deltas_that_do_not_add_up_need_the_faults_and_the_last_event_is_right() -> None:
    evidence = good()
    frames_of(evidence, "responses")[1] = frame(101, "1", **{**DELTA, "delta": "lost ", "sequence_number": 1})
    assert broken(evidence) == {"responses"}
    evidence.history.faults = [Fault(102, "redis flushed", "", 102), Fault(102, "worker killed", f"worker-1 {G}", 102)]
    assert broken(evidence) == set()
    another_text("responses", 4)(evidence)
    assert broken(evidence) == {"responses"}


def test_an_answer_that_begins_anew_is_what_it_says_in_the_end() -> None:
    evidence = good()
    frames = frames_of(evidence, "responses")
    wrong = {"type": "response.output_text.delta", "output_index": 0, "delta": "other"}
    closed = {"type": "response.output_item.done", "output_index": 0, "item": {"status": "incomplete"}}
    events = [json.loads(one.data) for one in frames]
    again = [{**event, **({"output_index": 1} if "output_index" in event else {})} for event in events[1:]]
    frames[:] = numbered(*({k: v for k, v in e.items() if k != "sequence_number"} for e in [wrong, closed, *again]))
    assert broken(evidence) == set()


def test_a_feed_with_another_users_words_breaks_isolation() -> None:
    evidence = good()
    frames_of(evidence, "feed").append(frame(105, None, type="x", title=canary("bob")))
    assert "isolation" in {violation.rule for violation in RULES["isolation"](evidence)}


def test_every_rule_of_them_is_known_to_the_checker() -> None:
    assert set(RULES) >= RULES_HERE
