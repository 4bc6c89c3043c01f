"""The UI message stream of a log: golden transcripts, and properties of all logs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.aisdk.ui_chunks import UiTranslator, opening
from app.domain.cursor import Cursor
from app.domain.events import Done, Event, Mark, Reasoning, Snapshot, Token, Tool, encode
from app.domain.transcript import Transcript

from .client import Client, chunks

MESSAGE = "01930000-0000-7000-8000-000000000001"
START = Snapshot("", "start", 1)
USAGE = {"input_tokens": 3, "output_tokens": 5}
END = (Mark("stop", USAGE), Done("completed", "stop", USAGE, "ab"))


def tell(events: Sequence[tuple[int, Event]], render: UiTranslator | None = None) -> list[bytes]:
    """The bytes of the opening and of each event."""
    translator = render or UiTranslator()
    n: dict[int, int] = {}
    told = [opening(MESSAGE, {"model": "m"})]
    for epoch, event in events:
        n[epoch] = n.get(epoch, -1) + 1
        told.append(translator.render(Cursor(epoch, n[epoch]), encode(event)))
    return told


def golden(*events: Event) -> list[dict]:
    """The chunks behind the opening, in one revision."""
    first, step, *rest = chunks(b"".join(tell([(1, event) for event in events])))
    assert first == {"type": "start", "messageId": MESSAGE, "messageMetadata": {"model": "m"}}
    assert step == {"type": "start-step"}
    return rest


def test_text():
    assert golden(START, Token("Hel"), Token('lo "é"\n'), *END) == [
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "Hel"},
        {"type": "text-delta", "id": "text-1", "delta": 'lo "é"\n'},
        {"type": "text-end", "id": "text-1"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop", "messageMetadata": {"usage": USAGE}},
        {"type": "[DONE]"},
    ]


def test_reasoning_then_text():
    told = golden(START, Reasoning("hm"), Reasoning("!"), Token("Hi"), *END)
    assert [(c["type"], c.get("id"), c.get("delta")) for c in told][:7] == [
        ("reasoning-start", "reasoning-1", None),
        ("reasoning-delta", "reasoning-1", "hm"),
        ("reasoning-delta", "reasoning-1", "!"),
        ("reasoning-end", "reasoning-1", None),
        ("text-start", "text-2", None),
        ("text-delta", "text-2", "Hi"),
        ("text-end", "text-2", None),
    ]


def test_a_tool_of_the_client():
    call = Tool("call_1", "weather", "started", '{"city":"Bonn"}')
    named = {"toolCallId": "call_1", "toolName": "weather", "dynamic": True}
    end = (Mark("tool_calls", None), Done("completed", "tool_calls", None, "ab"))
    assert golden(START, Token("Let me see"), call, *end)[2:] == [
        {"type": "text-end", "id": "text-1"},
        {"type": "tool-input-start", **named},
        {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": '{"city":"Bonn"}'},
        {"type": "tool-input-available", **named, "input": {"city": "Bonn"}},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "tool-calls"},
        {"type": "[DONE]"},
    ]


def test_a_tool_that_ran_here():
    finished = Tool("c", "sum", "finished", "[1,2]", "3")
    failed = Tool("d", "div", "failed", "null", "by zero")
    told = golden(START, Tool("c", "sum", "started", "[1,2]"), finished, Tool("d", "div", "started", "null"), failed)
    assert [c["type"].removeprefix("tool-") for c in told] == [
        "input-start", "input-delta", "input-available", "output-available",
        "input-start", "input-delta", "input-available", "output-error",
    ]  # fmt: skip
    assert all(c["providerExecuted"] for c in told if c["type"] != "tool-input-delta")
    assert told[3]["output"] == 3
    assert told[6]["input"] is None
    assert told[7]["errorText"] == "by zero"


def test_of_a_call_that_may_run_here_nothing_is_said_until_that_is_known():
    """The client runs each call in the stream, unless the call is marked as run by the provider."""
    begun = Tool("c", "sum", "started", "[1,2]")
    assert golden(START, begun) == []
    assert not any("providerExecuted" in c for c in golden(START, begun, Mark("tool_calls", None)))
    settled = [(2, Snapshot("", "takeover", 1)), (2, Tool("c", "sum", "failed", "[1,2]", "nobody knows"))]
    told = chunks(b"".join(tell([(1, START), (1, begun), *settled])))[2:]
    assert [c["type"] for c in told] == [
        "tool-input-start", "tool-input-delta", "tool-input-available", "tool-output-error",
    ]  # fmt: skip


def test_an_answer_whose_tools_all_ran_here_just_stops():
    calls = (Tool("c", "sum", "started", "[1,2]"), Tool("c", "sum", "finished", "[1,2]", "3"))
    assert golden(START, *calls, Token("Three."), *END)[-2]["finishReason"] == "stop"


def test_arguments_that_are_no_json_are_an_error_of_the_tool_and_not_of_the_stream():
    told = golden(START, Tool("c", "sum", "started", "[1,"), Mark("tool_calls", None))
    assert told[-1]["type"] == "tool-input-error"
    assert told[-1]["input"] == "[1,"


def test_failure():
    error = {"code": "upstream_rejected", "message": "No."}
    assert golden(START, Token("Half"), Done("error", "error", None, "ab", error))[2:] == [
        {"type": "text-end", "id": "text-1"},
        {"type": "error", "errorText": "No."},
        {"type": "[DONE]"},
    ]


def test_cancellation():
    first = [(1, START), (1, Token("Half"))]
    second = [(2, Snapshot("Half", "cancel", 1)), (2, Done("cancelled", "cancelled", None, "ab"))]
    assert chunks(b"".join(tell([*first, *second])))[4:] == [
        {"type": "text-end", "id": "text-1"},
        {"type": "abort", "reason": "cancelled"},
        {"type": "[DONE]"},
    ]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content-filter"), ("weird", "other"), (None, "other")],
)
def test_reasons_to_finish(reason: str | None, told: str):
    assert golden(START, Done("completed", reason, None, "ab"))[-2] == {"type": "finish", "finishReason": told}


def test_a_takeover_that_goes_on_is_not_seen():
    first = [(1, START), (1, Token("one "))]
    second = [(2, Snapshot("one ", "continue", 2)), (2, Token("two")), *((2, event) for event in END)]
    told = b"".join(tell([*first, *second]))
    assert [c["type"] for c in chunks(told)].count("text-start") == 1
    assert Client().read(told).text() == "one two"


def test_a_takeover_that_knows_more_says_only_that():
    told = chunks(b"".join(tell([(1, START), (1, Token("one ")), (2, Snapshot("one two", "takeover", 1))])))
    assert told[-1] == {"type": "text-delta", "id": "text-1", "delta": "two"}


@pytest.mark.parametrize("kept", ["", "on", "other"])
def test_a_restart_takes_back_what_was_shown(kept: str):
    first = [(1, START), (1, Reasoning("why")), (1, Token("one ")), (1, Tool("c", "t", "started", "{}"))]
    second = [(2, Snapshot(kept, "restart", 2)), (2, Token("new")), *((2, event) for event in END)]
    told = b"".join(tell([*first, *second]))
    assert "reset-step" in [c["type"] for c in chunks(told)]
    client = Client().read(told)
    assert client.text() == kept + "new"
    assert [part["type"] for part in client.answer["parts"]] == ["step-start", "text"]


def test_a_lost_end_takes_back_no_tool_that_still_counts():
    call = Tool("c", "t", "finished", "{}", '"ok"')
    told = b"".join(tell([(1, START), (1, call), (1, Token("one two")), (2, Snapshot("one ", "takeover", 1))]))
    parts = Client().read(told).answer["parts"]
    assert [part["type"] for part in parts] == ["step-start", "text", "dynamic-tool"]
    assert parts[2]["state"] == "output-available"


# --- every log ---------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
pieces = st.one_of(
    st.builds(Token, words),
    st.builds(Reasoning, words),
    st.builds(
        Tool,
        st.sampled_from(["c1", "c2"]),
        st.just("t"),
        st.sampled_from(["started", "finished", "failed"]),
        st.sampled_from(["{}", '{"a":1}', "[1,"]),
    ),
)


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[int, Event]]:
    """Revisions that go on, know less, know more or begin anew, and one of the three ends."""
    log: list[tuple[int, Event]] = []
    said = Transcript()
    for epoch in range(1, draw(st.integers(1, 4)) + 1):
        reason = "start" if epoch == 1 else draw(st.sampled_from(["takeover", "continue", "restart", "failover"]))
        text, thought = said.text, said.reasoning
        if reason == "restart":
            text = thought = ""
        elif reason == "takeover":
            text = draw(st.sampled_from([text, text[: len(text) // 2], text + "more"]))
        events = [Snapshot(text, reason, epoch, thought), *draw(st.lists(pieces, max_size=8))]
        for event in events:
            said.add(Cursor(epoch, 0), event)
        log += [(epoch, event) for event in events]
    status = draw(st.sampled_from(["completed", "error", "cancelled"]))
    error = {"code": "c", "message": "m"} if status == "error" else None
    return [*log, (epoch, Done(status, "stop", None, "ab", error))]


def fold(log: Sequence[tuple[int, Event]]) -> Transcript:
    said = Transcript()
    for epoch, event in log:
        said.add(Cursor(epoch, 0), event)
    return said


@given(logs())
def test_the_client_ends_with_what_the_log_says(log: list[tuple[int, Event]]):
    client = Client().read(b"".join(tell(log)))
    said = fold(log)
    status = said.done.status if said.done else None
    assert client.status == ("error" if status == "error" else "ready")
    assert (client.finish_reason is not None) == (status == "completed")
    if said.text or said.reasoning or said.tools:
        assert client.text() == said.text
        assert client.text("reasoning") == said.reasoning
        shown = {part["toolCallId"] for part in client.answer["parts"] if "toolCallId" in part}
        assert shown == set(said.tools)


@given(logs(), st.data())
def test_cut_anywhere_and_resumed_is_as_if_it_had_never_been_cut(log: list[tuple[int, Event]], data: st.DataObject):
    whole = b"".join(tell(log))
    cut = data.draw(st.integers(0, len(whole)))
    uncut = Client().read(whole)
    resumed = Client()
    for at in (cut, data.draw(st.integers(0, len(whole)))):
        part = whole[:at]
        # A character cut in two belongs to a block that is not there anyway.
        resumed.read(part[: part.rfind(b"\n\n") + 2] if b"\n\n" in part else b"", resumed=True)
    resumed.error = None
    resumed.read(whole, resumed=True)
    assert resumed.messages == uncut.messages
    assert (resumed.status, resumed.error) == (uncut.status, uncut.error)


@given(logs())
def test_every_reader_is_told_the_same_bytes(log: list[tuple[int, Event]]):
    assert tell(log) == tell(log)


@given(logs())
def test_no_two_parts_of_a_stream_have_one_id(log: list[tuple[int, Event]]):
    told = chunks(b"".join(tell(log)))
    begun = [chunk["id"] for chunk in told if chunk["type"] in ("text-start", "reasoning-start")]
    assert len(set(begun)) == len(begun)
