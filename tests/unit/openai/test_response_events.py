"""The Responses translator: for each log the numbers are equal for all readers, and the deltas add up."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.openai.chat_chunks import completion
from app.api.openai.response_events import ResponseTranslator
from app.domain.events import Done, Entry, Mark, Reasoning, Refusal, Snapshot, Token, Tool
from app.domain.transcript import Transcript
from tests.unit.openai.frames import events, frames, stream
from tests.unit.openai.logs import MESSAGE, USAGE, base, done, log, logs

TERMINAL = {"response.completed", "response.failed", "response.incomplete"}
START = Snapshot("", "start", 1)


def final(entries: list[Entry], **options: Any) -> dict[str, Any]:
    response: dict[str, Any] = events(frames(entries, **options))[-1]["response"]
    return response


def texts(response: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Type, status and text of each output item."""
    found = []
    for item in response["output"]:
        part = {} if item["type"] == "function_call" else item["content"][0]
        text = item["arguments"] if item["type"] == "function_call" else part.get("text", part.get("refusal"))
        found.append((item["type"], item["status"], text))
    return found


@settings(deadline=None)
@given(logs(), st.booleans(), st.data())
def test_cut_anywhere_and_resumed_the_stream_is_the_same_bytes(
    entries: list[Entry], background: bool, data: st.DataObject
) -> None:
    whole = frames(entries, background=background)
    after = data.draw(st.integers(-1, len(whole)))
    assert frames(entries, background=background, after=after) == whole[after + 1 :]


# The part of the log that is written at a connection, and the part of its frames before the cut, in hundredths.
CUTS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=6)


