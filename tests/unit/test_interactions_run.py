"""The reader of Gemini's runs, by law, and the requests: however the bytes come, the run says one thing."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.answer_format import AnswerFormat
from tests.unit.test_responses_run import folded
from worker.limits import Limits
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, ToolCall, ToolDelta, Usage
from worker.providers.gemini.interactions_request import lacking, request_body
from worker.providers.gemini.interactions_run import InteractionReader
from worker.providers.gemini.request import FOREIGN_CALL
from worker.providers.responses.items import SEPARATOR

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
KINDS = st.sampled_from(["model_output", "thought", "function_call", "google_search_call"])
STEPS = st.lists(st.tuples(KINDS, st.lists(TEXTS, max_size=4)), max_size=5)
Steps = list[tuple[str, list[str]]]
JUNK = (b"", b": ping\n\n", b'data: {"event_type":"news"}\n\n', b'data: {"event_type":"interaction.news","a":1}\n\n')
USAGE = {"total_input_tokens": 3, "total_output_tokens": 4, "total_thought_tokens": 5, "total_cached_tokens": 2}


def delta_of(kind: str, text: str) -> dict[str, Any]:
    if kind == "thought":
        return {"type": "thought_summary", "content": {"type": "text", "text": text}}
    if kind == "function_call":
        return {"type": "arguments_delta", "arguments": text}
    return {"type": "text", "text": text} if kind == "model_output" else {"type": kind, "text": text}


def parts_of(kind: str, parts: list[str]) -> list[str]:
    """The deltas of a step; those of a call are pieces of JSON."""
    if kind != "function_call":
        return parts
    whole = json.dumps({"a": "".join(parts)})
    return [whole[:4], whole[4:]]


def step_of(index: int, kind: str, parts: list[str]) -> dict[str, Any]:
    """The whole step, as the object of the run has it."""
    text = "".join(parts)
    contents = [{"type": "text", "text": text}]
    return {
        "model_output": {"type": kind, "content": contents},
        "thought": {"type": kind, "signature": f"S{index}", "summary": contents},
        "function_call": {"type": kind, "id": f"c{index}", "name": f"f{index}", "arguments": {"a": text}},
    }.get(kind, {"type": kind, "arguments": {}})


def events_of(steps: Steps, *, ids: bool = True, deltas: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def add(kind: str, **fields: Any) -> None:
        named = {"event_id": f"e{len(found)}"} if ids else {}
        if not fields.get("index"):
            fields.pop("index", None)  # Google's JSON leaves a zero out
        found.append({"event_type": kind, **named, **fields})

    add("interaction.created", interaction={"id": "v1_1", "status": "in_progress"})
    for index, (kind, parts) in enumerate(steps if deltas else ()):
        begun = {"type": kind}
        if kind == "function_call":
            begun |= {"id": f"c{index}", "name": f"f{index}", "arguments": {}}
        add("step.start", index=index, step=begun)
        for part in parts_of(kind, parts):
            add("step.delta", index=index, delta=delta_of(kind, part))
        if kind == "thought":
            add("step.delta", index=index, delta={"type": "thought_signature", "signature": f"S{index}"})
        add("step.stop", index=index)
    whole = [] if deltas else [step_of(index, kind, parts) for index, (kind, parts) in enumerate(steps)]
    run = {"id": "v1_1", "status": "completed", "usage": USAGE, "steps": whole}
    add("interaction.completed", interaction=run)
    return found


def said_by(steps: Steps) -> tuple[str, str, list[tuple[str, str, Any]]]:
    text = "".join("".join(parts) for kind, parts in steps if kind == "model_output")
    thoughts = ["".join(parts) for kind, parts in steps if kind == "thought"]
    calls = [
        (f"c{index}", f"f{index}", {"a": "".join(parts)})
        for index, (kind, parts) in enumerate(steps)
        if kind == "function_call"
    ]
    return text, SEPARATOR.join(filter(None, thoughts)), calls


def said(pieces: list[Piece]) -> tuple[str, str, list[tuple[str, str, Any]]]:
    text, thought, calls = folded(pieces)
    return text, thought, [(call_id, name, json.loads(arguments)) for call_id, name, arguments in calls]


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["event_type"].encode(), json.dumps(e).encode()) for e in events)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, ids=st.booleans(), data=st.data())
def test_every_cut_split_and_repeat_gives_the_same_run(steps: Steps, ids: bool, data: st.DataObject) -> None:
    events = events_of(steps, ids=ids)
    places = {event.get("event_id"): number for number, event in enumerate(events)}
    reader, pieces = InteractionReader(), list[Piece]()
    while not reader.ended:
        # The upstream goes on behind the event it was asked to, or repeats some that came before it.
        asked = reader.query().partition("last_event_id=")[2]
        after = data.draw(st.integers(-1, places[asked])) if asked else -1
        body = sse(events[after + 1 :])
        end = data.draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))
        body = data.draw(st.sampled_from(JUNK)) + body[:end]
        if end < len(sse(events[after + 1 :])) and data.draw(st.booleans()):
            body += b"\n\ndata: {junk\n\n"
        reader.reconnect()
        for begin in range(0, len(body), size := data.draw(st.integers(1, 200))):
            pieces += reader.feed(body[begin : begin + size])
            if reader.done:
                break
        pieces += reader.close()
    assert reader.failure is None
    assert said(pieces) == said_by(steps)
    reason = "tool_calls" if said_by(steps)[2] else "stop"
    assert pieces[-1] == Finished(reason, Usage(3, 9, 5, 2))


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, data=st.data())
def test_the_object_of_a_run_fills_up_what_a_stream_lacked(steps: Steps, data: st.DataObject) -> None:
    events = events_of(steps)[:-1]
    reader = InteractionReader()
    pieces = reader.feed(sse(events[: data.draw(st.integers(1, len(events)))]))
    asked = [{"type": "user_input", "content": [{"type": "text", "text": "Hello"}]}]
    whole = [step_of(index, kind, parts) for index, (kind, parts) in enumerate(steps)]
    earlier = data.draw(st.sampled_from([[], asked, [*whole, *asked]]))
    run = {"id": "v1_1", "status": "requires_action", "usage": USAGE, "steps": [*earlier, *whole]}
    reader.reconnect()
    pieces += reader.feed_document(json.dumps(run).encode())
    assert reader.failure is None
    assert said(pieces) == said_by(steps)
    alone = InteractionReader()
    assert said(alone.feed_document(json.dumps(run).encode())) == said_by(steps)
    assert alone.run_id == "v1_1"
    streamed = InteractionReader()
    assert said(streamed.feed(sse(events_of(steps, deltas=False)))) == said_by(steps)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("completed", "stop"),
        ("incomplete", "length"),
        ("budget_exceeded", "length"),
        ("requires_continuation", "length"),
    ],
)
def test_statuses_at_the_end(status: str, reason: str) -> None:
    pieces = InteractionReader().feed_document(json.dumps({"id": "v1", "status": status}).encode())
    assert pieces == [Finished(reason, None)]


def test_errors_and_runs_that_fail() -> None:
    error = {"event_type": "error", "error": {"code": "gateway_timeout", "message": "Deadline expired."}}
    begun = events_of([("model_output", ["a"])])[:3]
    reader = InteractionReader()
    reader.feed(sse([error]))
    assert reader.failure is not None  # there is no run
    reader = InteractionReader()
    reader.feed(sse([*begun, error]))
    assert not reader.ended  # it may have been of the connection
    reader.reconnect()
    reader.feed(sse([error]))
    assert reader.failure is not None
    assert (reader.failure.code, reader.failure.retryable) == ("upstream_timeout", True)
    for status in ("failed", "cancelled"):
        reader = InteractionReader()
        reader.feed(sse(begun))
        reader.feed_document(json.dumps({"id": "v1_1", "status": status}).encode())
        assert reader.failure is not None
        assert reader.failure.retryable
    reader = InteractionReader()
    reader.feed(sse([*begun, {"event_type": "step.delta", "event_id": "x", "index": 0, "delta": 7}]))
    assert reader.failure is not None
    assert reader.failure.code == "upstream_malformed"
    reader = InteractionReader(limits=Limits(tool_argument_chars=10))
    steps = [("function_call", ["a" * 20])]
    reader.feed(sse(events_of(steps)))
    assert reader.failure is not None
    assert "MAX_TOOL_ARGUMENT_CHARS" in reader.failure.message
    # The client wants no parallel calls.
    pieces = InteractionReader(most_calls=1).feed(sse(events_of([("function_call", []), ("function_call", [])])))
    assert len(said(pieces)[2]) == 1


DEEP: Any = "x"
for _ in range(900):
    DEEP = [DEEP]
ODD = st.sampled_from([None, 7, -1, "", "\ud800", "a\0b", [], [7], {}, {"a": 1}, {"text": 7}, True, 1e300, DEEP])
FIELDS = st.sampled_from(
    [
        "event_type", "event_id", "index", "step", "delta", "interaction", "type", "content", "text", "signature", "id",
        "arguments", "name", "summary", "status", "usage", "steps", "error", "code", "message", "total_input_tokens",
    ]
)  # fmt: skip


def changed(value: Any, field: str, odd: Any) -> Any:
    """The value with every such field of it replaced."""
    if isinstance(value, list):
        return [changed(item, field, odd) for item in value] if value is not DEEP else value
    if isinstance(value, dict):
        return {name: odd if name == field else changed(item, field, odd) for name, item in value.items()}
    return value


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, field=FIELDS, odd=ODD, data=st.data())
def test_no_value_of_any_field_breaks_the_reader(steps: Steps, field: str, odd: Any, data: st.DataObject) -> None:
    events = events_of(steps, deltas=data.draw(st.booleans()))
    events.insert(-1, {"event_type": "error", "error": {"code": "internal", "message": "No."}})
    place = data.draw(st.integers(0, len(events) - 1))
    events[place] = changed(events[place], field, odd)
    bodies = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    reader = InteractionReader()
    for body in bodies:
        for piece in reader.feed(body):
            # Every store and every encoder takes it.
            said = orjson.dumps(asdict(piece)) if is_dataclass(piece) else b""
            assert b"\\u0000" not in said
    reader.query().encode("ascii")
    reader.close()
    InteractionReader().feed_document(json.dumps(changed(events[-1].get("interaction"), field, odd)).encode())


@pytest.mark.parametrize("is_behind", [False, True])
def test_thoughts_and_calls_go_back_unchanged_and_in_their_order(is_behind: bool) -> None:
    thought, text, call = ("thought", ["Why"]), ("model_output", ["Well"]), ("function_call", ["x"])
    steps: Steps = [text, thought, call] if is_behind else [thought, text, call]
    pieces = InteractionReader().feed(sse(events_of(steps)))
    extras = [piece.extra for piece in pieces if isinstance(piece, ToolDelta) and piece.extra]
    made = ToolCall("c2", "f2", '{"a": "x"}', extras[0])
    foreign = ToolCall("other", "g", "")
    prompt = Prompt(
        "models/gemini-3-fake",
        (
            ChatMessage("system", "Be kind."),
            ChatMessage("user", "Hello"),
            ChatMessage("assistant", "Well", (made,)),
            ChatMessage("tool", "done", tool_call_id="c2"),
            ChatMessage("assistant", "", (foreign,)),
            ChatMessage("tool", "too", tool_call_id="other"),
        ),
    )
    body = request_body(prompt, background=True)
    assert (body["model"], body["system_instruction"]) == ("gemini-3-fake", "Be kind.")
    assert body["input"] == [
        {"type": "user_input", "content": [{"type": "text", "text": "Hello"}]},
        *(step_of(index, kind, parts) for index, (kind, parts) in enumerate(steps)),
        {"type": "function_result", "call_id": "c2", "name": "f2", "result": "done"},
        {"type": "thought", "signature": FOREIGN_CALL},
        {"type": "function_call", "id": "other", "name": "g", "arguments": {}},
        {"type": "function_result", "call_id": "other", "name": "g", "result": "too"},
    ]


def test_parameters_have_the_names_of_the_api() -> None:
    function = {"name": "f", "description": "It does.", "parameters": {"type": "object"}}
    parameters = {
        "max_tokens": 9, "stop": "x", "temperature": 0.5, "seed": 7, "reasoning_effort": "max", "top_p": None,
        "tools": [{"type": "function", "function": function}, {"type": "google_search"}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "service_tier": "flex",
        "background": False, "previous_interaction_id": "v1_2",
    }  # fmt: skip
    schema = {"type": "object"}
    prompt = Prompt("m", (ChatMessage("user", "Hi"),), parameters, "So far", AnswerFormat(schema=schema))
    body = request_body(prompt, background=False, lacks=frozenset({"temperature"}))
    assert [step["type"] for step in body.pop("input")] == ["user_input", "model_output", "user_input"]
    assert body == {
        "model": "m", "background": False, "store": False, "stream": True, "service_tier": "flex",
        "generation_config": {
            "max_output_tokens": 9, "stop_sequences": ["x"], "seed": 7, "thinking_level": "high",
            "thinking_summaries": "auto", "tool_choice": {"allowed_tools": {"mode": "any", "tools": ["f"]}},
        },
        "tools": [{"type": "google_search"}, {"type": "function", **function}],
        "response_format": {"type": "text", "mime_type": "application/json", "schema": schema},
    }  # fmt: skip
    refusal = {"error": {"code": 400, "message": "temperature is not supported by this model"}}
    asked = request_body(prompt, background=False)
    assert lacking(json.dumps(refusal).encode(), asked) == "temperature"
