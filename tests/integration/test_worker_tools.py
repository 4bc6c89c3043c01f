"""A real worker runs the tools that a model calls: each call once, also when the worker is lost meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.events import Mark, Token, Tool, decode
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.factories import insert, owner
from tests.fakes.upstream import Call, FakeUpstream
from tests.stack import Stack, Worker, until
from worker.toolbox import MOST_ROUNDS, TOO_MANY, UNCONFIRMED

# A tool of a foreign package: it records its run, and waits until the test releases it.
PACKAGE = '''
import pathlib, time

def patient(directory: str, wait: bool = True) -> str:
    """Wait to be let go."""
    with open(pathlib.Path(directory, "runs"), "a") as runs:
        runs.write("run\\n")
    while wait and not pathlib.Path(directory, "go").exists():
        time.sleep(0.02)
    return "let go"
'''
NUMBERS = iter(range(10**6))


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Stack]:
    with owner(module_database_url) as cursor:
        tools = ["calculator", "word_count", "patient"]
        insert(cursor, "models", {"name": "able", "provider": "openai", "upstream_name": "fake", "tools": tools})
    directory = tmp_path_factory.mktemp("tools")
    package = directory / "package"
    information = package / "patient-1.0.dist-info"
    information.mkdir(parents=True)
    (package / "patient.py").write_text(PACKAGE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: patient\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[unbroken.tools]\npatient = patient:patient\n")
    stack = Stack(directory, module_database_url, valkey.url(), OPENAI_BASE_URL=upstream.base_url)
    stack.variables["PYTHONPATH"] = str(package)
    yield stack
    stack.stop()


@pytest.fixture
def worker(stack: Stack) -> Iterator[Worker]:
    worker = stack.worker(5)
    yield worker
    worker.kill()


def ask(stack: Stack, tool: str, arguments: dict[str, Any], **behaviour: Any) -> str:
    """Start an answer whose upstream calls a tool. Returns the generation's id."""
    wish = {"key": next(NUMBERS), "tokens": 3, "rate": 0, "tool_rounds": 1, **behaviour}
    wish["tool_call"] = {"name": tool, "arguments": arguments}
    return stack.start(json.dumps({"fake": wish}), model="able").generation.id


def calls_of(stack: Stack, upstream: FakeUpstream, row: Generation) -> list[Call]:
    asked = stack.resources.conversations.messages(stack.user, row.conversation_id, 0, 1).items[0].content
    return [call for call in upstream.calls if any(m.get("content") == asked for m in call.body["messages"])]


def told(call: Call) -> list[str]:
    """The results of tools that a call of the upstream contained."""
    return [message["content"] for message in call.body["messages"] if message["role"] == "tool"]


def tool_events(stack: Stack, row: Generation) -> list[tuple[str, str | None]]:
    events = [decode(entry.payload) for entry in stack.read(row.id)]
    return [(event.state, event.result) for event in events if isinstance(event, Tool)]


def runs(directory: Path) -> int:
    path = directory / "runs"
    return path.read_text().count("run") if path.exists() else 0


def test_a_call_is_run_and_its_result_leads_to_the_rest_of_the_answer(
    stack: Stack, upstream: FakeUpstream, worker: Worker
):
    row = stack.finished(ask(stack, "calculator", {"expression": "12*7"}), 60)
    first, second = calls_of(stack, upstream, row)
    assert (row.status, row.finish_reason) == ("completed", "stop")
    assert {tool["function"]["name"] for tool in first.body["tools"]} == {"calculator", "word_count", "patient"}
    assert told(first) == []
    assert told(second) == ["84"]
    assert second.body["messages"][-2]["tool_calls"][0]["function"]["name"] == "calculator"
    assert second.body["messages"][-2]["content"] == first.text
    events = [type(decode(entry.payload)) for entry in stack.read(row.id)]
    assert events.count(Mark) == 1
    assert events.index(Tool) < len(events) - 1 - events[::-1].index(Token)
    assert tool_events(stack, row) == [("started", None), ("finished", "84")]
    said = stack.resources.conversations.messages(stack.user, row.conversation_id, 1, 1).items[0]
    assert said.content == first.text + second.text
    assert [(tool["tool"], tool["state"], tool["result"]) for tool in said.tools] == [("calculator", "finished", "84")]
    assert [attempt["outcome"] for attempt in row.attempts] == ["finished", "finished"]
    assert row.usage is not None
    assert row.usage["output_tokens"] == 6
    # The next call of the model contains the tool's result.
    more = stack.start(json.dumps({"fake": {"tokens": 1}}), model="able", conversation_id=row.conversation_id)
    stack.finished(more.generation.id, 60)
    assert told(upstream.calls[-1]) == ["84"]


