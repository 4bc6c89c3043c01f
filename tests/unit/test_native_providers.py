"""The providers of Anthropic's and Gemini's own APIs against strict fakes, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.domain.upstreams import Upstream
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.gemini import FakeGemini
from tests.fakes.native import FakeServer
from worker.limits import Limits
from worker.providers.anthropic.provider import Anthropic
from worker.providers.base import ALIVE, ChatMessage, Finished, Piece, Prompt, Provider, ProviderError, Text
from worker.providers.gemini.provider import Gemini
from worker.providers.learning.learned import Learned
from worker.providers.reading.model_list import model_names

KEY = "key-of-the-fake-7f3a9c"
KINDS = ("anthropic", "gemini")


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, FakeServer]]:
    with FakeAnthropic(api_key=KEY) as first, FakeGemini(api_key=KEY) as second:
        yield {"anthropic": first, "gemini": second}


def connect(server: FakeServer, kind: Any, learned: Learned | None = None, path: str = "", **fields: Any) -> Provider:
    upstream = Upstream("up", kind, server.base_url + path, **{"api_key": KEY, **fields})
    make = Anthropic if kind == "anthropic" else Gemini
    return make(upstream, Limits(), learned=learned)


def ask(provider: Provider, prompt: Prompt) -> tuple[list[Piece], ProviderError | None]:
    pieces: list[Piece] = []

    async def run() -> ProviderError | None:
        try:
            await provider.stream(prompt, lambda some: pieces.extend(some or pytest.fail("an empty list")))
        except ProviderError as error:
            return error
        finally:
            await provider.close()
        return None

    error = asyncio.run(run())
    return [piece for piece in pieces if piece is not ALIVE], error


def prompt(model: str = "fake", prefix: str = "", parameters: dict[str, Any] | None = None, **fake: Any) -> Prompt:
    said = "Count! " + json.dumps({"fake": {"tokens": 5, **fake}})
    return Prompt(model, (ChatMessage("user", said),), parameters or {}, prefix)


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


@pytest.mark.parametrize(
    ("kind", "path"), [(k, p) for k in KINDS for p in ("", "/", "/v1" if k[0] == "a" else "/v1beta")]
)
def test_a_base_url_with_and_without_a_version(servers: dict[str, FakeServer], kind: str, path: str) -> None:
    pieces, error = ask(connect(servers[kind], kind, path=path), prompt(crlf=True))
    assert error is None
    assert text_of(pieces) == servers[kind].calls[-1].text
    assert isinstance(pieces[-1], Finished)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_cut_at_any_event_is_no_answer(servers: dict[str, FakeServer], kind: str) -> None:
    whole, _ = ask(connect(servers[kind], kind), prompt())
    events = servers[kind].calls[-1].events_sent
    for at in range(events):
        pieces, error = ask(connect(servers[kind], kind), prompt(cut_at_event=at))
        # Gemini's last event is complete with its finish reason.
        assert error is not None, at
        assert error.code == "upstream_connection"
        assert error.retryable
        assert text_of(pieces) == servers[kind].calls[-1].text
        assert not any(isinstance(piece, Finished) for piece in pieces)
    assert len(text_of(whole)) > 0


def test_the_version_is_configurable_and_decides_about_sampling(servers: dict[str, FakeServer]) -> None:
    server = servers["anthropic"]
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 3}
    assert ask(connect(server, "anthropic"), prompt(parameters=given))[1] is None
    assert server.calls[-1].headers["anthropic-version"] == "2023-06-01"
    assert server.calls[-1].body.items() >= given.items()
    later = {"Anthropic-Version": "2026-10-21", "X-Team": "chat"}
    assert ask(connect(server, "anthropic", headers=later), prompt(parameters=given))[1] is None
    assert server.calls[-1].headers["anthropic-version"] == "2026-10-21"
    assert server.calls[-1].headers["x-team"] == "chat"
    assert not server.calls[-1].body.keys() & given.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_key_is_in_no_error(servers: dict[str, FakeServer], kind: str) -> None:
    _, error = ask(connect(servers[kind], kind, api_key="wrong-key-8f2b1c77"), prompt())
    assert error is not None
    assert (error.code, error.retryable) == ("upstream_unauthorized", False)
    assert "8f2b1c77" not in error.message
    assert not error.charged


@pytest.mark.parametrize("kind", KINDS)
def test_a_later_retry_is_named_by_the_upstream(servers: dict[str, FakeServer], kind: str) -> None:
    _, error = ask(connect(servers[kind], kind), prompt(status=429, retry_after=7))
    assert error is not None
    assert (error.code, error.retry_after, error.upstream_status) == ("upstream_rate_limited", 7, 429)
    _, error = ask(connect(servers["gemini"], "gemini"), prompt(status=429))
    assert error is not None
    assert error.retry_after == 1.5  # in the body


@pytest.mark.parametrize(
    ("kind", "fake", "code"),
    [
        ("anthropic", {"status": 402, "error_message": "Your credit balance is too low."}, "upstream_quota"),
        ("anthropic", {"status": 400, "error_message": "prompt is too long: 210000 > 200000"}, "context_length"),
        ("anthropic", {"status": 413, "error_message": "Request exceeds the maximum size"}, "upstream_rejected"),
        ("anthropic", {"status": 529}, "upstream_unavailable"),
        ("anthropic", {"status": 504}, "upstream_timeout"),
        (
            "gemini",
            {
                "status": 400,
                "error_message": "The input token count (9) exceeds the maximum number of tokens.",
            },
            "context_length",
        ),
        ("gemini", {"status": 503}, "upstream_unavailable"),
        ("gemini", {"status": 504}, "upstream_timeout"),
        ("gemini", {"status": 404}, "upstream_rejected"),
    ],
)
def test_the_codes_of_refusals(servers: dict[str, FakeServer], kind: str, fake: Any, code: str) -> None:
    _, error = ask(connect(servers[kind], kind), prompt(**fake))
    assert error is not None
    assert (error.code, error.upstream_status) == (code, fake["status"])
    assert error.retryable == (fake["status"] >= 500)


def test_a_refusal_is_learned_once(servers: dict[str, FakeServer]) -> None:
    server, learned = servers["anthropic"], Learned()

    def calls(asked: Prompt, **fields: Any) -> int:
        before = len(server.calls)
        pieces, error = ask(connect(server, "anthropic", learned, **fields), asked)
        assert error is None, error
        assert text_of(pieces)
        return len(server.calls) - before

    assert [calls(prompt("small")), calls(prompt("small"))] == [2, 1]
    assert server.calls[-1].body["max_tokens"] == 4096
    thinks = {"reasoning_effort": "low"}
    assert [calls(prompt("manual-fake", parameters=thinks)) for _ in range(2)] == [2, 1]
    assert server.calls[-1].body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert [calls(prompt("fake", "k0.0 k0.1 "), continuation="prefill") for _ in range(2)] == [2, 1]
    assert calls(prompt("old-fake", "k0.0 k0.1 "), continuation="prefill") == 1
    assert server.calls[-1].body["messages"][-1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "k0.0 k0.1"}],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_goes_on_with_its_next_character(servers: dict[str, FakeServer], kind: str) -> None:
    prefix = "k0.0 k0.1 k0.2 k0.3 "
    pieces, error = ask(connect(servers[kind], kind), prompt(prefix=prefix, tokens=6))
    number = servers[kind].calls[-1].number
    assert (error, text_of(pieces)) == (None, f"k{number}.4 k{number}.5 ")
    repeating, _ = ask(connect(servers[kind], kind), prompt(prefix=prefix, text="k0.1 k0.2 k0.3 and more"))
    assert text_of(repeating) == "and more"
    with pytest.raises(ValueError, match="cannot continue"):
        ask(connect(servers[kind], kind, continuation="none"), prompt(prefix=prefix))


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_that_answer_are_listed(servers: dict[str, FakeServer], kind: str) -> None:
    provider: Any = connect(servers[kind], kind)

    async def names() -> tuple[str, ...]:
        try:
            return model_names(await provider.list_models(100_000))
        finally:
            await provider.close()

    found = asyncio.run(names())
    assert found[0] == "fake"
    assert "embedding-fake" not in found


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_a_kind_cannot_have_are_refused(servers: dict[str, FakeServer], kind: str) -> None:
    for wrong in ({"continuation": "vllm"}, {"api_key": "ключ"}):
        with pytest.raises(ValueError, match=f"{kind}|ASCII"):
            connect(servers[kind], kind, **wrong)
