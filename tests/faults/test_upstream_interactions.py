"""Answers of Gemini's Interactions: whatever happens here, the upstream has one run and its text is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.domain.models import ModelSpec
from app.domain.transcript import Transcript
from tests.fakes.interactions import FakeInteractions
from tests.faults.test_upstream_runs import CALL, LEASE, _speaks, ask, check, run_of
from tests.stack import Stack, Worker, until


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeInteractions]:
    with FakeInteractions() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_held(upstream: FakeInteractions) -> Iterator[None]:
    """A test that failed while runs were held leaves none behind."""
    yield
    upstream.go_on()


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Any, upstream: FakeInteractions
) -> Iterator[Stack]:
    named = {"KIND": "gemini", "BASE_URL": upstream.base_url, "API_KEY": "k" * 30, "BACKGROUND": 1}
    settings = {f"UPSTREAM_GOOGLE_{name}": value for name, value in named.items()}
    directory = tmp_path_factory.mktemp("stack")
    deployment = Stack(
        directory, module_database_url, valkey.url(), UPSTREAMS="google", LEASE_SECONDS=LEASE, HEARTBEAT_SECONDS=0.5,
        **settings,
    )  # fmt: skip
    for name, tools in (("plain", []), ("counts", ["word_count"])):
        spec = ModelSpec(provider="google", upstream_name="fake", tools=tools)
        deployment.resources.model_admin.put(name, spec)
    yield deployment
    deployment.stop()


@pytest.fixture(scope="module")
def crew(stack: Stack) -> Callable[[], Worker]:
    """A worker that is alive. One that is started takes seconds: tests share it."""
    started: list[Worker] = []

    def alive() -> Worker:
        if not (started and started[-1].alive):
            started.extend(stack.workers(1))
        return started[-1]

    return alive


# The course of a run, and how many of its tokens there are when its worker is killed.
PHASES = {
    "in the thoughts": ({"reasoning": 60, "rate": 20}, 0),
    "in the middle": ({"rate": 20}, 15),
    "behind the last token": ({"rate": 300}, 90),
}


def test_the_worker_that_takes_over_goes_on_with_the_run(
    stack: Stack, upstream: FakeInteractions, crew: Callable[[], Worker]
) -> None:
    crew()
    # No run ends before the worker is killed, however long the phases are waited for.
    upstream.hold()
    asked = {name: ask(stack, model="plain", **course) for name, (course, _) in PHASES.items()}
    with_tools = ask(stack, model="counts", rate=20, tokens=40, reasoning=2, calls=[CALL])
    gone = ask(stack, model="plain", rate=20)
    for name, (generation, words) in asked.items():
        _speaks(stack, upstream, generation, words, PHASES[name][1])
    _speaks(stack, upstream, *with_tools, 8, runs=2)
    _speaks(stack, upstream, *gone, 8)
    upstream.forget(upstream.of(gone[1])[0])
    shown = {generation: Transcript.of(stack.log(generation)) for generation, _ in (*asked.values(), with_tools)}
    crew().kill()
    upstream.go_on()
    crew()
    for generation, words in asked.values():
        row, run = stack.finished(generation), run_of(upstream, words)
        said = check(stack, row, run)
        assert said.text.startswith(shown[generation].text)
        assert said.reasoning.startswith(shown[generation].reasoning)
        assert [(made["outcome"], made["run"]) for made in row.attempts] == [("finished", run.id)]
        assert row.usage == row.attempts[0]["usage"]
        assert row.epoch == 2
        assert upstream.reads(run)
        assert not upstream.cancels(run)
    _check_tools(stack, upstream, *with_tools)
    row = stack.finished(gone[0])
    assert row.status == "completed"
    assert [made["outcome"] for made in row.attempts] == ["upstream_run_gone", "finished"]


def _check_tools(stack: Stack, upstream: FakeInteractions, generation: str, words: str) -> None:
    """Killed in its second run, the answer goes on with that; the thought before the call has gone back unchanged."""
    row, runs = stack.finished(generation), upstream.of(words)
    assert len(runs) == 2
    said = check(stack, row, *runs)
    assert [tool.state for tool in said.tools.values()] == ["finished"]
    assert [made["outcome"] for made in row.attempts] == ["lost", "finished"]
    steps = runs[1].body["input"]
    assert [step["type"] for step in steps] == [
        "user_input", "thought", "model_output", "function_call", "function_result",
    ]  # fmt: skip
    assert steps[1:4] == runs[0].output
    assert steps[4]["call_id"] == steps[3]["id"]


def test_lost_connections_and_cancels(stack: Stack, upstream: FakeInteractions, crew: Callable[[], Worker]) -> None:
    crew()
    asked = [ask(stack, model="plain", **{fault: 30}) for fault in ("cut_after", "end_after", "junk_after")]
    left, words = ask(stack, model="plain", rate=10)
    _speaks(stack, upstream, left, words, 5)
    assert stack.resources.generations.cancel(stack.user, left).row.status == "cancelled"
    cancelled = run_of(upstream, words)
    until(lambda: cancelled.status == "cancelled", what="the cancel upstream")
    for generation, said in asked:
        row, run = stack.finished(generation), run_of(upstream, said)
        check(stack, row, run)
        assert (row.epoch, len(row.attempts)) == (1, 1)
        first = upstream.reads(run)[0].query["last_event_id"]
        assert first in [event["event_id"] for event in run.events]
        assert first != run.events[0]["event_id"]