def test_wrong_arguments_are_told_to_the_model(stack: Stack, upstream: FakeUpstream, worker: Worker):
    row = stack.finished(ask(stack, "calculator", {"sum": "12*7"}), 60)
    assert row.status == "completed"
    [result] = told(calls_of(stack, upstream, row)[1])
    assert result.startswith("The arguments are wrong.")
    assert [state for state, _ in tool_events(stack, row)] == ["started", "failed"]


def test_a_model_that_calls_without_end_is_brought_to_one(stack: Stack, upstream: FakeUpstream, worker: Worker):
    row = stack.finished(ask(stack, "calculator", {"expression": "1+1"}, tool_rounds=None), 90)
    calls = calls_of(stack, upstream, row)
    assert row.status == "completed"
    assert len(calls) == MOST_ROUNDS + 1
    assert [call.body.get("tool_choice") for call in calls] == [None] * MOST_ROUNDS + ["none"]
    results = [result for state, result in tool_events(stack, row) if state != "started"]
    assert results == ["2"] * MOST_ROUNDS + [TOO_MANY]
    assert len({tool["call_id"] for tool in stack.transcript(row.id).tool_views()}) == MOST_ROUNDS + 1


def test_a_worker_killed_in_a_call_leaves_it_unconfirmed_and_never_repeated(
    stack: Stack, upstream: FakeUpstream, worker: Worker, tmp_path: Path
):
    generation_id = ask(stack, "patient", {"directory": str(tmp_path)})
    until(lambda: runs(tmp_path), 60, "the tool's run")
    worker.kill()
    (tmp_path / "go").touch()
    other = stack.worker(5)
    row = stack.finished(generation_id, 60)
    other.kill()
    assert (row.status, runs(tmp_path)) == ("completed", 1)
    assert row.epoch > 1
    assert told(calls_of(stack, upstream, row)[-1]) == [UNCONFIRMED]
    views = stack.transcript(row.id).tool_views()
    assert [(view["tool"], view["state"], view["result"]) for view in views] == [("patient", "failed", UNCONFIRMED)]


def test_a_worker_killed_before_the_next_call_leaves_a_result_that_is_replayed(
    stack: Stack, upstream: FakeUpstream, worker: Worker, tmp_path: Path
):
    arguments = {"directory": str(tmp_path), "wait": False}
    generation_id = ask(stack, "patient", arguments, first_delay=6)
    until(lambda: runs(tmp_path), 60, "the tool's run")
    row = stack.generation(generation_id)
    until(lambda: len(calls_of(stack, upstream, row)) == 2, 60, "the call with the result")
    worker.kill()
    other = stack.worker(5)
    row = stack.finished(generation_id, 60)
    other.kill()
    calls = calls_of(stack, upstream, row)
    assert (row.status, runs(tmp_path), len(calls)) == ("completed", 1, 3)
    assert told(calls[1]) == told(calls[2]) == ["let go"]
    assert calls[1].body["messages"] == calls[2].body["messages"]
    assert stack.transcript(row.id).text == calls[0].text + calls[2].text


def test_the_built_in_model_shows_a_call_without_any_provider(stack: Stack, worker: Worker):
    started = stack.start("Please calculate 12*7", model="offline-tools", parameters={"tokens": 20, "rate": 0})
    row = stack.finished(started.generation.id, 60)
    assert tool_events(stack, row) == [("started", None), ("finished", "84")]
    assert stack.transcript(row.id).text.startswith("**calculator** says: `84`")
