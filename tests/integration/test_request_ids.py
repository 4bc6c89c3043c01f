"""Every line that a worker writes for an answer carries the id of the request that started it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.commands import StartGeneration
from app.services.generation_start import Started
from dev.valkey import Valkey
from tests.factories import insert, owner
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, Worker, until

# A tool that writes a line of its own from its thread, and fails.
PACKAGE = '''
import structlog

def talkative(word: str) -> str:
    """Log a word and fail."""
    structlog.get_logger().warning("in a tool", action="tool", word=word)
    raise RuntimeError("as it does")
'''
# Lines of these actions are written for each answer below, by its own task or beside it.
BY_EACH = {"claim", "tool", "title", "finish"}


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server that this test empties."""
    server = Valkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stack(tmp_path: Path, database_url: str, own_valkey: Valkey) -> Iterator[Stack]:
    with owner(database_url) as cursor:
        able = {"name": "able", "provider": "openai", "upstream_name": "fake", "tools": ["talkative"]}
        insert(cursor, "models", able)
    package = tmp_path / "package"
    information = package / "talkative-1.0.dist-info"
    information.mkdir(parents=True)
    (package / "talkative.py").write_text(PACKAGE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: talkative\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[unbroken.tools]\ntalkative = talkative:talkative\n")
    with FakeUpstream() as upstream:
        stack = Stack(tmp_path, database_url, own_valkey.url(), OPENAI_BASE_URL=upstream.base_url, TITLES="model")
        stack.variables["PYTHONPATH"] = str(package)
        yield stack
        stack.stop()


def ask(stack: Stack, request_id: str, **behaviour: Any) -> Started:
    """Start an answer whose upstream calls the tool, for the request of this id."""
    # The first token comes after the headers: the reader of the socket receives it, not the task that sent the request.
    wish = {"key": request_id, "first_delay": 0.3, "tokens": 40, "rate": 40, "tool_rounds": 1, **behaviour}
    wish["tool_call"] = {"name": "talkative", "arguments": {"word": request_id}}
    command = StartGeneration(json.dumps({"fake": wish}), model="able")
    return stack.resources.starter.start(stack.user, command, request_id=request_id)


def lines_of(worker: Worker) -> list[dict[str, Any]]:
    # The last line may be half written.
    whole, _, _ = worker.log().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def actions(worker: Worker, generation_id: str) -> set[str]:
    return {line["action"] for line in lines_of(worker) if line.get("generation_id") == generation_id}


def test_each_line_about_an_answer_has_the_id_of_its_request(stack: Stack) -> None:
    # The doorbell of this answer is lost with its log: a sweeper finds the answer.
    swept = ask(stack, "request-swept")
    until(lambda: stack.resources.redis.llen(f"{stack.namespace}:generations"))
    stack.resources.redis.flushall()
    worker = stack.worker()
    stack.finished(swept.generation.id)
    # The next answers use connections that the answer before them opened.
    asked = {"request-swept": swept}
    for request_id in ("request-second", "request-third"):
        started = asked[request_id] = ask(stack, request_id)
        generation = started.generation.id
        until(lambda: len(stack.log(generation)) > 5)  # noqa: B023
        stack.resources.redis.flushall()
        stack.finished(generation)
    for started in asked.values():
        until(lambda: actions(worker, started.generation.id) >= BY_EACH)  # noqa: B023
    assert "sweep" in actions(worker, swept.generation.id)
    assert "reopen" in actions(worker, asked["request-third"].generation.id)
    request_of = {started.generation.id: request_id for request_id, started in asked.items()}
    about = [line for line in lines_of(worker) if "generation_id" in line or "conversation_id" in line]
    assert [line for line in about if line.get("request_id") != request_of.get(line.get("generation_id"))] == []
    words = {line["word"]: line.get("request_id") for line in lines_of(worker) if "word" in line}
    assert words == {request_id: request_id for request_id in asked}
