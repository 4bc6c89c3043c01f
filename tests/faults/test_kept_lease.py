"""The lease of an answer is kept while its worker waits for Redis, for longer than the lease: nothing is taken over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import WorkerSettings
from dev.valkey import Valkey
from tests.stack import Stack, until
from worker.process import WorkerProcess

LEASE_SECONDS = 3
# A frozen Redis costs each takeover one timeout of the client, 2 s. With one thread for such waits the takeover of the
# last answer begins after 8 s: its lease would have expired, also for a worker that leaves takeovers to others first.
ANSWERS = 5


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server that this test freezes."""
    server = Valkey(tmp_path / "valkey")
    server.start()
    assert server.process is not None
    pid = server.process.pid
    yield server
    os.kill(pid, signal.SIGCONT)
    server.stop()


@pytest.mark.slow
def test_no_answer_is_taken_from_a_worker_that_waits_for_a_frozen_redis(
    tmp_path: Path, database_url: str, redis_url: str, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.threads.REDIS_THREADS", 1)
    given = {"CELERY_BROKER_URL": redis_url, "LEASE_SECONDS": LEASE_SECONDS, "HEARTBEAT_SECONDS": 0.4}
    stack = Stack(tmp_path, database_url, own_valkey.url(), **given)
    worker = WorkerProcess(WorkerSettings(**{name.lower(): value for name, value in stack.variables.items()}))
    quick = {"tokens": 3, "rate": 0}
    started = [stack.start(f"question {n}", model="offline", parameters=quick) for n in range(ANSWERS)]
    worker.start("waits@test")
    try:
        assert own_valkey.process is not None
        os.kill(own_valkey.process.pid, signal.SIGSTOP)
        outcomes = [worker.submit(one.generation.id) for one in started]

        def ended() -> bool:
            rows = [stack.generation(one.generation.id) for one in started]
            assert {row.epoch for row in rows} <= {0, 1}, "a lease was lost"
            return all(row.status == "completed" for row in rows)

        until(ended, 120, "the end of all answers", 0.1)
        assert all(outcome.result(30) for outcome in outcomes)
    finally:
        os.kill(own_valkey.process.pid, signal.SIGCONT)
        worker.drain()
        worker.close()
        stack.stop()
