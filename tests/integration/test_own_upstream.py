"""This service as the upstream of another worker's answers: its responses are runs that a takeover goes on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.models import ModelSpec
from app.domain.transcript import Transcript
from app.store.database import fetch, fetch_one
from dev.server import free_port
from tests.stack import Stack, until


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Stack]:
    port = free_port()
    own = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "UPSTREAM_OPENAI_BACKGROUND": 1}
    stack = Stack(tmp_path, database_url, redis_url, PORT=port, **own)
    stack.variables["OPENAI_API_KEY"] = stack.token("bob")
    yield stack
    stack.stop()


def _runs(stack: Stack) -> list[str]:
    with stack.resources.database.system() as tx:
        rows = fetch(tx, "SELECT id FROM generations WHERE user_id = (SELECT id FROM users WHERE subject = 'bob')")
    return [row.id for row in rows]


def test_a_killed_worker_s_answer_goes_on_with_the_response_of_the_upstream(stack: Stack) -> None:
    stack.web(port=int(stack.variables["PORT"]))
    workers = stack.workers(2)
    stack.resources.model_admin.put("through", ModelSpec(provider="openai", upstream_name="offline"))
    generation = stack.start("Tell me about tides", model="through").generation.id
    until(lambda: len(stack.transcript(generation).text) > 200, what="a beginning")
    with stack.resources.database.system() as tx:
        row = fetch_one(tx, "SELECT worker FROM generations WHERE id = :id", id=generation)
    shown = stack.transcript(generation).text
    next(worker for worker in workers if row and worker.name == row.worker).kill()
    ended = stack.finished(generation)
    assert (ended.status, ended.epoch) == ("completed", 2)
    run = _runs(stack)
    assert len(run) == 1
    said = Transcript.of(stack.archive(generation)).text
    assert said.startswith(shown)
    assert said == Transcript.of(stack.archive(run[0])).text
