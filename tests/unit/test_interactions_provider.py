"""The provider of Gemini's background runs against a real server that keeps them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.domain.upstreams import Upstream
from tests.fakes.interactions import FakeInteractions
from tests.fakes.responses import Run
from tests.unit.test_responses_provider import Said, ask
from worker.limits import Limits
from worker.providers.base import Finished, KnownRun, Piece, Prompt, ProviderError, Text, Thought, ToolDelta, Usage
from worker.providers.gemini.interactions import Interactions


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeInteractions]:
    with FakeInteractions() as server:
        yield server


def call(upstream: FakeInteractions, prompt: Prompt, known: KnownRun | None = None) -> Said:
    said = Said()

    def emit(pieces: list[Piece]) -> None:
        said.pieces += [piece for piece in pieces if isinstance(piece, (Text, Thought, ToolDelta, Finished))]

    async def began(run_id: str) -> None:
        said.began.append((run_id, len(said.pieces)))

    async def main() -> None:
        provider = Interactions(Upstream("g", "gemini", upstream.base_url, api_key="k" * 30), Limits())
        try:
            await provider.run(prompt, emit, began, known, "key")
        except ProviderError as error:
            said.error = error
        await provider.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    return said


def run_of(upstream: FakeInteractions, prompt: Prompt) -> Run:
    found = upstream.of(json.dumps(prompt.messages[-1].content)[1:-1])
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("place", [0, 7, 30])
@pytest.mark.parametrize("fault", ["cut_after", "end_after", "junk_after"])
def test_a_lost_connection_goes_on_behind_the_last_event(upstream: FakeInteractions, fault: str, place: int) -> None:
    prompt = ask(**{fault: place})
    said = call(upstream, prompt)
    run = run_of(upstream, prompt)
    assert said.began == [(run.id, 0)]  # before any piece
    assert said.error is None
    assert said.text == run.said
    assert said.finished == Finished("stop", Usage(11, 30, 0, 3))
    first = upstream.reads(run)[0].query
    assert first["stream"] == "true"
    assert first["last_event_id"] in [event["event_id"] for event in run.events]
    assert {name: run.body[name] for name in ("background", "store", "stream")} == dict.fromkeys(
        ("background", "store", "stream"), True
    )


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize("seen", [(0, 0), (10**6, 0), (10**6, 40), (10**6, 10**6)])
def test_of_a_known_run_only_the_unseen_text_comes(
    upstream: FakeInteractions, seen: tuple[int, int], numbers: bool
) -> None:
    prompt = ask(reasoning=5, numbers=numbers, cut_after=9)
    whole = call(upstream, prompt)
    run = run_of(upstream, prompt)
    known = KnownRun(run.id, run.said[: seen[1]], whole.reasoning[: seen[0]])
    said = call(upstream, prompt, known)
    assert whole.text == known.text + said.text == run.said
    assert known.reasoning + said.reasoning == whole.reasoning
    assert said.finished == whole.finished == Finished("stop", Usage(11, 35, 5, 3))
    run_of(upstream, prompt)


@pytest.mark.parametrize("course", [{"no_stream": True}, {"refuse_reads": 2}, {"numbers": False}, {"bare_end": True}])
def test_upstreams_that_keep_runs_in_other_ways(upstream: FakeInteractions, course: dict[str, Any]) -> None:
    prompt = ask(cut_after=9, **course)
    said = call(upstream, prompt)
    assert said.text == run_of(upstream, prompt).said
    assert said.finished == Finished("stop", Usage(11, 30, 0, 3))


def test_a_run_that_is_gone_or_says_something_else_is_no_run_of_ours(upstream: FakeInteractions) -> None:
    prompt = ask()
    call(upstream, prompt)
    run = run_of(upstream, prompt)
    for known in (
        KnownRun(run.id, run.said[:20] + "x", ""),
        KnownRun(run.id, run.said + "more", ""),
        KnownRun(run.id, "", "a thought"),
        KnownRun("v1_unknown", "", ""),
    ):
        said = call(upstream, prompt, known)
        assert said.error is not None
        assert (said.error.code, said.error.retryable) == ("upstream_run_gone", True)
        assert said.text == ""


@pytest.mark.parametrize(
    ("error_code", "code", "retryable"),
    [
        ("internal_failure", "upstream_error", True),
        ("https://example.org/errors/resource_exhausted", "upstream_rate_limited", True),
        ("permission_denied", "upstream_unauthorized", False),
    ],
)
def test_a_run_that_fails(upstream: FakeInteractions, error_code: str, code: str, retryable: bool) -> None:
    said = call(upstream, ask(fail_after=5, error_code=error_code))
    assert said.error is not None
    assert (said.error.code, said.error.retryable) == (code, retryable)
    assert said.error.usage == Usage(11, 5, 0, 3)
    assert len(said.text.split()) == 5


@pytest.mark.parametrize("cut", [{}, {"cut_after": 30}, {"no_stream": True, "cut_after": 12}])
def test_calls_come_whole_with_the_thoughts_before_them(upstream: FakeInteractions, cut: dict[str, Any]) -> None:
    prompt = ask(reasoning=2, calls=[{"name": "f", "arguments": {"x": 1}}, {"name": "g"}], **cut)
    said = call(upstream, prompt)
    run = run_of(upstream, prompt)
    calls: dict[int, list[Any]] = {}
    for piece in said.pieces:
        if isinstance(piece, ToolDelta):
            known = calls.setdefault(piece.index, ["", "", "", None])
            known[0], known[1] = known[0] or piece.call_id, known[1] or piece.name
            known[2], known[3] = known[2] + piece.arguments, piece.extra or known[3]
    names = [f"call_{run.number}_{number}" for number in range(2)]
    assert [(call_id, name, json.loads(arguments), extra) for call_id, name, arguments, extra in calls.values()] == [
        (names[0], "f", {"x": 1}, {"gemini": {"id": names[0], "thoughts": [run.output[0]]}}),
        (names[1], "g", {}, {"gemini": {"id": names[1]}}),
    ]
    assert said.finished is not None
    assert said.finished.finish_reason == "tool_calls"


def test_a_call_that_nobody_comes_back_to_is_not_stored(upstream: FakeInteractions) -> None:
    pieces: list[Piece] = []

    async def main() -> None:
        provider = Interactions(Upstream("g", "gemini", f"{upstream.base_url}/v1beta"), Limits())
        await provider.stream(prompt, lambda read: pieces.extend(read))
        assert b'"fake"' in await provider.list_models(10_000)
        await provider.close()

    prompt = ask()
    asyncio.run(asyncio.wait_for(main(), 60))
    run = run_of(upstream, prompt)
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)) == run.said
    assert (run.body["background"], run.body["store"]) == (False, False)
    assert isinstance(pieces[-1], Finished)
