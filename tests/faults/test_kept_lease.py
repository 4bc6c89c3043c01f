"""The lease of an answer: kept while its worker waits for Redis, and counted from before each claim and renewal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import sleep

import pytest
from prometheus_client import REGISTRY

from app.config import WorkerSettings
from dev.valkey import Valkey
from tests.fakes.proxy import TcpProxy
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


@contextmanager
def in_this_process(stack: Stack, **settings: object) -> Iterator[WorkerProcess]:
    given = {name.lower(): value for name, value in stack.variables.items()} | settings
    worker = WorkerProcess(WorkerSettings(**given))  # type: ignore[arg-type]
    worker.start("waits@test")
    try:
        yield worker
    finally:
        worker.drain()
        worker.close()


@pytest.mark.slow
def test_no_answer_is_taken_from_a_worker_that_waits_for_a_frozen_redis(
    tmp_path: Path, database_url: str, redis_url: str, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.threads.REDIS_THREADS", 1)
    given = {"CELERY_BROKER_URL": redis_url, "LEASE_SECONDS": LEASE_SECONDS, "HEARTBEAT_SECONDS": 0.4}
    stack = Stack(tmp_path, database_url, own_valkey.url(), **given)
    quick = {"tokens": 3, "rate": 0}
    started = [stack.start(f"question {n}", model="offline", parameters=quick) for n in range(ANSWERS)]
    with in_this_process(stack) as worker:
        assert own_valkey.process is not None
        os.kill(own_valkey.process.pid, signal.SIGSTOP)
        outcomes = [worker.submit(one.generation.id) for one in started]

        def ended() -> bool:
            rows = [stack.generation(one.generation.id) for one in started]
            assert {row.epoch for row in rows} <= {0, 1}, "a lease was lost"
            return all(row.status == "completed" for row in rows)

        until(ended, 120, "the end of all answers", 0.1)
        assert all(outcome.result(30) for outcome in outcomes)
        os.kill(own_valkey.process.pid, signal.SIGCONT)
    stack.stop()


def late_renewals() -> float:
    return REGISTRY.get_sample_value("unbroken_lease_renewals_late_total") or 0.0


def test_a_lease_counts_from_before_its_claim_whose_reply_came_late(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    """A pause between the claim and its reply has taken from the lease: the first renewal behind it is a late one."""
    with TcpProxy.before(database_url) as proxy:
        stack = Stack(tmp_path, database_url, redis_url, LEASE_SECONDS=30, HEARTBEAT_SECONDS=0.4)
        made = stack.start("question", model="offline", parameters={"tokens": 30, "rate": 20})
        held_up = Event()

        def is_claim(data: bytes) -> bool:
            if b"epoch + 1, status = 'running'" in data:
                held_up.set()
            return held_up.is_set()

        with in_this_process(stack, database_url=proxy.url(database_url)) as worker:
            before = late_renewals()
            proxy.black_hole_at(is_claim)
            outcome = worker.submit(made.generation.id)
            assert held_up.wait(30)
            sleep(1.5)  # the fault itself: more than two heartbeats
            proxy.pass_()
            assert outcome.result(60).status == "completed"
            assert late_renewals() == before + 1
        stack.stop()
