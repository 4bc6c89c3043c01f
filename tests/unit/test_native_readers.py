"""Streams of Anthropic's and Gemini's own APIs: the transcripts of ``tests/transcripts/``, whole, cut and mixed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.outcome import summary
from worker.limits import Limits
from worker.providers.anthropic.messages import MessageReader
from worker.providers.base import ALIVE, AnswerTooLarge, Finished, Piece, Text, Thought
from worker.providers.gemini.content import ContentReader

FOLDER = Path(__file__).parent.parent / "transcripts"
READERS: dict[str, Callable[..., Any]] = {"anthropic": MessageReader, "gemini": ContentReader}
CASES = sorted((kind, path.stem) for kind in READERS for path in (FOLDER / kind).glob("*.sse"))
# Events that a reader has never heard of, between those of a transcript.
JUNK = {
    "anthropic": [
        b": comment\n\n",
        b'event: ping\ndata: {"type": "ping"}\n\n',
        b'event: mood\ndata: {"type": "mood", "delta": {"text": "!"}}\n\n',
        b'data: {"type": "content_block_delta", "index": 77, "delta": {"type": "hue_delta", "text": "!"}}\n\n',
        b'data: {"type": "content_block_start", "index": 78, "content_block": {"type": "hue", "text": "!"}}\n\n',
        b'data: {"type": "content_block_stop", "index": 79}\n\n',
        b"data: null\n\n",
        b"data: keep\n\n",
        b"data: []\n\n",
    ],
    "gemini": [
        b": comment\n\n",
        b'data: {"candidates": [{"index": 0, "content": {"parts": [{"mood": "!"}]}}]}\n\n',
        b'data: {"candidates": [{"index": 1, "content": {"parts": [{"text": "second answer"}]}}]}\n\n',
        b'data: {"candidates": [{"content": {}}], "weather": 1}\n\n',
        b'data: {"responseId": "r"}\n\n',
        b"data: {}\n\n",
        b"data: null\n\n",
        b"data: keep\n\n",
        b"data: []\n\n",
    ],
}


def body_of(case: tuple[str, str]) -> bytes:
    return (FOLDER / case[0] / f"{case[1]}.sse").read_bytes()


def expected(case: tuple[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / case[0] / f"{case[1]}.json").read_text())
    return found


def read(reader: Any, parts: list[bytes]) -> list[Piece]:
    pieces: list[Piece] = []
    for part in parts:
        if reader.done:
            break
        pieces += reader.feed(part)
    if not reader.done:
        pieces += reader.close()
    return [piece for piece in pieces if piece is not ALIVE]


@pytest.mark.parametrize("case", CASES, ids="/".join)
def test_a_transcript_is_read_however_it_is_split(case: tuple[str, str]) -> None:
    body = body_of(case)
    splits = [[body], [body[i : i + 1] for i in range(len(body))], [body[i : i + 7] for i in range(0, len(body), 7)]]
    for parts in splits:
        reader = READERS[case[0]]()
        assert summary(reader, read(reader, parts)) == expected(case)


@settings(max_examples=150)
@given(st.sampled_from(CASES), st.randoms(use_true_random=False))
def test_what_nobody_knows_changes_nothing(case: tuple[str, str], chance: random.Random) -> None:
    events = body_of(case).replace(b"\r\n", b"\n").split(b"\n\n")[:-1]
    mixed: list[bytes] = []
    for event in events:
        mixed += chance.choices(JUNK[case[0]], k=chance.randint(0, 2))
        mixed.append(event + b"\n\n")
    body = b"".join(mixed)
    places = sorted(chance.randint(0, len(body)) for _ in range(chance.randint(0, 20)))
    parts = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    reader = READERS[case[0]]()
    assert summary(reader, read(reader, [part for part in parts if part])) == expected(case)


@settings(max_examples=300)
@given(st.sampled_from(CASES), st.data())
def test_a_damaged_stream_is_never_a_whole_answer_with_another_text(case: tuple[str, str], data: st.DataObject) -> None:
    """Cut, repeated or emptied events and damaged bytes: an error, or the text as far as it came."""
    events = [event + b"\n\n" for event in body_of(case).replace(b"\r\n", b"\n").split(b"\n\n")[:-1]]
    at = data.draw(st.integers(0, len(events) - 1))
    how = data.draw(st.sampled_from(["cut", "half", "bytes", "types"]))
    if how == "cut":
        del events[at:]
    elif how == "half":
        events[at] = events[at][: data.draw(st.integers(0, len(events[at]) - 3))] + b"\n\n"
    elif how == "bytes":
        place = data.draw(st.integers(0, len(events[at]) - 1))
        events[at] = events[at][:place] + b"\xff" + events[at][place + 1 :]
    else:
        events[at] = data.draw(
            st.sampled_from([b"data: 1\n\n", b'data: {"type": 3}\n\n', b'data: {"type": "error"}\n\n'])
        )
    reader = READERS[case[0]]()
    pieces = read(reader, events)
    found, right = summary(reader, pieces), expected(case)
    if how == "cut" and right["error"] is None:
        assert found["error"] is not None
        assert right["text"].startswith(found["text"])
    for piece in pieces:
        if isinstance(piece, (Text, Thought)):
            piece.text.encode()
            assert piece.text


@pytest.mark.parametrize("case", [("anthropic", "text"), ("gemini", "text")], ids="/".join)
def test_a_read_without_a_piece_shows_that_the_upstream_is_alive(case: tuple[str, str]) -> None:
    reader = READERS[case[0]]()
    assert reader.feed(JUNK[case[0]][1]) == [ALIVE]
    assert reader.feed(b'data: {"type"') == []


def test_a_whole_message_in_one_document() -> None:
    reader = MessageReader()
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t1", "name": "get", "input": {"a": 1}},
    ]
    message = {"type": "message", "content": content, "stop_reason": "tool_use"}
    pieces = reader.feed_document(orjson.dumps({**message, "usage": {"input_tokens": 7, "output_tokens": 3}}))
    found = summary(reader, pieces)
    assert (found["text"], found["reasoning"], found["finish_reason"]) == ("Hello", "Hm", "tool_calls")
    assert found["tools"][0]["arguments"] == '{"a":1}'
    assert found["usage"]["input_tokens"] == 7
    refused = MessageReader()
    refused.feed_document(b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}')
    assert refused.failure is not None
    assert refused.failure.code == "upstream_rate_limited"


def test_responses_in_one_array() -> None:
    events = [orjson.loads(line[6:]) for line in body_of(("gemini", "text")).splitlines() if line]
    reader = ContentReader()
    assert summary(reader, reader.feed_document(orjson.dumps(events))) == expected(("gemini", "text"))


@pytest.mark.parametrize("case", [case for case in CASES if case != ("anthropic", "no-message-stop")], ids="/".join)
def test_a_stream_without_blank_lines_is_read(case: tuple[str, str]) -> None:
    body = body_of(case).replace(b"\r\n", b"\n").replace(b"\n\n", b"\n")
    for parts in ([body], [body[i : i + 11] for i in range(0, len(body), 11)]):
        reader = READERS[case[0]]()
        assert summary(reader, read(reader, parts)) == expected(case)


def test_a_body_without_framing_is_read() -> None:
    message = {"type": "message", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"}
    reader: Any = MessageReader()
    assert summary(reader, read(reader, [orjson.dumps(message)]))["text"] == "Hello"
    said = {"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]}
    reader = ContentReader()
    assert summary(reader, read(reader, [b"[%b\n]" % orjson.dumps(said)]))["text"] == "Hello"


@pytest.mark.parametrize("kind", READERS)
def test_a_web_page_is_no_answer(kind: str) -> None:
    reader = READERS[kind]()
    read(reader, [b"<!DOCTYPE html><html><body>Sign in</body></html>\n"])
    assert (reader.failure.code, reader.failure.retryable) == ("upstream_malformed", False)


def test_a_paused_turn_has_its_content() -> None:
    body = body_of(("anthropic", "citations-and-server-tool")).replace(b'"end_turn"', b'"pause_turn"')
    reader = MessageReader()
    assert not any(isinstance(piece, Finished) for piece in read(reader, [body]))
    assert reader.paused
    assert [block["type"] for block in reader.content] == ["text", "server_tool_use", "web_search_tool_result", "text"]
    assert reader.content[1]["input"] == {"query": "tides"}
    assert reader.content[0]["text"] == "I look."


def test_a_continuation_has_its_token() -> None:
    said = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "CONTINUATION"}]}
    reader = ContentReader()
    read(reader, [b"data: %b\n\n" % orjson.dumps(said)])
    assert reader.failure is not None  # without a token nothing can go on
    said["candidates"][0]["continuationToken"] = "t1"  # type: ignore[assignment]
    reader = ContentReader()
    assert read(reader, [b"data: %b\n\n" % orjson.dumps(said)]) == [Text("a")]
    assert reader.token == "t1"


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        (
            "anthropic",
            {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s" * 30}},
        ),
        (
            "gemini",
            {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}, "thoughtSignature": "s" * 30}]}}]},
        ),
    ],
)
def test_a_signature_has_a_limit(kind: str, event: Any) -> None:
    reader = READERS[kind](limits=Limits(tool_argument_chars=20))
    if kind == "anthropic":
        reader.feed(
            b'data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}\n\n'
        )
    reader.feed(b"data: %b\n\n" % orjson.dumps(event))
    assert isinstance(reader.failure, AnswerTooLarge)
    assert reader.failure.limit == "MAX_TOOL_ARGUMENT_CHARS"


def test_an_event_has_a_limit() -> None:
    for kind, make in READERS.items():
        reader = make(limits=Limits(event_bytes=1000))
        reader.feed(b"data: {" + b" " * 2000)
        assert isinstance(reader.failure, AnswerTooLarge), kind


def test_halves_of_characters_are_joined() -> None:
    def said(text: str) -> bytes:
        delta = b'{"type":"text_delta","text":"%b"}' % text.encode()
        return b'data: {"type":"content_block_delta","index":0,"delta":%b}\n\n' % delta

    reader = MessageReader()
    end = b'data: {"type":"message_stop"}\n\n'
    pieces = read(reader, [said("a\\ud83d"), said("\\ude42\\u0000"), said("\\ud83d"), end])
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)) == "a🙂\ufffd\ufffd"
