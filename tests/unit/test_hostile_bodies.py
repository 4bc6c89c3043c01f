"""Bodies made to hurt a worker: each is read in time that grows with its size, in bounded memory, without a crash."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterable
from time import process_time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.limits import Limits
from worker.providers.anthropic.messages import MessageReader
from worker.providers.base import Finished, Text
from worker.providers.chat.completions import AnswerReader
from worker.providers.chat.template import Template
from worker.providers.chat.think_tags import ThinkTags
from worker.providers.chat.thoughts import ENOUGH, Thoughts
from worker.providers.gemini.content import ContentReader
from worker.providers.http.charset import Recoder, charset_of
from worker.providers.reading.framing import _depth
from worker.providers.responses.run import ResponseReader

# Far above what a linear reader takes for a megabyte, far below what a quadratic one does.
MOST_SECONDS = 3.0
SIZE = 1_000_000
DEEP = b"[" * 900 + b'{"a":1}' + b"]" * 900


def seconds(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began


def event(body: Any) -> bytes:
    return b"data: " + (body if isinstance(body, bytes) else orjson.dumps(body)) + b"\n\n"


def spaces() -> None:
    tags = ThinkTags()
    tags.feed("<think>a")
    for _ in range(40_000):
        tags.feed("\n")
    assert len(tags._held) < 2000


def small_reads() -> None:
    recoder = Recoder("gb18030", SIZE)
    for _ in range(200_000):
        recoder.feed(b"12345")


@pytest.mark.parametrize(
    "work",
    [
        lambda: AnswerReader().feed(b'data: {"a":"' + b'\\"' * (SIZE // 2 - 50) + b"\n"),
        lambda: AnswerReader().feed(event({"x": [{"content": "a"}] * (SIZE // 16), "choices": [{"delta": {}}]})),
        lambda: Template.of(orjson.dumps({"x": [{"content": "a"}] * 900, "choices": [{"delta": {"content": "a"}}]})),
        lambda: ThinkTags().feed("<think>a</think>" * (SIZE // 16)),
        lambda: ThinkTags().feed("</think>" * (SIZE // 8)),
        spaces,
        small_reads,
    ],
)
def test_a_megabyte_takes_a_moment(work: Callable[[], object]) -> None:
    assert seconds(work) < MOST_SECONDS


@given(st.lists(st.sampled_from([b'"', b"\\", b"{", b"}", b"[", b"]", b"a", b":"])).map(b"".join))
def test_brackets_are_counted_outside_of_whole_strings(line: bytes) -> None:
    depth, at = 0, 0
    while at < len(line):
        if line[at : at + 1] == b'"':
            end = at + 1
            while end < len(line) and line[end : end + 1] != b'"':
                end += 2 if line[end : end + 1] == b"\\" else 1
            if end < len(line):
                at = end + 1
                continue
            rest = line[at:]
            depth += rest.count(b"{") + rest.count(b"[") - rest.count(b"}") - rest.count(b"]")
            break
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(line[at : at + 1], 0)
        at += 1
    assert _depth(line) == depth


@given(st.lists(st.sampled_from(["<think>", "</think>", " " * 700, "a", "\n"]), max_size=60), st.randoms())
def test_no_split_decides_where_reasoning_with_much_space_ends(parts: list[str], chance: Any) -> None:
    whole = "".join(parts)
    cuts = sorted(chance.randrange(len(whole) + 1) for _ in range(9))
    split = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert tagged(split) == tagged([whole])


def tagged(parts: Iterable[str]) -> tuple[str, str]:
    tags = ThinkTags()
    said = [*map(tags.feed, parts), tags.close()]
    return "".join(thought for thought, _ in said), "".join(text for _, text in said)


def test_longer_reasoning_of_a_second_source_is_not_held_to_the_end() -> None:
    thoughts = Thoughts()
    thoughts.feed("field", "ab")
    said = "".join(thoughts.feed("tags", part) for part in ["ab", *["c"] * 1000])
    assert said + thoughts.close() == "c" * 1000
    assert len(said) > 1000 - ENOUGH


CHOICE = b'{"choices":[{"delta":{%s:' + DEEP + b"}}]}"
TOOL_USE = b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":' + DEEP + b"}}"
CALLS = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f",%s}}]},"finishReason":"STOP"}]}'
LONG_PATH = orjson.dumps([{"jsonPath": "$" + ".a" * 2000, "numberValue": 1}])
ITEM = b'{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","arguments":%s}}' % DEEP
NESTS = [
    (AnswerReader, CHOICE % b'"reasoning_content"'),
    (AnswerReader, CHOICE % b'"content"'),
    (AnswerReader, CHOICE % b'"tool_calls"'),
    (AnswerReader, b'{"error":' + DEEP + b"}"),
    (AnswerReader, DEEP),
    (MessageReader, TOOL_USE),
    (ContentReader, CALLS % (b'"args":{"a":' + DEEP + b"}")),
    (ContentReader, CALLS % (b'"willContinue":true,"args":{"a":' + DEEP + b"}")),
    (ContentReader, CALLS % (b'"partialArgs":' + LONG_PATH)),
    (ResponseReader, ITEM),
    (ResponseReader, b'{"type":"error","error":' + DEEP + b"}"),
]


@pytest.mark.parametrize(("kind", "body"), NESTS)
def test_what_is_nested_deeply_ends_an_answer_as_any_other_error(kind: Any, body: bytes) -> None:
    for feed in ("feed", "feed_document"):
        reader = kind()
        getattr(reader, feed)(event(body) if feed == "feed" else body)
        reader.feed(event({"type": "content_block_stop", "index": 0}))
        reader.close()
        assert reader.failure is not None or kind is ResponseReader


def test_skipped_elements_of_a_path_are_counted() -> None:
    part = {"jsonPath": "$.a" + "[9999]" * 50, "numberValue": 1}
    call = {"name": "f", "willContinue": True, "partialArgs": [part]}
    reader = ContentReader(limits=Limits(tool_argument_chars=100_000))
    tracemalloc.start()
    try:
        reader.feed(event({"candidates": [{"content": {"parts": [{"functionCall": call}]}}]}))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert reader.failure is not None
    assert "MAX_TOOL_ARGUMENT_CHARS" in reader.failure.message


@pytest.mark.parametrize("name", ["undefined", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf_7"])
def test_encodings_that_are_no_charsets_are_not_taken(name: str) -> None:
    assert charset_of(f"text/event-stream; charset={name}") == ""


def messages(*texts: str, reason: str | None = "stop") -> tuple[str, str | None]:
    """The text and the error of an answer whose chunks have messages in place of deltas."""
    reader = AnswerReader()
    pieces: list[Any] = []
    for number, text in enumerate(texts):
        finish = reason if number == len(texts) - 1 else None
        pieces += reader.feed(event({"choices": [{"message": {"content": text}, "finish_reason": finish}]}))
    pieces += reader.close()
    said = "".join(piece.text for piece in pieces if isinstance(piece, Text))
    return said, reader.failure.code if reader.failure else None


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["Hello"], "Hello"),
        (["Hello", "Hello"], "Hello"),
        (["Hel", "Hello", "Hello you"], "Hello you"),
        (["Hel", "Hello", "Hello you", "Hello you"], "Hello you"),
        (["Hel", "lo", " you"], "Hello you"),
    ],
)
def test_messages_in_place_of_deltas_are_one_text(texts: list[str], said: str) -> None:
    assert messages(*texts) == (said, None)


def test_messages_that_are_cut_off_are_no_complete_answer() -> None:
    assert messages("Hel", "Hello", reason=None) == ("Hello", "upstream_truncated")
    assert messages("Hello", "Hello", reason=None) == ("Hello", None)


def run_events(run_id: Any, *events: Any) -> ResponseReader:
    reader = ResponseReader()
    reader.feed(event({"type": "response.created", "response": {"id": run_id, "status": "queued"}}))
    for one in events:
        reader.feed(event(one))
    return reader


@pytest.mark.parametrize("run_id", ["a\0b", "\ud800", "x" * 600, "", 5, "a\nb"])
def test_an_id_that_cannot_be_stored_is_none(run_id: Any) -> None:
    reader = ResponseReader()
    body = json.dumps({"type": "response.created", "response": {"id": run_id, "status": "queued"}})
    reader.feed(event(body.encode()))
    assert reader.run_id is None
    assert run_events("resp_1").run_id == "resp_1"


def test_a_run_without_an_id_is_not_collected_without_an_end() -> None:
    reader = ResponseReader()
    delta = {"type": "response.output_text.delta", "output_index": 0, "delta": "x" * 10_000}
    for number in range(200):
        reader.feed(event({**delta, "sequence_number": number}))
    assert reader.failure is not None


def test_what_goes_back_to_the_upstream_is_bounded() -> None:
    item = {"type": "reasoning", "encrypted_content": "x" * 300_000}
    reader = run_events(
        "r", *({"type": "response.output_item.done", "output_index": n, "item": item} for n in range(4))
    )
    assert reader.failure is not None
    assert "MAX_TOOL_ARGUMENT_CHARS" in reader.failure.message
    blocks = MessageReader()
    result = {"type": "web_search_tool_result", "content": "x" * 1_000_000}
    for number in range(40):
        blocks.feed(event({"type": "content_block_start", "index": number, "content_block": result}))
        blocks.feed(event({"type": "content_block_stop", "index": number}))
    assert blocks.failure is not None


@pytest.mark.parametrize("told", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "real", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_first_bytes_of_a_wide_charset_decide_before_its_label(told: str, real: str, size: int) -> None:
    recoder, text = Recoder(told, 1000), "data: caf\u00e9 \u4f60\n\n"
    body = text.encode(real)
    parts = [recoder.feed(body[at : at + size]) for at in range(0, len(body), size)]
    assert (b"".join(parts) + recoder.close()).decode() == ("\ufeff" if real == "utf-8-sig" else "") + text


@pytest.mark.parametrize("mark", ["[DONE]", "DONE", '"[DONE]"'])
def test_the_mark_of_the_end_is_no_second_line_of_a_text_before_it(mark: str) -> None:
    reader = AnswerReader()
    chunk = orjson.dumps({"choices": [{"delta": {"content": "a"}}]}).decode()
    pieces = reader.feed(f"data: {chunk}\ndata: keep-alive\ndata: {mark}\n".encode()) + reader.close()
    assert reader.failure is None
    assert [piece for piece in pieces if isinstance(piece, Finished)]


def test_a_mark_before_single_line_feeds_is_no_part_of_the_first_event() -> None:
    reader = AnswerReader()
    chunks = [{"choices": [{"delta": {"content": text}}]} for text in "abc"]
    body = b"".join(b"data: " + orjson.dumps(one) + b"\n" for one in chunks) + b"data: [DONE]\n"
    pieces = reader.feed(b"\xef\xbb\xbf" + body)
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)) == "abc"
    assert reader.failure is None
