"""Bodies of upstreams over HTTP: labels, encodings, charsets and ends that are not what they should be."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from typing import Any

import pytest
import uvloop

from app.domain.upstreams import Upstream
from app.ops import metrics
from tests.fakes.raw_server import Answer, RawServer, saying
from tests.stack import until
from worker.limits import Limits
from worker.providers.base import ALIVE, ChatMessage, Finished, Piece, Prompt, ProviderError, Text, Usage
from worker.providers.chat.provider import OpenAICompatible
from worker.providers.http.direct import DirectTransport
from worker.providers.http.proxied import ProxiedTransport

TRANSPORTS = {"direct": DirectTransport, "proxied": lambda: ProxiedTransport(None)}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
LIMITS = Limits()


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


HELLO = [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo")]
USED = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
STREAM = b"".join([*HELLO, chunk("stop"), USED, b"data: [DONE]\n\n"])
WHOLE = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": USAGE}
DOCUMENT = json.dumps(WHOLE).encode()


def head(*headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *headers, "", ""]).encode()


def ask(
    answer: Answer, way: str = "direct", limits: Limits = LIMITS, pieces: list[Piece] | None = None
) -> tuple[list[Piece], ProviderError | None, int, float]:
    """The pieces of one call, its error, the number of requests, and the seconds. ``pieces`` grows meanwhile."""
    pieces = [] if pieces is None else pieces

    async def main(url: str) -> ProviderError | None:
        provider = OpenAICompatible(Upstream("u", "openai", url, "sk-none"), limits, TRANSPORTS[way]())
        try:
            await asyncio.wait_for(provider.stream(Prompt("m", (ChatMessage("user", "hi"),)), pieces.extend), 60)
        except ProviderError as error:
            return error
        finally:
            await provider.close()
        return None

    began = time.monotonic()
    with RawServer(answer) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        error = runner.run(main(f"{server.origin}/v1"))
    return pieces, error, len(server.requests), time.monotonic() - began


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


LABELS = ["text/event-stream", "application/json; charset=utf-8", "text/plain", "text/html; charset=utf-8", "x/y", ""]


@pytest.mark.parametrize("way", TRANSPORTS)
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("body", [STREAM, DOCUMENT, DOCUMENT + b"\n\ndata: [DONE]", STREAM.replace(b"\n\n", b"\n")])
def test_no_label_decides_what_a_body_is(way: str, label: str, body: bytes) -> None:
    pieces, error, _, _ = ask(saying(head(f"Content-Type: {label}") + body), way)
    assert (text_of(pieces), error) == ("Hello", None)
    assert pieces[-1] == Finished("stop", Usage(7, 3))


@pytest.mark.parametrize("label", LABELS)
def test_an_error_keeps_its_words_under_any_label(label: str) -> None:
    body = b'{"error":{"message":"The words, code 17.","type":"invalid_request_error"}}'
    _, error, calls, _ = ask(saying(head(f"Content-Type: {label}") + body))
    assert error is not None
    assert "The words, code 17." in error.message
    assert (error.retryable, calls) == (False, 1)


@pytest.mark.parametrize("label", LABELS)
def test_a_web_page_is_one_whatever_its_label(label: str) -> None:
    _, error, _, _ = ask(saying(head(f"Content-Type: {label}") + b"\n <!doctype html>\n<p>Log in</p>\n"))
    assert error is not None
    assert (error.code, error.retryable) == ("upstream_malformed", False)
    assert "web page" in error.message


MEMBERS = b"".join(map(gzip.compress, [*HELLO, chunk("stop"), USED]))


@pytest.mark.parametrize("way", TRANSPORTS)
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("GZIP", gzip.compress(STREAM)),
        ("x-gzip", gzip.compress(STREAM)),
        ("gzip", MEMBERS),
        ("", gzip.compress(STREAM)),
        ("", MEMBERS),
        ("gzip", STREAM),
        ("br", STREAM),
        ("identity", STREAM),
    ],
)
def test_compression_is_recognised_by_its_bytes(way: str, encoding: str, body: bytes) -> None:
    headers = [f"Content-Encoding: {encoding}"] if encoding else []
    pieces, error, _, _ = ask(saying(head("Content-Type: text/event-stream", *headers) + body), way)
    assert (text_of(pieces), error) == ("Hello", None)


def test_an_encoding_that_cannot_be_read_is_named() -> None:
    _, error, _, _ = ask(saying(head("Content-Encoding: br") + b"\x8b\x03\x80data"))
    assert error is not None
    assert (error.code, error.retryable) == ("upstream_encoding", False)
    assert "br" in error.message


@pytest.mark.parametrize(
    ("charset", "sent_as", "text"),
    [
        ("gbk", "gbk", "你好，世界"),
        ("GB2312", "gbk", "联通"),
        ("gbk", "utf-8", "你好"),
        ("shift_jis", "shift_jis", "こんにちは"),
        ("iso-8859-1", "utf-8", "é 日本"),
        ("iso-8859-1", "latin-1", "é"),
        ("utf-16", "utf-16", "日本"),
        ("no-such-charset", "utf-8", "日本"),
        ("base64", "utf-8", "日本"),
    ],
)
def test_text_arrives_in_any_charset(charset: str, sent_as: str, text: str) -> None:
    body = (chunk(content=text) + chunk("stop") + b"data: [DONE]\n\n").decode().encode(sent_as)
    label = head(f'Content-Type: text/event-stream; charset="{charset}"')
    pieces, error, _, _ = ask(saying(label, *(body[at : at + 3] for at in range(0, len(body), 3))))
    assert (text_of(pieces), error) == (text, None)


@pytest.mark.parametrize("way", TRANSPORTS)
@pytest.mark.parametrize("comments", [False, True])
def test_an_answer_ends_soon_after_its_finish_reason(way: str, comments: bool) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head("Content-Type: text/event-stream") + b"".join([*HELLO, chunk("stop")]))
        for _ in range(100):
            time.sleep(0.2)
            if comments:
                connection.sendall(b": keepalive\n\n")

    pieces, error, calls, seconds = ask(answer, way)
    assert (text_of(pieces), error, calls) == ("Hello", None, 1)
    assert pieces[-1] == Finished("stop", None)
    assert seconds < 10


def test_a_whole_answer_ends_before_its_silence_counts_as_a_failure() -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head("Content-Type: text/event-stream") + b"".join([*HELLO, chunk("stop")]))
        time.sleep(30)

    pieces, error, _, seconds = ask(answer, limits=Limits(silence=0.4))
    assert (text_of(pieces), error, pieces[-1]) == ("Hello", None, Finished("stop", None))
    assert 0.2 < seconds < 10


def test_usage_behind_the_finish_reason_is_waited_for() -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head("Content-Type: text/event-stream") + b"".join([*HELLO, chunk("stop")]))
        time.sleep(0.3)
        connection.sendall(USED)
        time.sleep(30)

    pieces, error, _, _ = ask(answer)
    assert error is None
    assert pieces[-1] == Finished("stop", Usage(7, 3))


def test_an_upstream_that_sends_no_text_yet_is_alive() -> None:
    pieces: list[Piece] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head("Content-Type: text/event-stream") + b": PROCESSING\n\n" * 3)
        # Otherwise the text may be in the same read.
        until(lambda: pieces)
        connection.sendall(STREAM)

    _, error, _, _ = ask(answer, pieces=pieces)
    assert error is None
    assert pieces[0] is ALIVE
    assert ALIVE not in pieces[pieces.index(Text("Hel")) :]


@pytest.mark.parametrize(
    ("status", "body", "seconds"),
    [
        (
            429,
            b'[{"error":{"code":429,"message":"Slow.","details":[{"@type":"x.RetryInfo","retryDelay":"6.5s"}]}}]',
            6.5,
        ),
        (429, b'{"error":{"message":"Slow.","retry_after":3}}', 3.0),
        (503, b'data: {"error":{"message":"Slow.","details":[{"retryDelay":"2s"},{"other":1}]}}\n\n', 2.0),
        (429, b'{"error":{"message":"Slow.","details":"none","retry_after":"soon"}}', None),
    ],
)
def test_a_refusal_says_in_its_body_when_to_come_again(status: int, body: bytes, seconds: float | None) -> None:
    refusal = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
    _, error, _, _ = ask(saying(refusal + body))
    assert error is not None
    assert "Slow." in error.message
    assert error.retry_after == seconds


def test_skipped_events_are_counted() -> None:
    counted = metrics.EVENTS_SKIPPED._value.get()
    pieces, error, _, _ = ask(saying(head("Content-Type: text/event-stream"), b"data: null\n\n" * 3, STREAM))
    assert (text_of(pieces), error) == ("Hello", None)
    assert metrics.EVENTS_SKIPPED._value.get() == counted + 3