@settings(deadline=None)
@given(logs(), st.booleans(), CUTS)
def test_a_client_that_is_cut_off_again_and_again_while_the_log_grows_gets_each_frame_once(
    entries: list[Entry], background: bool, cuts: list[tuple[int, int]]
) -> None:
    whole = frames(entries, background=background)
    received: list[bytes] = []
    written = 0
    for log_part, stream_part in [*cuts, (100, 100)]:
        written = max(written, len(entries) * log_part // 100)
        rest = frames(entries[:written], background=background, after=len(received) - 1)
        received += rest[: len(rest) * stream_part // 100]
    assert received == whole


@settings(deadline=None)
@given(logs(), st.data())
def test_a_reader_who_sees_only_a_part_of_the_log_has_seen_a_prefix_of_the_stream(
    entries: list[Entry], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(entries)))
    assert stream(entries).startswith(stream(entries[:cut]))


@settings(deadline=None)
@given(logs(), st.booleans())
def test_numbers_begin_at_zero_and_leave_nothing_out(entries: list[Entry], background: bool) -> None:
    told = events(frames(entries, background=background))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


@settings(deadline=None)
@given(logs())
def test_there_is_one_terminal_event_and_nothing_behind_it(entries: list[Entry]) -> None:
    told = events(frames(entries))
    assert [event["type"] in TERMINAL for event in told] == [False] * (len(told) - 1) + [True]


@settings(deadline=None)
@given(logs())
def test_deltas_add_up_to_the_items_of_the_final_object(entries: list[Entry]) -> None:
    told = events(frames(entries))
    deltas: dict[str, str] = defaultdict(str)
    for event in told:
        if event["type"].endswith(".delta"):
            deltas[event["item_id"]] += event["delta"]
    kept = {
        item["id"]: text
        for item, (_, _, text) in zip(told[-1]["response"]["output"], texts(final(entries)), strict=True)
    }
    assert kept == {item_id: deltas.get(item_id, "") for item_id in kept}
    assert deltas.keys() <= kept.keys()


@settings(deadline=None)
@given(logs())
def test_items_are_added_once_in_order_and_before_anything_is_said_in_them(entries: list[Entry]) -> None:
    added: list[str] = []
    parts: set[str] = set()
    for event in events(frames(entries)):
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(added)
            assert event["item"]["status"] == "in_progress"
            added.append(event["item"]["id"])
        elif event["type"] == "response.content_part.added":
            assert event["item_id"] == added[-1]
            parts.add(event["item_id"])
        elif event["type"].startswith(("response.output_text", "response.reasoning_text")):
            assert event["item_id"] == added[event["output_index"]]
            assert event["item_id"] in parts
    assert len(set(added)) == len(added)


@settings(deadline=None)
@given(logs())
def test_the_object_folded_in_silence_is_the_one_the_stream_ends_with(entries: list[Entry]) -> None:
    silent = ResponseTranslator(base(), MESSAGE, silent=True)
    assert silent.opening() == b""
    assert all(silent.render(cursor, payload) == b"" for cursor, payload in entries)
    assert silent.ended
    assert silent.response() == final(entries)
    assert silent.last == len(frames(entries)) - 1


@settings(deadline=None)
@given(logs())
def test_what_completed_says_last_is_the_answer_of_the_native_api(entries: list[Entry]) -> None:
    said = Transcript.of(entries)
    if said.done is None or said.done.status != "completed":
        return
    response = final(entries)
    text = "".join(text for kind, _, text in texts(response) if kind == "message")
    assert text.endswith(said.text)
    calls = [item["call_id"] for item in response["output"] if item["type"] == "function_call"]
    assert calls == [call_id for call_id, call in said.tools.items() if call.state == "started"]


def test_a_takeover_that_continues_says_nothing_twice() -> None:
    whole = log([START, Token("Hello "), Token("world"), Mark("stop", USAGE), done("Hello world")])
    broken = log(
        [START, Token("Hello ")],
        [Snapshot("Hello ", "continue", 2), Token("world"), Mark("stop", USAGE), done("Hello world")],
    )
    assert stream(broken) == stream(whole)


def test_a_restart_that_repeats_itself_says_nothing_twice() -> None:
    whole = log([START, Token("Hello "), Token("world"), done("Hello world")])
    broken = log(
        [START, Token("Hello ")], [Snapshot("", "restart", 2), Token("Hel"), Token("lo world"), done("Hello world")]
    )
    assert stream(broken) == stream(whole)


def test_a_restart_that_differs_closes_the_item_and_goes_on_in_a_new_one() -> None:
    entries = log(
        [START, Reasoning("Hm."), Token("Hello ")],
        [Snapshot("", "restart", 2), Reasoning("Hm."), Token("Hel"), Token("icopter"), done("Helicopter")],
    )
    assert texts(final(entries)) == [
        ("reasoning", "completed", "Hm."),
        ("message", "incomplete", "Hello "),
        ("reasoning", "completed", "Hm."),
        ("message", "completed", "Helicopter"),
    ]


def test_what_a_restart_has_replaced_is_not_compared_with_the_next_revision() -> None:
    entries = log(
        [START, Token("Hello ")],
        [Snapshot("", "restart", 2), Token("Good ")],
        [Snapshot("Good ", "continue", 3), Token("day"), done("Good day")],
    )
    assert texts(final(entries)) == [("message", "incomplete", "Hello "), ("message", "completed", "Good day")]


def test_a_restart_that_ends_earlier_is_another_answer() -> None:
    entries = log([START, Token("Hello world")], [Snapshot("", "restart", 2), Token("Hello"), done("Hello")])
    assert texts(final(entries)) == [("message", "incomplete", "Hello world"), ("message", "completed", "Hello")]


def test_a_restart_that_is_cancelled_before_it_says_something_new_keeps_what_was_shown() -> None:
    entries = log(
        [START, Token("Hello world")],
        [Snapshot("", "restart", 2), Token("Hello")],
        [Snapshot("Hello", "cancel", 2), done("Hello", "cancelled", "cancelled")],
    )
    response = final(entries)
    assert (response["status"], texts(response)) == ("cancelled", [("message", "incomplete", "Hello world")])


def test_a_call_that_a_retry_replaces_is_never_seen() -> None:
    entries = log(
        [START, Token("Wait."), Tool("call_old", "add", "started", "{}")],
        [
            Snapshot("", "restart", 2),
            Token("Wait."),
            Tool("call_new", "add", "started", "{}"),
            done("Wait.", reason="tool_calls"),
        ],
    )
    assert [item.get("call_id") for item in final(entries)["output"]] == [None, "call_new"]
    assert b"call_old" not in stream(entries)


@pytest.mark.parametrize(
    ("code", "shown"),
    [("upstream_rate_limited", "rate_limit_exceeded"), ("context_length", "invalid_prompt"), ("x", "server_error")],
)
def test_errors_have_one_of_the_codes_the_sdks_know(code: str, shown: str) -> None:
    response = final(log([START, done("", "error", "error", {"code": code, "message": "No."})]))
    assert (response["status"], response["error"]) == ("failed", {"code": shown, "message": "No."})


def test_a_generation_cancelled_in_the_queue_was_never_in_progress() -> None:
    told = events(frames(log([Snapshot("", "cancel", 0), done("", "cancelled", "cancelled")])))
    assert [event["type"] for event in told] == ["response.created", "response.queued", "response.incomplete"]
    assert told[-1]["response"]["status"] == "cancelled"


def test_usage_that_nobody_counted_is_zero_in_every_field() -> None:
    entries = log([START, Token("x"), Done("completed", "stop", None, "", None)])
    assert final(entries)["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }


def test_the_time_to_wait_stands_in_front_of_the_first_event_that_is_sent() -> None:
    entries = log([START, Token("Hello"), done("Hello")])
    plain = frames(entries, after=4)
    assert stream(entries, after=4, retry=b"retry: 1000\n") == b"retry: 1000\n" + b"".join(plain)


def test_tools_that_were_run_here_are_nothing_for_the_client_to_do() -> None:
    run_here, theirs = Tool("c1", "clock", "finished", "{}", "noon"), Tool("c2", "add", "started", "{}")
    alone, both = ([START, run_here, Token("It is noon."), *more] for more in ([], [theirs]))
    assert [kind for kind, _, _ in texts(final(log([*alone, done("It is noon.")])))] == ["message"]
    assert [kind for kind, _, _ in texts(final(log([*both, done("It is noon.")])))] == ["message", "function_call"]
    [choice] = completion({"id": "x"}, Transcript.of(log([*alone, done("It is noon.")])))["choices"]
    assert (choice["finish_reason"], "tool_calls" in choice["message"]) == ("stop", False)
    [choice] = completion({"id": "x"}, Transcript.of(log([*both, done("It is noon.")])))["choices"]
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["c2"]


def test_a_refusal_is_a_part_of_its_own_kind() -> None:
    entries = log([START, Refusal(), Token("I "), Token("cannot."), done("I cannot.")])
    told = events(frames(entries))
    assert [event["type"] for event in told if "refusal" in event["type"]] == [
        "response.refusal.delta", "response.refusal.delta", "response.refusal.done"
    ]  # fmt: skip
    assert "".join(event["delta"] for event in told if event["type"] == "response.refusal.delta") == "I cannot."
    assert told[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I cannot."}]


def test_an_answer_after_a_refusal_that_was_begun_anew_is_an_answer() -> None:
    entries = log([START, Refusal(), Token("I ")], [Snapshot("", "restart", 2), Token("Yes."), done("Yes.")])
    assert [item["content"][0]["type"] for item in final(entries)["output"]] == ["refusal", "output_text"]
