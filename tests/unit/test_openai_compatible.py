"""The OpenAI-compatible provider against a real HTTP server, over both transports."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest
import uvloop

from app.domain.trace_context import TraceContext
from app.domain.upstreams import Upstream
from app.telemetry import outgoing
from dev.server import free_port
from tests.fakes.upstream import FakeUpstream, call_text
from worker.limits import Limits
from worker.providers.base import (
    ALIVE,
    AnswerTooLarge,
    ChatMessage,
    Finished,
    Piece,
    Prompt,
    ProviderError,
    Text,
    Thought,
    ToolDelta,
    Usage,
)
from worker.providers.chat.provider import OpenAICompatible
from worker.providers.http.direct import DirectTransport
from worker.providers.http.proxied import ProxiedTransport
from worker.providers.registry import Providers, UnknownKind, UnknownProvider

T = TypeVar("T")
KEY = "sk-test-verysecret"
REPLACED = "\ufffd"
LOW = Limits(header_bytes=900)


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(defaults={"rate": 1000, "tokens": 20}, api_key=KEY) as server:
        yield server


@pytest.fixture(params=["direct", "proxied"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test over both transports, each with another event loop."""
    direct = request.param == "direct"
    monkeypatch.setitem(_WAY, "transport", DirectTransport if direct else lambda: ProxiedTransport(None))
    monkeypatch.setitem(_WAY, "loop", uvloop.new_event_loop if direct else asyncio.new_event_loop)


_WAY: dict[str, Any] = {}


def connect(base_url: str, key: str | None = KEY, **options: Any) -> OpenAICompatible:
    return OpenAICompatible(Upstream("openai", "openai", base_url, key, **options), transport=_WAY["transport"]())


def arun(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=_WAY["loop"]) as runner:
        return runner.run(work)


