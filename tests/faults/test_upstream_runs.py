"""Answers of an upstream that keeps its runs: whatever happens here, the upstream has one run and its text is shown."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.domain.events import Snapshot, decode
from app.domain.models import ModelSpec
from app.domain.transcript import Transcript
from app.store.database import fetch_one
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.fakes.responses import FakeResponses, Run
from tests.stack import Stack, Worker, until

# A busy machine may stop a worker for seconds; a lease that ends meanwhile would be a takeover of its own.
LEASE = 6


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeResponses]:
    with FakeResponses() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_held(upstream: FakeResponses) -> Iterator[None]:
    """A test that failed while runs were held leaves none behind."""
    yield
    upstream.go_on()


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of this module's own, which its tests empty."""
    server = Valkey(tmp_path_factory.mktemp("own-valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, own_valkey: Valkey, upstream: FakeResponses
) -> Iterator[Stack]:
    settings = {"OPENAI_BASE_URL": upstream.base_url, "UPSTREAM_OPENAI_BACKGROUND": 1, "LEASE_SECONDS": LEASE}
    directory = tmp_path_factory.mktemp("stack")
    deployment = Stack(directory, module_database_url, own_valkey.url(), HEARTBEAT_SECONDS=0.5, **settings)
    deployment.resources.model_admin.put(
        "counts", ModelSpec(provider="openai", upstream_name="fake", tools=["word_count"])
    )
    yield deployment
    deployment.stop()


@pytest.fixture(scope="module")
def crew(stack: Stack) -> Callable[[int], list[Worker]]:
    """So many workers that are alive. A worker that is started takes seconds: tests share them."""
    started: list[Worker] = []

    def alive(count: int) -> list[Worker]:
        found = [worker for worker in started if worker.alive]
        started.extend(stack.workers(count - len(found)) if count > len(found) else [])
        return [worker for worker in started if worker.alive]

    return alive


_number = iter(range(10**6))


def ask(stack: Stack, model: str = "fake", **course: Any) -> tuple[str, str]:
    """Send a message. The id of the generation, and the words that the upstream finds its runs by."""
    words = json.dumps({"fake": {"nr": next(_number), "rate": 60, "tokens": 90, **course}})
    return stack.start(words, model=model).generation.id, json.dumps(words)[1:-1]


def run_of(upstream: FakeResponses, words: str) -> Run:
    runs = upstream.of(words)
    assert len(runs) == 1, "the upstream was paid once"
    return runs[0]


def holder(stack: Stack, generation_id: str, workers: list[Worker]) -> Worker:
    def found() -> Worker | None:
        row = _row(stack, generation_id)
        return next((worker for worker in workers if worker.name == row.worker), None)

    return until(found, what="a claim")  # type: ignore[return-value]


def _row(stack: Stack, generation_id: str) -> Any:
    with stack.resources.database.system() as tx:
        return fetch_one(tx, "SELECT worker, upstream_run FROM generations WHERE id = :id", id=generation_id)


def _speaks(stack: Stack, upstream: FakeResponses, generation_id: str, words: str, tokens: int, runs: int = 1) -> None:
    """Wait until a generation's last run has so many tokens, and is stored."""

    def condition() -> bool:
        found = upstream.of(words)
        return len(found) == runs and found[-1].tokens >= tokens and _is_stored(stack, generation_id, found[-1])

    until(condition, what="the phase")


def _is_stored(stack: Stack, generation_id: str, run: Run) -> bool:
    return bool((known := _row(stack, generation_id).upstream_run) and known["run_id"] == run.id)


def check(stack: Stack, row: Generation, *runs: Run) -> Transcript:
    """Assert that the answer is the runs' text, in every store and for a reader."""
    entries = stack.read(row.id)
    assert entries == stack.archive(row.id)
    folded = Transcript.of(entries)
    message = stack.resources.conversations.messages(stack.user, row.conversation_id, 1, 1).items[0]
    assert row.status == "completed"
    assert folded.text == message.content == "".join(run.said for run in runs)
    assert folded.done is not None
    assert folded.done.sha256 == row.sha256
    return folded


# The course of a run, and how many of its tokens there are when its worker is killed.
PHASES = {
    "before the first token": ({"first_delay": 8.0}, 0),
    "in the reasoning": ({"reasoning": 100, "rate": 15}, 0),
    "in the middle": ({"rate": 12}, 15),
    "behind the last token": ({"rate": 300}, 90),
}
CALL = {"name": "word_count", "arguments": {"text": "one two"}}


@pytest.mark.parametrize("redis_is_lost", [False, True], ids=["redis kept", "redis lost"])
def test_the_worker_that_takes_over_goes_on_with_the_run(
    stack: Stack, upstream: FakeResponses, crew: Callable[[int], list[Worker]], redis_is_lost: bool
) -> None:
    crew(1)
    # No run ends before the worker is killed, however long the phases are waited for.
    upstream.hold()
    asked = {name: ask(stack, **course) for name, (course, _) in PHASES.items()}
    with_tools = ask(stack, model="counts", rate=25, tokens=40, reasoning=2, calls=[CALL])
    gone = ask(stack, rate=12)
    unnamed = ask(stack, honours_key=True, created_held=True)
    for name, (generation, words) in asked.items():
        _speaks(stack, upstream, generation, words, PHASES[name][1])
    _speaks(stack, upstream, *with_tools, 8, runs=2)
    _speaks(stack, upstream, *gone, 8)
    upstream.forget(upstream.of(gone[1])[0])
    until(lambda: upstream.of(unnamed[1]), what="the POST")
    shown = {generation: Transcript.of(stack.log(generation)) for generation, _ in (*asked.values(), with_tools)}
    for worker in crew(1):
        worker.kill()
    upstream.go_on()
    if redis_is_lost:
        stack.resources.redis.flushall()
    crew(1)
    for generation, words in asked.values():
        row, run = stack.finished(generation), run_of(upstream, words)
        said = check(stack, row, run)
        assert said.text.startswith(shown[generation].text)
        assert said.reasoning.startswith(shown[generation].reasoning)
        assert [(made["outcome"], made["run"]) for made in row.attempts] == [("finished", run.id)]
        assert row.usage == row.attempts[0]["usage"]
        assert (row.usage or {})["output_tokens"] == 90
        assert row.epoch == 2
        assert upstream.reads(run)
        assert not upstream.cancels(run)
    _check_tools(stack, upstream, *with_tools)
    _check_gone(stack, upstream, *gone)
    _check_unnamed(stack, upstream, *unnamed)


def _check_tools(stack: Stack, upstream: FakeResponses, generation: str, words: str) -> None:
    """Killed in its second run, the answer goes on with that; the first one, and its call, are not repeated."""
    row = stack.finished(generation)
    runs = upstream.of(words)
    assert len(runs) == 2
    said = check(stack, row, *runs)
    assert [tool.state for tool in said.tools.values()] == ["finished"]
    assert [made["outcome"] for made in row.attempts] == ["lost", "finished"]
    assert [item.get("type", item.get("role")) for item in runs[1].body["input"]] == [
        "user", "reasoning", "assistant", "function_call", "function_call_output",
    ]  # fmt: skip


def _check_gone(stack: Stack, upstream: FakeResponses, generation: str, words: str) -> None:
    """A run that the upstream has deleted is made anew by the policy, and readers keep their text."""
    row = stack.finished(generation)
    assert row.status == "completed"
    assert [made["outcome"] for made in row.attempts] == ["upstream_run_gone", "finished"]
    assert len(upstream.of(words)) == 2
    events = [decode(entry.payload) for entry in stack.read(generation)]
    assert [event.reason for event in events if isinstance(event, Snapshot)] == ["start", "continue", "continue"]


def _check_unnamed(stack: Stack, upstream: FakeResponses, generation: str, words: str) -> None:
    """Killed before the id of its run came, the answer has one run where the upstream honours the key of the POST."""
    row, run = stack.finished(generation), run_of(upstream, words)
    check(stack, row, run)
    assert run.posts == 2
    assert [made["outcome"] for made in row.attempts] == ["lost", "finished"]


def test_a_lost_connection_costs_neither_a_run_nor_a_revision(
    stack: Stack, upstream: FakeResponses, crew: Callable[[int], list[Worker]]
) -> None:
    crew(1)
    asked = [ask(stack, **{fault: 30}) for fault in ("cut_after", "end_after", "junk_after")]
    failing = ask(stack, fail_after=30)
    for generation, words in asked:
        row = stack.finished(generation)
        check(stack, row, run_of(upstream, words))
        assert (row.epoch, len(row.attempts)) == (1, 1)
    assert stack.finished(failing[0]).status == "error"
    assert len(upstream.of(failing[1])) == 2  # a failure that came twice is not tried a third time


def test_a_cancel_ends_the_run_upstream(
    stack: Stack, upstream: FakeResponses, crew: Callable[[int], list[Worker]]
) -> None:
    crew(1)
    generation, words = ask(stack, rate=10)
    _speaks(stack, upstream, generation, words, 5)
    assert stack.resources.generations.cancel(stack.user, generation).row.status == "cancelled"
    run = run_of(upstream, words)
    until(lambda: run.status == "cancelled", what="the cancel upstream")


def test_frozen_and_leaving_workers_leave_the_run_to_their_successors(
    stack: Stack, upstream: FakeResponses, crew: Callable[[int], list[Worker]]
) -> None:
    workers = crew(2)
    # The run ends when the second worker has left, no sooner.
    upstream.hold()
    generation, words = ask(stack, rate=10)
    _speaks(stack, upstream, generation, words, 5)
    frozen = holder(stack, generation, workers)
    frozen.signal(signal.SIGSTOP)
    until(lambda: stack.generation(generation).epoch == 2, what="a takeover")
    frozen.signal(signal.SIGCONT)
    leaving = holder(stack, generation, [worker for worker in workers if worker is not frozen])
    assert leaving.terminate() == 0
    upstream.go_on()
    row = stack.finished(generation)
    run = run_of(upstream, words)
    check(stack, row, run)
    assert row.epoch == 3
    assert [made["outcome"] for made in row.attempts] == ["finished"]
    assert not upstream.cancels(run)
