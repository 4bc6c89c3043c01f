"""The provider of background runs against a real server that keeps them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.domain.upstreams import Upstream
from tests.fakes.raw_server import RawServer, document, saying
from tests.fakes.responses import FakeResponses, Run
from tests.unit.test_responses_run import events_of, sse
from worker.limits import Limits
from worker.providers.base import (
    ChatMessage,
    Finished,
    KnownRun,
    Piece,
    Prompt,
    ProviderError,
    RunKeeper,
    Text,
    Thought,
    ToolDelta,
    Usage,
)
from worker.providers.registry import Providers, UnknownKind
from worker.providers.responses.provider import OpenAIResponses

FAST = {"rate": 2000, "tokens": 30}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeResponses]:
    with FakeResponses() as server:
        yield server


@dataclass
class Said:
    """The pieces that a call has emitted; ``began`` are the ids of runs, with the number of pieces before each."""

    pieces: list[Piece] = field(default_factory=list)
    began: list[tuple[str, int]] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Text))

    @property
    def reasoning(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Thought))

    @property
    def finished(self) -> Finished | None:
        return self.pieces[-1] if self.pieces and isinstance(self.pieces[-1], Finished) else None


_number = iter(range(10**6))


def ask(**course: Any) -> Prompt:
    said = json.dumps({"fake": {**FAST, "nr": next(_number), **course}})
    return Prompt("fake", (ChatMessage("user", said),))


def call(upstream: FakeResponses, prompt: Prompt, known: KnownRun | None = None, **more: Any) -> Said:
    """Call the provider until the reply has ended. ``cancel_after``: cancel the call behind so many tokens."""
    said = Said()

    async def main() -> None:
        address = upstream if isinstance(upstream, str) else upstream.base_url
        provider = OpenAIResponses(Upstream("openai", "openai", address, continuation="none"), Limits())
        enough = asyncio.Event()

        def emit(pieces: list[Piece]) -> None:
            said.pieces += [piece for piece in pieces if isinstance(piece, (Text, Thought, ToolDelta, Finished))]
            if more.get("cancel_after") and len(said.pieces) >= more["cancel_after"]:
                enough.set()

        async def began(run_id: str) -> None:
            await asyncio.sleep(0.02)
            said.began.append((run_id, len(said.pieces)))

        calling = asyncio.ensure_future(provider.run(prompt, emit, began, known, more.get("key", "key")))
        if more.get("cancel_after"):
            await enough.wait()
            calling.cancel()
        try:
            await calling
        except ProviderError as error:
            said.error = error
        except asyncio.CancelledError:
            pass
        await provider.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    return said


def run_of(upstream: FakeResponses, prompt: Prompt) -> Run:
    found = upstream.of(json.dumps(prompt.messages[-1].content)[1:-1])
    assert len(found) == 1
    return found[0]


def test_a_run_is_begun_stored_and_read_to_its_end(upstream: FakeResponses) -> None:
    prompt = ask()
    said = call(upstream, prompt)
    run = run_of(upstream, prompt)
    assert said.began == [(run.id, 0)]  # before any piece
    assert said.text == run.said
    assert said.text.endswith(".29 ")
    assert said.finished == Finished("stop", Usage(11, 30, 0, 3))
    assert {name: run.body[name] for name in ("background", "store", "stream")} == dict.fromkeys(
        ("background", "store", "stream"), True
    )
    assert upstream.reads(run) == []


def test_a_run_that_comes_in_one_read_is_stored_before_any_of_it_is_passed_on() -> None:
    body = sse(events_of([("message", [["a", "b"]])]))
    with RawServer(saying(document(body, b"Content-Type: text/event-stream"))) as server:
        said = call(server.origin, ask())
    assert said.began == [("resp_1", 0)]
    assert (said.text, len(server.requests)) == ("ab", 1)


def test_background_mode_is_of_the_kinds_that_keep_runs(upstream: FakeResponses) -> None:
    for kind in ("openai", "gemini"):
        providers = Providers([Upstream("one", kind, upstream.base_url, background=True)])
        assert isinstance(providers.get("one"), RunKeeper)
        # A model with a continuation of its own stays in background mode.
        assert isinstance(providers.get("one", "none"), RunKeeper)
    with pytest.raises(UnknownKind, match=r"The upstream two has the kind .* UPSTREAM_<NAME>_BACKGROUND=1"):
        Providers([Upstream("two", "anthropic", upstream.base_url, background=True)])


@pytest.mark.parametrize("place", [0, 1, 7, 29, 30])
@pytest.mark.parametrize("fault", ["cut_after", "end_after", "junk_after"])
def test_a_lost_connection_is_made_again_and_costs_no_run(upstream: FakeResponses, fault: str, place: int) -> None:
    prompt = ask(**{fault: place})
    said = call(upstream, prompt)
    run = run_of(upstream, prompt)
    assert said.error is None
    assert said.text == run.said
    assert said.finished is not None
    first = upstream.reads(run)[0].query
    assert first["stream"] == "true"
    assert int(first["starting_after"]) >= 0


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize("seen", [(0, 0), (1, 0), (10**6, 0), (10**6, 1), (10**6, 40), (10**6, 10**6)])
def test_of_a_known_run_only_the_unseen_text_comes(
    upstream: FakeResponses, seen: tuple[int, int], numbers: bool
) -> None:
    prompt = ask(reasoning=5, numbers=numbers)
    whole = call(upstream, prompt)
    run = run_of(upstream, prompt)
    known = KnownRun(run.id, run.said[: seen[1]], whole.reasoning[: seen[0]])
    said = call(upstream, prompt, known)
    assert known.text + said.text == run.said
    assert known.reasoning + said.reasoning == whole.reasoning
    assert said.finished == whole.finished
    assert said.began == []
    assert len(upstream.of(json.dumps(prompt.messages[-1].content)[1:-1])) == 1


def test_a_run_that_is_left_goes_on_and_is_read_on(upstream: FakeResponses) -> None:
    prompt = ask(rate=200)
    first = call(upstream, prompt, cancel_after=8)
    run = run_of(upstream, prompt)
    assert first.text
    assert not upstream.cancels(run)
    second = call(upstream, prompt, KnownRun(run.id, first.text, ""))
    assert first.text + second.text == run.said
    assert len(run_of(upstream, prompt).events) > 30


@pytest.mark.parametrize("course", [{"no_stream": True}, {"refuse_reads": 2}, {"numbers": False}, {"bare_end": True}])
def test_upstreams_that_keep_runs_in_other_ways(upstream: FakeResponses, course: dict[str, Any]) -> None:
    prompt = ask(cut_after=9, **course)
    said = call(upstream, prompt)
    assert said.text == run_of(upstream, prompt).said
    assert said.finished == Finished("stop", Usage(11, 30, 0, 3))


def test_a_run_that_is_gone_or_says_something_else_is_no_run_of_ours(upstream: FakeResponses) -> None:
    prompt = ask()
    call(upstream, prompt)
    run = run_of(upstream, prompt)
    for known in (
        KnownRun(run.id, run.said[:20] + "x", ""),
        KnownRun(run.id, run.said + "more", ""),
        KnownRun(run.id, "", "a thought"),
        KnownRun(run.id, run.said, "a thought"),
        KnownRun("resp_unknown", "", ""),
    ):
        said = call(upstream, prompt, known)
        assert said.error is not None
        assert (said.error.code, said.error.retryable) == ("upstream_run_gone", True)
        assert said.text == ""


@pytest.mark.parametrize(
    ("course", "code", "retryable"),
    [
        ({"fail_after": 5}, "upstream_error", True),
        ({"fail_after": 5, "error_code": "invalid_prompt"}, "upstream_error", False),
    ],
)
def test_a_run_that_fails(upstream: FakeResponses, course: dict[str, Any], code: str, retryable: bool) -> None:
    said = call(upstream, ask(**course))
    assert said.error is not None
    assert (said.error.code, said.error.retryable) == (code, retryable)
    assert said.error.usage == Usage(11, 5, 0, 3)
    assert len(said.text.split()) == 5


@pytest.mark.parametrize(("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
def test_a_run_that_ends_early(upstream: FakeResponses, reason: str, finish: str) -> None:
    said = call(upstream, ask(incomplete=reason))
    assert said.finished is not None
    assert said.finished.finish_reason == finish


@pytest.mark.parametrize("seen", [None, 0, 25])
def test_calls_come_whole_with_the_reasoning_before_them(upstream: FakeResponses, seen: int | None) -> None:
    prompt = ask(reasoning=2, calls=[{"name": "f", "arguments": {"x": 1}}, {"name": "g"}], cut_after=30)
    whole = said = call(upstream, prompt)
    run = run_of(upstream, prompt)
    if seen is not None:
        said = call(upstream, prompt, KnownRun(run.id, run.said[:seen], whole.reasoning))
    calls: dict[int, list[Any]] = {}
    for piece in said.pieces:
        if isinstance(piece, ToolDelta):
            call_ = calls.setdefault(piece.index, [None, None, "", None])
            calls[piece.index] = [
                piece.call_id or call_[0], piece.name or call_[1], call_[2] + piece.arguments, piece.extra or call_[3],
            ]  # fmt: skip
    reasoning = {key: value for key, value in run.output[0].items() if key != "status"}
    assert list(calls.values()) == [
        [f"call_{run.number}_0", "f", '{"x": 1}', {"openai": {"reasoning": [reasoning]}}],
        [f"call_{run.number}_1", "g", "{}", None],
    ]
    assert said.finished is not None
    assert said.finished.finish_reason == "tool_calls"


def test_an_upstream_that_honours_keys_begins_one_run_for_a_key(upstream: FakeResponses) -> None:
    prompt = ask(honours_key=True)
    first, second = (call(upstream, prompt, key="k") for _ in range(2))
    assert first.text == second.text
    assert run_of(upstream, prompt).posts == 2
