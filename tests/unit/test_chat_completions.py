"""The bytes of a chat completion become pieces, in every shape that providers send. No network is used."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.events import Mark, decode, encode
from app.domain.usage import MOST_TOKENS
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, Text, Thought, ToolCall, ToolDelta, Usage
from worker.providers.chat.completions import AnswerReader
from worker.providers.chat.request import request_body
from worker.providers.chat.template import Template

STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
REPLACED = "\ufffd"


def chunk(**delta: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}


def lines(*chunks: Any) -> bytes:
    raw = (one if isinstance(one, bytes) else json.dumps(one).encode() for one in chunks)
    return b"".join(b"data: " + one + b"\n\n" for one in raw)


def read(*reads: bytes) -> tuple[list[Piece], AnswerReader]:
    reader = AnswerReader(secrets=["sk-verysecret"])
    pieces = [piece for data in reads for piece in reader.feed(data)]
    if not reader.done:
        pieces += reader.close()
    return pieces, reader


def pieces_of(*chunks: Any) -> list[Piece]:
    pieces, reader = read(lines(*chunks))
    assert reader.failure is None, reader.failure
    return pieces


def failure_of(stream: bytes) -> tuple[str, bool, list[Piece]]:
    pieces, reader = read(stream)
    assert reader.failure is not None
    assert not any(isinstance(piece, Finished) for piece in pieces)
    return reader.failure.code, reader.failure.retryable, pieces


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


def test_an_ordinary_answer_becomes_text_and_one_end() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    answer = [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), STOP, usage, b"[DONE]"]
    assert pieces_of(*answer) == [Text("Hel"), Text("lo"), Finished("stop", Usage(3, 2))]


def test_one_read_gives_one_list_with_all_that_was_in_it() -> None:
    reader = AnswerReader()
    assert reader.feed(lines(chunk(content="a"), chunk(content="b"))) == [Text("a"), Text("b")]
    assert reader.feed(lines(chunk(content="c"))[:-2]) == []
    assert reader.feed(b"\n") == [Text("c")]
    assert reader.feed(b"\n") == []


def test_a_list_once_given_is_never_touched_again() -> None:
    reader = AnswerReader()
    nothing = reader.feed(b": keep-alive\n\n")
    reader.feed(lines(chunk(content="a"), STOP))
    assert nothing == []
    assert [type(piece) for piece in reader.close()] == [Finished]


def test_the_end_waits_for_the_usage_that_follows_it() -> None:
    reader = AnswerReader()
    assert reader.feed(lines(chunk(content="a"), STOP)) == [Text("a")]
    assert not reader.done
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    assert reader.feed(lines(usage, b"[DONE]")) == [Finished("stop", Usage(1, 1))]
    assert reader.done


def test_usage_in_a_chunk_with_choices_counts() -> None:
    assert pieces_of(chunk(content="a"), STOP | {"usage": {"prompt_tokens": 4, "completion_tokens": 1}})[
        -1
    ] == Finished("stop", Usage(4, 1))


def test_running_usage_is_replaced_by_the_last_one() -> None:
    first = chunk(content="a") | {"usage": {"prompt_tokens": 4, "completion_tokens": 1}}
    last = STOP | {"usage": {"prompt_tokens": 4, "completion_tokens": 2}}
    assert pieces_of(first, last)[-1] == Finished("stop", Usage(4, 2))


def test_usage_details_and_cost_are_kept() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 5},
        "cost": 0.25,
    }
    assert pieces_of(STOP | {"usage": usage})[-1] == Finished("stop", Usage(10, 20, 5, 8, 0.25))


@pytest.mark.parametrize("usage", [None, {}, "odd", {"prompt_tokens": "many"}, {"prompt_tokens_details": 3}])
def test_no_or_odd_usage_does_not_lose_the_answer(usage: Any) -> None:
    end = pieces_of(chunk(content="a"), STOP | {"usage": usage})[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == "stop"


@pytest.mark.parametrize(
    "usage",
    [
        b'{"prompt_tokens":1e30,"completion_tokens":2}',
        b'{"prompt_tokens":1%b,"completion_tokens":2}' % (b"0" * 400),
        b'{"prompt_tokens":1e999,"completion_tokens":2}',
        b'{"prompt_tokens":-5,"completion_tokens":-1,"cost":-1}',
        b'{"prompt_tokens":1,"completion_tokens":2,"cost":NaN}',
        b'{"prompt_tokens":1,"completion_tokens":2,"cost":1e999}',
        b'{"prompt_tokens":1,"completion_tokens":2,"cost":1e300}',
    ],
)
def test_usage_nobody_can_mean_is_told_as_what_stores_and_encoders_take(usage: bytes) -> None:
    ending = json.dumps(STOP).encode()[:-1] + b',"usage":' + usage + b"}"
    end = pieces_of(chunk(content="a"), ending)[-1]
    assert isinstance(end, Finished)
    told = asdict(end.usage) if end.usage else None
    assert decode(encode(Mark(end.finish_reason, told))) == Mark("stop", told)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert all(count is None or 0 <= count <= MOST_TOKENS for count in (told or {}).values())


@pytest.mark.parametrize("choices", [[], None])
def test_chunks_without_choices_say_nothing(choices: Any) -> None:
    assert text_of(pieces_of({"choices": choices}, chunk(content="a"), {}, STOP)) == "a"


@pytest.mark.parametrize("delta", [None, {}, {"content": None}, {"content": ""}, {"tool_calls": []}])
def test_empty_deltas_say_nothing(delta: Any) -> None:
    empty = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    assert pieces_of(empty, STOP) == [Finished("stop", None)]


def test_text_in_and_behind_the_finishing_chunk_is_kept() -> None:
    finishing = {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "length"}]}
    assert pieces_of(chunk(content="a"), finishing, chunk(content="c"), b"[DONE]") == [
        Text("a"),
        Text("b"),
        Text("c"),
        Finished("length", None),
    ]


def test_nothing_behind_done_is_read() -> None:
    assert pieces_of(STOP, b"[DONE]", chunk(content="ghost"), {"error": "ghost"}) == [Finished("stop", None)]


def test_a_second_choice_is_not_mixed_in() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]}
    assert text_of(pieces_of(chunk(content="a"), other, STOP)) == "a"


@pytest.mark.parametrize("reason", ["length", "tool_calls", "content_filter", "eos_token"])
def test_finish_reasons_pass_through_known_or_not(reason: str) -> None:
    assert pieces_of({"choices": [{"delta": {}, "finish_reason": reason}]}) == [Finished(reason, None)]


@pytest.mark.parametrize("sign", ["\\u0000", "\\ud83d", "\\ude42"])
def test_finish_reasons_can_be_stored_by_everybody(sign: str) -> None:
    ending = b'{"choices":[{"index":0,"delta":{},"finish_reason":"st%bop"}]}' % sign.encode()
    assert pieces_of(ending) == [Finished(f"st{REPLACED}op", None)]


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "hm"},
        {"reasoning_content": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}, {"type": "reasoning.encrypted"}]},
        {"reasoning": "hm", "reasoning_content": "hm", "reasoning_details": [{"text": "hm"}]},
        {"reasoning": None, "reasoning_content": "hm", "content": ""},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    ],
)
def test_reasoning_has_many_names_and_is_told_once(delta: dict[str, Any]) -> None:
    assert pieces_of(chunk(**delta), STOP) == [Thought("hm"), Finished("stop", None)]


def test_reasoning_comes_before_the_text_of_the_same_delta() -> None:
    assert pieces_of(chunk(content="a", reasoning="hm"), STOP)[:2] == [Thought("hm"), Text("a")]


def test_content_in_parts_is_joined() -> None:
    assert (
        text_of(pieces_of(chunk(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), STOP)) == "ab"
    )


def test_tool_calls_are_kept_apart_by_index() -> None:
    calls = [
        {"index": 0, "id": "c0", "type": "function", "function": {"name": "add", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 1, "id": "c1", "function": {"name": "sub", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": ":1}"}},
    ]
    assert pieces_of(*(chunk(tool_calls=[call]) for call in calls), STOP)[:-1] == [
        ToolDelta(0, "c0", "add", ""),
        ToolDelta(0, None, None, '{"a"'),
        ToolDelta(1, "c1", "sub", "{}"),
        ToolDelta(0, None, None, ":1}"),
    ]


def test_tool_calls_without_an_index_are_kept_apart_by_id() -> None:
    calls = [
        {"id": "a", "function": {"name": "add", "arguments": {"x": 1}}},
        {"function": {"arguments": " "}},
        {"id": "b", "function": {"name": "sub"}},
        {"id": "a", "function": {"arguments": "!"}},
    ]
    assert pieces_of(*(chunk(tool_calls=[call]) for call in calls), STOP)[:-1] == [
        ToolDelta(0, "a", "add", '{"x":1}'),
        ToolDelta(0, None, None, " "),
        ToolDelta(1, "b", "sub", ""),
        ToolDelta(0, "a", None, "!"),
    ]


def test_a_stream_that_ends_without_a_finish_reason_is_truncated() -> None:
    assert failure_of(lines(chunk(content="a"))) == ("upstream_truncated", True, [Text("a")])


@pytest.mark.parametrize("stream", [b"", lines(b"[DONE]"), lines(chunk(role="assistant", content=""), b"[DONE]")])
def test_an_empty_stream_is_truncated(stream: bytes) -> None:
    assert failure_of(stream)[0] == "upstream_truncated"


@pytest.mark.parametrize(
    "stream",
    [
        lines({"error": {"message": "boom", "code": 502}}),
        lines({"error": {"message": "boom", "code": "502"}}, b"[DONE]"),
        lines({"error": {"message": "boom", "code": 502}, "choices": [{"delta": {}, "finish_reason": "error"}]}),
        b'error: {"message":"boom","code":502}\n\n',
        b'event: error\ndata: {"error":{"message":"boom","code":502}}\n\n',
        b'event: error\ndata: {"message":"boom","code":502}\n\n',
    ],
)
def test_an_error_in_the_stream_fails_it_after_the_text_before_it(stream: bytes) -> None:
    pieces, reader = read(lines(chunk(content="a")) + stream + lines(chunk(content="ghost")))
    assert pieces == [Text("a")]
    assert reader.failure is not None
    assert (reader.failure.code, reader.failure.upstream_status) == ("upstream_unavailable", 502)
    assert "boom" in reader.failure.message
    assert reader.failure.retryable


def test_an_error_may_be_a_mere_text() -> None:
    _pieces, reader = read(lines({"error": "out of sk-verysecret memory"}))
    assert reader.failure is not None
    assert (reader.failure.code, reader.failure.retryable) == ("upstream_error", True)
    assert "out of *** memory" in reader.failure.message


@pytest.mark.parametrize("place", [b"%b", b'{"message":%b}', b'{"message":"x","code":%b}'])
@pytest.mark.parametrize(
    "odd",
    [b'[{"input":"\\ud83d"}]', b"[" * 300 + b"]" * 300, b"[" * 1000 + b"]" * 1000, b'["\\ud83d",1%b]' % (b"0" * 40)],
    ids=["half a pair", "deep", "very deep", "a large number"],
)
def test_an_error_that_cannot_be_written_down_is_an_error(place: bytes, odd: bytes) -> None:
    code, _, pieces = failure_of(lines(chunk(content="a"), b'{"error":%b}' % (place % odd)))
    assert (code, pieces) == ("upstream_error", [Text("a")])


def test_text_in_the_failing_chunk_is_kept() -> None:
    failing = {"error": {"code": 500}, "choices": [{"delta": {"content": "b"}, "finish_reason": "error"}]}
    assert failure_of(lines(failing))[2] == [Text("b")]


def test_finish_reason_error_alone_is_a_failure() -> None:
    assert failure_of(lines({"choices": [{"delta": {}, "finish_reason": "error"}]}))[:2] == ("upstream_error", True)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ({"message": "bad", "type": "invalid_request_error"}, "upstream_error", False),
        ({"message": "x", "code": "context_length_exceeded"}, "context_length", False),
        ({"message": "This model's maximum context length is 8192 tokens", "code": 400}, "context_length", False),
        ({"message": "slow down", "code": 429}, "upstream_rate_limited", True),
        ({"message": "pay", "type": "insufficient_quota", "code": 429}, "upstream_quota", False),
        ({"message": "key sk-verysecret", "code": 401}, "upstream_unauthorized", False),
    ],
)
def test_an_error_is_worth_a_retry_or_not(error: dict[str, Any], code: str, retryable: bool) -> None:
    assert failure_of(lines({"error": error}))[:2] == (code, retryable)


@pytest.mark.parametrize("data", [b"{", b'{"choices":[{"delta":{"cont', b'{"choices":[3]}', b'{"choices":3}',
                                  b'{"choices":[{"delta":{"content":3}}]}'])  # fmt: skip
def test_a_damaged_chunk_may_have_been_text(data: bytes) -> None:
    assert failure_of(lines(chunk(content="a"), data)) == ("upstream_malformed", True, [Text("a")])


JUNK = [b"nonsense", b"[1]", b'"x"', b"null", b"true", b"17", b"{}", b"[]", b"{{{", b'{"type":"ping"}', b"[" * 100_000]


@pytest.mark.parametrize("data", JUNK)
def test_what_is_no_chunk_is_skipped(data: bytes) -> None:
    pieces, reader = read(lines(chunk(content="a"), data, chunk(content="b"), STOP, b"[DONE]"))
    assert (text_of(pieces), reader.failure) == ("ab", None)
    assert reader.skipped == (0 if data in (b"{}", b'{"type":"ping"}') else 1)


@pytest.mark.parametrize("data", [*JUNK, b'{"choices":[{"delta":{"cont', b'{"choices":3}', b'{"error":"late"}',
                                  b'"[DONE]"', b"DONE", b"[done]", b"<html>"])  # fmt: skip
@pytest.mark.parametrize("event", [b"", b"event: error\n"])
def test_nothing_behind_the_finish_reason_undoes_the_answer(data: bytes, event: bytes) -> None:
    pieces, reader = read(lines(chunk(content="a"), STOP) + event + lines(data))
    assert (pieces, reader.failure) == ([Text("a"), Finished("stop", None)], None)


def test_what_was_counted_before_a_failure_is_kept() -> None:
    _, reader = read(lines(chunk(content="a") | {"usage": {"prompt_tokens": 9, "completion_tokens": 1}}))
    assert reader.failure is not None
    assert reader.failure.usage == Usage(9, 1)


def test_nul_becomes_the_replacement_character() -> None:
    raw = b'{"choices":[{"delta":{"content":"a\\u0000b","reasoning":"c\\u0000"}}]}'
    assert pieces_of(raw, STOP)[:2] == [Thought(f"c{REPLACED}"), Text(f"a{REPLACED}b")]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([r"a\ud83d", r"\ude42b"], "a🙂b"),
        ([r"a\ud83d", "b"], f"a{REPLACED}b"),
        ([r"\ude42", "b"], f"{REPLACED}b"),
        ([r"a\ud83d"], f"a{REPLACED}"),
        ([r"\ud83d", r"\ud83d", r"\ude42"], f"{REPLACED}🙂"),
        ([r"\ud83d\ude42"], "🙂"),
    ],
)
def test_halves_of_a_character_are_joined_or_replaced(parts: list[str], text: str) -> None:
    raw = (b'{"choices":[{"delta":{"content":"%b"}}]}' % part.encode() for part in parts)
    assert text_of(pieces_of(*raw, STOP)) == text


def test_halves_of_different_channels_are_not_joined() -> None:
    thought = b'{"choices":[{"delta":{"reasoning":"\\ud83d"}}]}'
    text = b'{"choices":[{"delta":{"content":"\\ude42"}}]}'
    pieces = pieces_of(thought, text, STOP)
    assert pieces == [Text(REPLACED), Thought(REPLACED), Finished("stop", None)]


def test_broken_utf_8_becomes_the_replacement_character() -> None:
    assert text_of(pieces_of(b'{"choices":[{"delta":{"content":"a\xff\xc3"}}]}', STOP)) == f"a{REPLACED}{REPLACED}"


def test_a_whole_document_is_an_answer_too() -> None:
    document = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    assert AnswerReader().feed_document(json.dumps(document).encode()) == [Text("Hello"), Finished("stop", Usage(1, 1))]


code_units = st.lists(
    st.sampled_from([0xD83D, 0xDE42, 0x41, 0x0, 0xE9]) | st.integers(0, 0xFFFF), max_size=12
)  # UTF-16, in any disorder


@given(st.lists(code_units, max_size=5), st.lists(st.integers(0, 2000), max_size=6))
def test_text_is_always_storable_and_never_depends_on_the_reads(parts: list[list[int]], cuts: list[int]) -> None:
    escaped = ["".join(f"\\u{unit:04x}" for unit in units) for units in parts]
    stream = lines(*(b'{"choices":[{"delta":{"content":"%b"}}]}' % part.encode() for part in escaped), STOP)
    edges = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    pieces, reader = read(*(stream[a:b] for a, b in itertools.pairwise(edges)))
    units = b"".join(unit.to_bytes(2, "little") for part in parts for unit in part)
    assert reader.failure is None
    assert text_of(pieces) == units.decode("utf-16-le", "replace").replace("\0", REPLACED)


# --- the fast path for chunks that differ in their text only

PLAIN = b'{"id":"c","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"usage":null}'


def test_a_template_reads_what_the_long_way_reads() -> None:
    template = Template.of(PLAIN)
    assert template is not None
    for literal in (b'"a"', b'"\\n\\"\\u00e9"', b'""', '"🙂"'.encode()):
        for events in (1, 3):
            read = lines(PLAIN.replace(b'"Hel"', literal)) * events
            assert template.read(read) == AnswerReader().feed(read)


@pytest.mark.parametrize(
    "other",
    [
        lines(PLAIN)[:-1],
        lines(PLAIN) + b"data: ",
        lines(PLAIN.replace(b'"id":"c"', b'"id":"d"')),
        lines(PLAIN.replace(b'"usage":null', b'"usage":{}')),
        lines(PLAIN.replace(b'"Hel"', b"null")),
        lines(PLAIN.replace(b'"Hel"', b'"a","content":"b"')),
        lines(PLAIN.replace(b'"Hel"', b'"a"\ndata: ,"b":"c"')),
        lines(PLAIN.replace(b'"Hel"', b'"a"\n')),
        lines(PLAIN.replace(b'"Hel"', b'"a"\n\n')),
        lines(PLAIN.replace(b'"Hel"', b' "a"')),
        lines(PLAIN.replace(b'"Hel"', b'"a\xff"')),
        lines(PLAIN.replace(b'"Hel"', b'"\\ud83d"')),
        lines(PLAIN.replace(b'"Hel"', b'"\\u0000"')),
        lines(PLAIN).replace(b"\n", b"\r\n"),
        b": keep-alive\n\n" + lines(PLAIN),
        b"event: error\n" + lines(PLAIN),
        lines(b"[DONE]"),
    ],
)
def test_a_template_leaves_everything_else_to_the_long_way(other: bytes) -> None:
    template = Template.of(PLAIN)
    assert template is not None
    assert template.read(other) is None


@pytest.mark.parametrize("begun", [b": ka", b"event: error\n", b"data: ", b"data: {}\n", b"data: {}\r"])
def test_a_template_is_not_used_in_the_middle_of_an_event(begun: bytes) -> None:
    reads = [lines(chunk(content="a")), lines(chunk(content="b")), begun, lines(chunk(content="c")), lines(STOP)]
    pieces, reader = read(*reads)
    whole, verdict = read(b"".join(reads))
    assert pieces == whole
    assert repr(reader.failure) == repr(verdict.failure)


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
        b'{"choices":[{"index":1,"delta":{"content":"a"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}',
        b'{"choices":[{"index":0,"delta":{"content":"a"}}],"error":{"message":"x"}}',
        b'{"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":0,"id":"x"}]}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a","refusal":"b"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":null}}],"content":"a"}',
        b'{"choices":[]}',
    ],
)
def test_a_chunk_that_says_more_than_text_is_no_template(chunk: bytes) -> None:
    assert Template.of(chunk) is None


kinds = st.sampled_from(
    [
        lines(chunk(content="a")),
        lines(chunk(content="b\n\u2028")),
        lines(chunk(content="c", reasoning="hm")),
        lines(chunk(reasoning_content="hm")),
        lines(chunk(content="\0")),
        lines(chunk(role="assistant", content="")),
        lines(chunk(content="f") | {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        lines({"choices": [{"index": 1, "delta": {"content": "ghost"}}]}),
        lines({"choices": []}),
        lines(chunk(content="a")).replace(b"\n", b"\r\n"),
        lines(chunk(content="a")).replace(b'"a"', b'"\\ud83d"'),
        lines(chunk(content="a")).replace(b'"a"', b'"\\ude42"'),
        b": ka\n\n",
        b": ka\n",
        b": ka",
        b"event: x\n",
        b"event: error\n",
        lines(b"[DONE]"),
    ]
)


@given(st.lists(kinds | st.just(lines(chunk(content="a"))), max_size=25), st.lists(st.integers(0, 5000), max_size=5))
def test_the_way_the_chunks_arrive_makes_no_difference(events: list[bytes], cuts: list[int]) -> None:
    stream = b"".join([*events, lines(STOP)])
    whole, verdict = read(stream)
    edges = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    for reads in ([*events, lines(STOP)], [stream[a:b] for a, b in itertools.pairwise(edges)]):
        pieces, reader = read(*reads)
        assert pieces == whole
        assert (reader.failure is None) == (verdict.failure is None)


# --- requests


def prompt(prefix: str = "", **parameters: Any) -> Prompt:
    return Prompt("gpt", (ChatMessage("system", "be kind"), ChatMessage("user", "hi")), parameters, prefix)


def test_a_request_streams_asks_for_usage_and_passes_parameters_through() -> None:
    body = request_body(prompt(temperature=0.5, stop=["x"], tools=[{"type": "function"}], top_p=None))
    assert body == {
        "model": "gpt",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "stop": ["x"],
        "tools": [{"type": "function"}],
    }


def test_parameters_cannot_change_what_is_asked() -> None:
    body = request_body(prompt(model="other", stream=False, messages=[], n=3), include_usage=False)
    assert body["model"] == "gpt"
    assert body["stream"] is True
    assert len(body["messages"]) == 2
    assert "n" not in body
    assert "stream_options" not in body


def test_each_continuation_hands_the_prefix_over_in_its_way() -> None:
    said = {"role": "assistant", "content": "Once"}
    prefill = request_body(prompt("Once"), continuation="prefill")
    vllm = request_body(prompt("Once"), continuation="vllm")
    instruction = request_body(prompt("Once"), continuation="instruction")
    assert prefill["messages"][2:] == [said]
    assert "continue_final_message" not in prefill
    assert (vllm["continue_final_message"], vllm["add_generation_prompt"]) == (True, False)
    assert vllm["messages"][2:] == [said]
    assert instruction["messages"][2] == said
    assert instruction["messages"][3]["role"] == "user"


def test_tool_calls_and_their_results_are_sent_back() -> None:
    messages = (
        ChatMessage("user", "1+1?"),
        ChatMessage("assistant", "", tool_calls=(ToolCall("c0", "add", '{"a":1}'),)),
        ChatMessage("tool", "2", tool_call_id="c0"),
    )
    assert request_body(Prompt("gpt", messages, {}))["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "content": "2", "tool_call_id": "c0"},
    ]