def run(upstream: FakeUpstream, use: Callable[[OpenAICompatible], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    async def main() -> Any:
        provider = connect(upstream.base_url, **options)
        try:
            return await asyncio.wait_for(use(provider), 90)
        finally:
            await provider.close()

    return arun(main())


def prompt(prefix: str = "", /, **fake: Any) -> Prompt:
    return Prompt("fake", (ChatMessage("user", "Count! " + json.dumps({"fake": fake})),), {}, prefix)


async def collect(provider: OpenAICompatible, asked: Prompt) -> tuple[list[Piece], ProviderError | None]:
    pieces: list[Piece] = []

    def take(some: list[Piece]) -> None:
        assert some, "an empty list"
        pieces.extend(piece for piece in some if piece is not ALIVE)

    try:
        await provider.stream(asked, take)
    except ProviderError as error:
        return pieces, error
    return pieces, None


def ask(upstream: FakeUpstream, asked: Prompt, **options: Any) -> tuple[list[Piece], ProviderError | None]:
    result: tuple[list[Piece], ProviderError | None] = run(upstream, lambda p: collect(p, asked), **options)
    return result


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


def sent_by(upstream: FakeUpstream) -> str:
    call = upstream.calls[-1]
    return call_text(call.number, call.first_index, call.first_index + call.tokens_sent)


# --- answers


def test_an_answer_arrives_whole_and_ends_once(upstream: FakeUpstream) -> None:
    pieces, error = ask(upstream, prompt())
    assert error is None
    assert text_of(pieces) == sent_by(upstream)
    assert upstream.calls[-1].tokens_sent == 20
    assert [piece for piece in pieces if isinstance(piece, Finished)] == [pieces[-1]]
    assert isinstance(pieces[-1], Finished)
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.output_tokens == 20


@pytest.mark.parametrize(
    "shape",
    [
        {"crlf": True},
        {"keepalive": True},
        {"split_utf8": True},
        {"batch": 7},
        {"rate": 0},
        {"usage": "choices"},
        {"tokens": 3, "drip_bytes_per_s": 3000},
        {"done": False},
    ],
)
def test_no_shape_of_the_stream_changes_the_text(upstream: FakeUpstream, shape: dict[str, Any]) -> None:
    pieces, error = ask(upstream, prompt(**shape))
    assert error is None
    assert text_of(pieces) == sent_by(upstream)
    assert isinstance(pieces[-1], Finished)
    assert pieces[-1].usage is not None


def test_usage_that_is_not_told_is_none(upstream: FakeUpstream) -> None:
    assert ask(upstream, prompt(usage=False))[0][-1] == Finished("stop", None)


def test_usage_is_not_asked_for_where_the_upstream_would_refuse_that(upstream: FakeUpstream) -> None:
    pieces, _ = ask(upstream, prompt(), include_usage=False)
    assert pieces[-1] == Finished("stop", None)
    assert "stream_options" not in upstream.calls[-1].body


def test_reasoning_and_tool_calls_arrive(upstream: FakeUpstream) -> None:
    tool = {"name": "add", "arguments": {"a": 1, "b": 2}, "id": "call_7"}
    pieces, _ = ask(upstream, prompt(reasoning=3, reasoning_field="both", tool_call=tool, finish="tool_calls"))
    number = upstream.calls[-1].number
    thoughts = [piece.text for piece in pieces if isinstance(piece, Thought)]
    assert thoughts == [f"r{number}.0 ", f"r{number}.1 ", f"r{number}.2 "]
    deltas = [piece for piece in pieces if isinstance(piece, ToolDelta)]
    assert (deltas[0].call_id, deltas[0].name) == ("call_7", "add")
    assert json.loads("".join(delta.arguments for delta in deltas)) == {"a": 1, "b": 2}
    assert isinstance(pieces[-1], Finished)
    assert pieces[-1].finish_reason == "tool_calls"
    assert pieces[-1].usage == Usage(len(upstream.calls[-1].body["messages"][0]["content"].split()), 23, 3)


def test_unstorable_characters_are_replaced(upstream: FakeUpstream) -> None:
    pieces, error = ask(upstream, prompt(nul_at=1, surrogate_at=3, bad_utf8_at=5, split_pair_at=9))
    assert error is None
    text = text_of(pieces)
    assert text.count(REPLACED) == 3
    number = upstream.calls[-1].number
    assert f"k{number}.9 🙂k{number}.10 " in text
    text.encode()
    assert "\0" not in text


def test_an_upstream_that_does_not_stream_is_read_as_well(upstream: FakeUpstream) -> None:
    with one_answer(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b", WHOLE) as url:
        pieces = arun(collect_from(url))
    assert pieces == ([Text("Hello"), Finished("stop", None)], None)


def test_each_read_is_heard_as_it_comes(upstream: FakeUpstream) -> None:
    async def emit(provider: OpenAICompatible) -> str:
        """The text received of an answer whose upstream then sends nothing more."""
        heard: list[Piece] = []
        task = asyncio.create_task(provider.stream(prompt(tokens=5, stall_after=2), heard.extend))
        await until(lambda: text_of(heard) and text_of(heard) == call_text(upstream.calls[-1].number, 0, 2))
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return text_of(heard)

    assert run(upstream, emit)


def test_the_request_carries_the_key_and_the_parameters(upstream: FakeUpstream) -> None:
    ask(upstream, replace(prompt(), parameters={"temperature": 0.3, "tool_choice": "auto"}))
    call = upstream.calls[-1]
    assert call.authorized
    assert (call.body["temperature"], call.body["tool_choice"], call.body["stream"]) == (0.3, "auto", True)
    assert call.headers["Accept-Encoding"] == "identity"


def test_without_a_key_none_is_sent() -> None:
    with FakeUpstream(defaults={"rate": 0}) as open_upstream:
        assert ask(open_upstream, prompt(), key=None)[1] is None
        assert not open_upstream.calls[-1].authorized


# --- failures


@pytest.mark.parametrize(
    ("fault", "code", "retryable"),
    [
        ({"no_finish": True}, "upstream_truncated", True),
        ({"cut_after": 5}, "upstream_connection", True),
        ({"error_after": 5}, "upstream_unavailable", True),
        ({"error_after": 5, "error_form": "text"}, "upstream_error", True),
        ({"error_after": 5, "error_form": "line"}, "upstream_unavailable", True),
        ({"error_after": 5, "error_form": "event"}, "upstream_unavailable", True),
        ({"error_after": 5, "error_form": "openrouter"}, "upstream_unavailable", True),
        ({"error_after": 5, "error_code": "context_length_exceeded"}, "context_length", False),
        ({"garbage_after": 5}, "upstream_malformed", True),
    ],
)
def test_a_fault_in_the_middle_keeps_the_text_before_it(
    upstream: FakeUpstream, fault: dict[str, Any], code: str, retryable: bool
) -> None:
    pieces, error = ask(upstream, prompt(rate=200, **fault))
    assert error is not None
    assert (error.code, error.retryable) == (code, retryable)
    number = upstream.calls[-1].number
    assert text_of(pieces) == call_text(number, 0, 20 if "no_finish" in fault else 5)
    assert not any(isinstance(piece, Finished) for piece in pieces)


@pytest.mark.parametrize("form", ["object", "text", "line", "event", "openrouter"])
def test_an_error_before_the_first_token_fails_the_stream(upstream: FakeUpstream, form: str) -> None:
    pieces, error = ask(upstream, prompt(error_after=0, error_form=form))
    assert pieces == []
    assert error is not None
    assert error.retryable


def test_a_cut_behind_the_finish_reason_loses_nothing(upstream: FakeUpstream) -> None:
    pieces, error = ask(upstream, prompt(cut_at_end=True))
    assert error is None
    assert text_of(pieces) == sent_by(upstream)
    assert pieces[-1] == Finished("stop", None)


@pytest.mark.parametrize(
    ("refusal", "code", "retryable", "retry_after"),
    [
        ({"status": 429, "retry_after": 1}, "upstream_rate_limited", True, 1.0),
        ({"status": 503}, "upstream_unavailable", True, None),
        ({"status": 502, "html": True}, "upstream_unavailable", True, None),
        ({"status": 400, "error_code": "context_length_exceeded"}, "context_length", False, None),
        ({"status": 404}, "upstream_rejected", False, None),
    ],
)
def test_a_refusal_keeps_its_status(
    upstream: FakeUpstream, refusal: dict[str, Any], code: str, retryable: bool, retry_after: float | None
) -> None:
    pieces, error = ask(upstream, prompt(echo_key=True, **refusal))
    assert pieces == []
    assert error is not None
    assert (error.code, error.retryable, error.retry_after) == (code, retryable, retry_after)
    assert error.upstream_status == refusal["status"]
    assert KEY not in str(error)


def test_a_wrong_key_is_never_quoted(upstream: FakeUpstream) -> None:
    _, error = ask(upstream, prompt(), key="sk-wrong-key-abcdef")
    assert error is not None
    assert (error.code, error.retryable, error.upstream_status) == ("upstream_unauthorized", False, 401)
    assert "wrong" not in str(error)


def test_an_upstream_that_is_not_there_is_reported() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    pieces, error = arun(collect_from(url))
    assert pieces == []
    assert error is not None
    assert (error.code, error.retryable) == ("upstream_connection", True)


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (b"", "upstream_connection", True),
        (b"HTTP/1.1 200 OK\r\n", "upstream_connection", True),
        (b"nonsense\r\n\r\n", "upstream_connection", True),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>Log in", "upstream_malformed", False),
        (
            b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
            "upstream_rejected",
            False,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            "upstream_truncated",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", "upstream_truncated", True),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nhalf a body", "upstream_unavailable", True),
    ],
)
def test_broken_http_is_translated(answer: bytes, code: str, retryable: bool) -> None:
    with one_answer(answer) as url:
        pieces, error = arun(collect_from(url))
    assert pieces == []
    assert error is not None
    assert (error.code, error.retryable) == (code, retryable)


def headers_of(size: int) -> bytes:
    """A complete HTTP response whose headers have about ``size`` bytes."""
    body = b"data: [DONE]\n\n"
    lines = [b"HTTP/1.1 200 OK", b"Content-Type: text/event-stream", b"Content-Length: %d" % len(body)]
    lines += [b"X-Padding-%d: " % number + b"x" * 10_000 for number in range(size // 10_000)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize("limit", [20_000, 65_536, 200_000])
def test_headers_of_an_answer_are_read_up_to_the_limit_of_the_deployment(limit: int) -> None:
    async def ask_for(url: str) -> ProviderError | None:
        made = ProxiedTransport(None, limit) if _WAY["transport"] is not DirectTransport else DirectTransport(limit)
        provider = OpenAICompatible(Upstream("openai", "openai", url, KEY), Limits(header_bytes=limit), made)
        try:
            return (await collect(provider, prompt()))[1]
        finally:
            await provider.close()

    # aiohttp limits the size of each header and the number of headers.
    one = b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * (limit + 8000) + b"\r\nContent-Length: 0\r\n\r\n"
    with one_answer(one) as url:
        refused = arun(ask_for(url))
    assert isinstance(refused, AnswerTooLarge)
    assert refused.limit == "MAX_UPSTREAM_HEADER_BYTES"
    assert f"more than {limit} bytes" in refused.message
    with one_answer(headers_of(limit - 8000)) as url:
        read = arun(ask_for(url))
    assert read is not None
    assert read.code == "upstream_truncated"


def test_a_provider_gives_its_transport_the_limit_of_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit reaches both transports that a provider makes: the direct one, and the one through a proxy."""
    answer = headers_of(30_000)
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with one_answer(answer) as url:
        if _WAY["transport"] is not DirectTransport:
            monkeypatch.setenv("http_proxy", url)

        async def ask_for() -> ProviderError | None:
            address = "http://127.0.0.1:9/v1" if "http_proxy" in os.environ else url
            provider = OpenAICompatible(Upstream("openai", "openai", address, KEY), LOW)
            try:
                return (await collect(provider, prompt()))[1]
            finally:
                await provider.close()

        refused = arun(ask_for())
    assert isinstance(refused, AnswerTooLarge), refused
    assert "more than 900 bytes" in refused.message


def test_an_error_page_without_end_is_not_read_to_the_end() -> None:
    page = b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 3_000_000
    with one_answer(page) as url:
        _, error = arun(collect_from(url))
    assert error is not None
    assert len(error.message) < 400


# --- leaving


@pytest.mark.parametrize("fake", [{"rate": 20}, {"stall_after": 2}, {"header_delay": 60}, {"drip_bytes_per_s": 100}])
def test_cancelling_disconnects_the_upstream_at_once(upstream: FakeUpstream, fake: dict[str, Any]) -> None:
    async def leave(provider: OpenAICompatible) -> float:
        before = len(upstream.calls)
        task = asyncio.create_task(collect(provider, prompt(**{"tokens": 1000, **fake})))
        await until(lambda: len(upstream.calls) > before)
        await asyncio.sleep(0.2)
        task.cancel()
        cancelled = time.time()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: upstream.calls[-1].ended)
        return (upstream.calls[-1].ended or 0) - cancelled

    # A twentieth of a second on an idle machine; a connection left open would end with the test's own timeout.
    assert run(upstream, leave) < 8
    assert upstream.calls[-1].end == "client_disconnected"


def test_a_listener_that_fails_disconnects_the_upstream_at_once_and_is_told_why(upstream: FakeUpstream) -> None:
    async def leave(provider: OpenAICompatible) -> float:
        def emit(pieces: list[Piece]) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await provider.stream(prompt(tokens=1000, rate=20), emit)
        closed = time.time()
        await until(lambda: upstream.calls[-1].ended)
        return (upstream.calls[-1].ended or 0) - closed

    # A twentieth of a second on an idle machine; a connection left open would end with the test's own timeout.
    assert run(upstream, leave) < 8
    assert upstream.calls[-1].end == "client_disconnected"


def test_a_finished_connection_serves_the_next_request(upstream: FakeUpstream) -> None:
    async def twice(provider: OpenAICompatible) -> None:
        await collect(provider, prompt())
        # The end of the body follows the end of the answer. It arrives within a few turns of the loop.
        await until(lambda: upstream.calls[-1].ended)
        for _ in range(80):
            await asyncio.sleep(0.01)
        await collect(provider, prompt())

    run(upstream, twice)
    assert upstream.calls[-1].peer == upstream.calls[-2].peer


def test_more_than_a_hundred_answers_run_at_once(upstream: FakeUpstream) -> None:
    before = len(upstream.calls)

    async def many(provider: OpenAICompatible) -> list[tuple[list[Piece], ProviderError | None]]:
        asked = (collect(provider, prompt(tokens=10**4, rate=6, key=i)) for i in range(150))
        answers = asyncio.gather(*asked)
        await until(lambda: len(upstream.calls) == before + 150)
        assert not any(call.ended for call in upstream.calls[before:])
        for call in upstream.calls[before:]:
            call.enough = True
        return await answers

    answers = run(upstream, many)
    assert all(error is None for _, error in answers)
    texts = [text_of(pieces) for pieces, _ in answers]
    assert sorted(texts) == sorted(call_text(call.number, 0, call.tokens_sent) for call in upstream.calls[before:])


def test_one_provider_serves_one_event_loop_after_another(upstream: FakeUpstream) -> None:
    provider = connect(upstream.base_url)

    async def once() -> ProviderError | None:
        _, error = await collect(provider, prompt())
        await asyncio.sleep(0.1)  # so that the pool keeps a connection of this loop for the next one
        return error

    assert [arun(once()), arun(once())] == [None, None]


# --- going on


@pytest.mark.parametrize("continuation", ["prefill", "vllm", "instruction"])
def test_an_answer_that_was_cut_is_continued(upstream: FakeUpstream, continuation: str) -> None:
    asked = prompt(cut_after=8, once=True, key=len(upstream.calls))
    first, error = ask(upstream, asked, continuation=continuation)
    assert error is not None
    prefix = text_of(first)
    rest, error = ask(upstream, replace(asked, prefix=prefix), continuation=continuation)
    assert error is None
    one, two = upstream.calls[-2:]
    assert (one.attempt, two.attempt, two.first_index) == (0, 1, 8)
    assert prefix + text_of(rest) == call_text(one.number, 0, 8) + call_text(two.number, 8, 20)


def test_words_repeated_after_an_instruction_are_cut(upstream: FakeUpstream) -> None:
    prefix = "Once upon a time there was a king"
    text = "there was a king who had no throne."
    pieces, _ = ask(upstream, prompt(prefix, text=text, **{"continue": "restart"}), continuation="instruction")
    assert text_of(pieces) == " who had no throne."
    held, _ = ask(upstream, prompt(prefix, text="there was a k", **{"continue": "restart"}), continuation="instruction")
    assert text_of(held) == "there was a k"
    assert isinstance(held[-1], Finished)


@pytest.mark.parametrize("continuation", ["prefill", "vllm"])
def test_words_repeated_after_a_prefill_are_meant(upstream: FakeUpstream, continuation: str) -> None:
    text = "there was a king who had no throne."
    pieces, _ = ask(
        upstream, prompt("Once there was a king", text=text, **{"continue": "restart"}), continuation=continuation
    )
    assert text_of(pieces) == text


def test_an_upstream_that_cannot_continue_says_so(upstream: FakeUpstream) -> None:
    provider = connect(upstream.base_url, continuation="none")
    assert not provider.continues
    with pytest.raises(ValueError):
        arun(collect(provider, prompt("Once")))


# --- building


@pytest.mark.parametrize("url", ["", "api.example.com/v1", "ftp://example.com", "http://"])
def test_an_unusable_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError):
        OpenAICompatible(Upstream("openai", "openai", url))


def test_an_unknown_way_to_continue_is_refused_at_once() -> None:
    with pytest.raises(ValueError):
        OpenAICompatible(Upstream("openai", "openai", "http://example.com", continuation="somehow"))


def test_the_registry_knows_what_it_was_given(upstream: FakeUpstream) -> None:
    async def use() -> list[str]:
        providers = Providers([Upstream("own", "openai", upstream.base_url, KEY)])
        seen = []
        for name in ("offline", "offline-fast", "own"):
            pieces: list[Piece] = []
            asked = replace(prompt(tokens=3), parameters={"tokens": 3, "rate": 0})
            await providers.get(name).stream(asked, pieces.extend)
            seen.append(text_of(pieces))
        await providers.close()
        return seen

    offline, fast, ours = arun(use())
    assert offline == fast != ours
    assert ours == sent_by(upstream)
    with pytest.raises(UnknownProvider):
        Providers().get("own")


def test_a_kind_without_a_class_is_refused_with_the_upstreams_name() -> None:
    odd = Upstream("own", cast(Any, "telepathy"), "http://h")
    with pytest.raises(UnknownKind, match="The upstream own has the kind telepathy"):
        Providers([odd])


# --- helpers: a server of a single response, for bytes that no HTTP library would send

WHOLE = b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}'


class one_answer:
    def __init__(self, answer: bytes, body: bytes | None = None) -> None:
        self._answer = answer if body is None else answer % (len(body), body)

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with closing(connection):
            connection.recv(65536)
            try:
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(20)
                while connection.recv(65536):
                    pass
            except OSError:
                pass


async def collect_from(url: str) -> tuple[list[Piece], ProviderError | None]:
    provider = connect(url)
    try:
        return await asyncio.wait_for(collect(provider, prompt()), 60)
    finally:
        await provider.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


# --- traces


@pytest.mark.parametrize(
    ("traced", "names_trace", "headers", "sent"),
    [
        (True, True, {}, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        (True, False, {}, None),
        (False, True, {}, None),
        (True, True, {"traceparent": "of the operator"}, "of the operator"),
    ],
)
def test_a_request_names_its_trace_unless_the_operator_says_otherwise(
    upstream: FakeUpstream, traced: bool, names_trace: bool, headers: dict[str, str], sent: str | None
) -> None:
    context = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1, "of=client") if traced else None
    with outgoing.carried(context):
        _, error = ask(upstream, prompt(), traceparent=names_trace, headers=headers)
    assert error is None
    received = {name.lower(): value for name, value in upstream.calls[-1].headers.items()}
    assert received.get("traceparent") == sent
    assert "tracestate" not in received
