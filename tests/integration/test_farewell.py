"""The broker may give a message to a leaving worker, which sends the doorbell again (found by the chaos rig)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.database import fetch
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Stack]:
    """A deployment whose sweepers run too late to help."""
    with FakeUpstream() as upstream:
        stack = Stack(
            tmp_path, database_url, redis_url, OPENAI_BASE_URL=upstream.base_url, LEASE_SECONDS=60, SWEEP_SECONDS=60
        )
        yield stack
        stack.stop()


def test_everything_a_leaving_worker_gives_back_is_heard_of_at_once(stack: Stack) -> None:
    workers = stack.workers(2)
    behaviours = [json.dumps({"fake": {"key": number, "tokens": 1200, "rate": 20}}) for number in range(8)]
    asked = [stack.start(said, model="fake").generation.id for said in behaviours]
    for generation in asked:
        until(lambda: len(stack.log(generation)) > 5)  # noqa: B023
    with stack.resources.database.system() as tx:
        rows = fetch(tx, "SELECT id, worker FROM generations")
    # The broker distributes the messages as it likes. The worker with most answers leaves.
    having = [(worker, [row.id for row in rows if row.worker == worker.name]) for worker in workers]
    leaving, held = max(having, key=lambda each: len(each[1]))
    leaving.signal(signal.SIGTERM)
    for generation in held:
        until(lambda: stack.generation(generation).epoch >= 2)  # noqa: B023
