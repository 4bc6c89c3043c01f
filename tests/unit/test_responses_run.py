"""The reader of a run, by law: however its bytes are split, cut, repeated or junked, the run says one thing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.answer_format import AnswerFormat
from worker.limits import Limits
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, Text, Thought, ToolCall, ToolDelta, Usage
from worker.providers.responses.items import SEPARATOR
from worker.providers.responses.request import request_body
from worker.providers.responses.run import ResponseReader

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
PARTS = st.lists(TEXTS, max_size=4)
ITEMS = st.lists(
    st.one_of(
        st.tuples(st.just("message"), st.lists(PARTS, min_size=1, max_size=2)),
        st.tuples(st.just("reasoning"), st.lists(PARTS, max_size=2)),
        st.tuples(st.just("function_call"), st.lists(PARTS, min_size=1, max_size=1)),
    ),
    max_size=4,
)
Items = list[tuple[str, list[list[str]]]]


def events_of(items: Items, *, deltas: bool = True) -> list[dict[str, Any]]:
    """The events of a run whose items have these parts, each part in these deltas."""
    found: list[dict[str, Any]] = []

    def add(kind: str, **fields: Any) -> None:
        found.append({"type": f"response.{kind}", "sequence_number": len(found), **fields})

    add("created", response={"id": "resp_1", "status": "queued"})
    output: list[dict[str, Any]] = []
    for index, (kind, parts) in enumerate(items):
        item: dict[str, Any] = {"type": kind, "id": f"i{index}"}
        if kind == "function_call":
            item |= {"name": f"f{index}", "call_id": f"c{index}", "arguments": ""}
        add("output_item.added", output_index=index, item=item)
        for number, part in enumerate(parts):
            place = {"output_index": index, "content_index": number}
            if kind == "reasoning":
                place = {"output_index": index, "summary_index": number}
            name = {"message": "output_text", "reasoning": "reasoning_summary_text"}.get(
                kind, "function_call_arguments"
            )
            for delta in part if deltas else ():
                add(f"{name}.delta", **place, delta=delta)
            add(f"{name}.done", **place, **{"arguments" if kind == "function_call" else "text": "".join(part)})
        wholes = ["".join(part) for part in parts]
        if kind == "message":
            item = {**item, "content": [{"type": "output_text", "text": text} for text in wholes]}
        elif kind == "reasoning":
            item = {**item, "summary": [{"text": text} for text in wholes], "encrypted_content": f"E{index}"}
        else:
            item = {**item, "arguments": "".join(wholes)}
        output.append(item)
        add("output_item.done", output_index=index, item=item)
    usage = {"input_tokens": 3, "output_tokens": 4}
    add("completed", response={"id": "resp_1", "status": "completed", "output": output, "usage": usage})
    return found


def said_by(items: Items) -> tuple[str, str, list[tuple[str, str, str]]]:
    """The text, the reasoning and the calls of a run with these items."""
    texts = ["".join(map("".join, parts)) for kind, parts in items if kind == "message"]
    thoughts = ["".join(part) for kind, parts in items if kind == "reasoning" for part in parts]
    calls = [
        (f"c{index}", f"f{index}", "".join(parts[0]))
        for index, (kind, parts) in enumerate(items)
        if kind == "function_call"
    ]
    return SEPARATOR.join(filter(None, texts)), SEPARATOR.join(filter(None, thoughts)), calls


def folded(pieces: list[Piece]) -> tuple[str, str, list[tuple[str, str, str]]]:
    calls: dict[int, list[str]] = {}
    for piece in pieces:
        if isinstance(piece, ToolDelta):
            call = calls.setdefault(piece.index, ["", "", ""])
            call[0], call[1] = call[0] or piece.call_id or "", call[1] or piece.name or ""
            call[2] += piece.arguments
    text = "".join(piece.text for piece in pieces if isinstance(piece, Text))
    thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
    return text, thought, [(call[0], call[1], call[2]) for call in calls.values()]


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


@settings(max_examples=200, deadline=None)
@given(items=ITEMS, data=st.data())
def test_every_cut_and_every_split_gives_the_same_run(items: Items, data: st.DataObject) -> None:
    events = events_of(items, deltas=data.draw(st.booleans()))
    reader, pieces = ResponseReader(), list[Piece]()
    while not reader.ended:
        # A connection from where the reader is, or from earlier, that is cut somewhere, maybe within an event.
        after = data.draw(st.integers(-1, max(reader.sequence, 0)))
        body = sse(events[after + 1 :])
        end = data.draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))
        junk = data.draw(
            st.sampled_from([b"", b"", b": ping\n\n", b'data: {"type":"keepalive"}\n\n', b"data: {junk\n\n"])
        )
        if end == len(body):
            junk = junk if junk != b"data: {junk\n\n" else b""
        body = junk + body[:end]
        reader.reconnect()
        for begin in range(0, len(body), size := data.draw(st.integers(1, 200))):
            pieces += reader.feed(body[begin : begin + size])
            if reader.done:
                break
        pieces += reader.close()
    assert reader.failure is None
    assert folded(pieces) == said_by(items)
    finish = "tool_calls" if said_by(items)[2] else "stop"
    assert pieces[-1] == Finished(finish, Usage(3, 4))


@given(items=ITEMS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_lost_event_is_no_text_called_complete(items: Items, data: st.DataObject) -> None:
    """Events that are missing in the middle of a body end the body; the next one has them."""
    events = events_of(items)
    begin = data.draw(st.integers(1, len(events) - 1))
    end = data.draw(st.integers(begin, len(events) - 1))
    reader = ResponseReader()
    pieces = reader.feed(sse(events[:begin] + events[end:]))
    reader.reconnect()
    pieces += reader.feed(sse(events[reader.sequence + 1 :]))
    assert folded(pieces) == said_by(items)


@given(items=ITEMS)
@settings(max_examples=50, deadline=None)
def test_the_object_of_a_run_is_the_run(items: Items) -> None:
    reader = ResponseReader()
    pieces = reader.feed_document(json.dumps(events_of(items)[-1]["response"]).encode())
    assert folded(pieces) == said_by(items)
    assert reader.run_id == "resp_1"


def test_deltas_that_are_not_the_text_are_an_error() -> None:
    events = events_of([("message", [["abc", "def"]])])
    events[2]["delta"] = "abd"
    reader = ResponseReader()
    reader.feed(sse(events))
    assert reader.failure is not None
    assert (reader.failure.code, reader.failure.retryable) == ("upstream_malformed", True)


def test_limits_end_a_run() -> None:
    calls: Items = [("function_call", [["{}"]]), ("function_call", [["{}"]])]
    reader = ResponseReader(limits=Limits(tool_calls=1))
    reader.feed(sse(events_of(calls)))
    assert reader.failure is not None
    assert "MAX_TOOL_CALLS" in reader.failure.message
    reader = ResponseReader(limits=Limits(event_bytes=300))
    reader.feed(sse(events_of([("message", [["x" * 400]])])))
    assert reader.failure is not None
    assert "MAX_UPSTREAM_EVENT_BYTES" in reader.failure.message


# --- the request


def body(*messages: ChatMessage, **parameters: Any) -> dict[str, Any]:
    return request_body(Prompt("m", messages, parameters), background=True)


def test_messages_are_items_and_the_first_system_message_the_instructions() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "encrypted_content": "E", "summary": []}
    extra = {"openai": {"reasoning": [reasoning]}}
    sent = body(
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "Hi"),
        ChatMessage("assistant", "Wait.", (ToolCall("c1", "f", "{}", extra), ToolCall("c2", "g", '{"x":1}'))),
        ChatMessage("tool", "1", tool_call_id="c1"),
        ChatMessage("tool", "2", tool_call_id="c2"),
        ChatMessage("assistant", "Done."),
    )
    assert sent["instructions"] == "Be brief."
    assert sent["input"] == [
        {"role": "user", "content": "Hi"},
        reasoning,
        {"role": "assistant", "content": "Wait."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": '{"x":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
        {"role": "assistant", "content": "Done."},
    ]
    assert (sent["background"], sent["store"], sent["stream"]) == (True, True, True)


def test_reasoning_behind_the_text_stays_there() -> None:
    extra = {"openai": {"reasoning": [{"type": "reasoning", "id": "r"}], "behind_text": True}}
    sent = body(ChatMessage("assistant", "Wait.", (ToolCall("c1", "f", "{}", extra),)))
    assert [item.get("type") for item in sent["input"]] == [None, "reasoning", "function_call"]


def test_parameters_have_the_names_of_the_responses_api() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    choice = {"type": "function", "function": {"name": "f"}}
    sent = body(
        ChatMessage("user", "Hi"), tools=[tool], tool_choice=choice, max_tokens=7, reasoning_effort="low", top_p=0.5,
        verbosity="low", n=2, stream_options={}, seed=None, top_k=4,
    )  # fmt: skip
    assert sent["tools"] == [{"type": "function", "name": "f", "parameters": {}}]
    assert sent["tool_choice"] == {"type": "function", "name": "f"}
    assert sent["max_output_tokens"] == 7
    assert sent["reasoning"] == {"summary": "auto", "effort": "low"}
    assert sent["text"] == {"verbosity": "low"}
    assert sent["include"] == ["reasoning.encrypted_content"]
    assert (sent["top_p"], sent["top_k"]) == (0.5, 4)
    assert not {"n", "seed", "max_tokens", "stream_options", "reasoning_effort", "verbosity", "messages"} & sent.keys()


def test_the_form_of_an_answer_is_the_format_of_its_text() -> None:
    prompt = Prompt("m", (), answer_format=AnswerFormat({"type": "object"}, "city", "A city", True))
    assert request_body(prompt, background=True)["text"]["format"] == {
        "type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True, "description": "A city",
    }  # fmt: skip
    free = request_body(Prompt("m", (), answer_format=AnswerFormat()), background=True)
    assert free["text"] == {"format": {"type": "json_object"}}
