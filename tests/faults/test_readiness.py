"""Workers in /readyz and /metrics, with real processes: frozen, killed, drained, never started."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from app.store import workers
from tests.stack import Stack, until

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Two beats of 1 s may be lost, the report is cached for 1 s, and a busy machine needs some seconds more.
SOON = 15


@pytest.fixture
def stack(stack: Stack) -> Stack:
    """A deployment with the default lease of 30 s: no lease expires during a test."""
    stack.variables.update(LEASE_SECONDS="30", HEARTBEAT_SECONDS="5")
    return stack


def readiness(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with OPENER.open(f"{url}/readyz", timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def number(url: str, name: str) -> float:
    with OPENER.open(f"{url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_a_frozen_worker_with_running_answers_is_noticed_long_before_its_lease_ends(stack: Stack) -> None:
    worker, web = stack.worker(), stack.web()
    # They run until the worker is frozen, however long the rest takes.
    ids = [stack.start(model="offline", parameters={"tokens": 10_000}).generation.id for _ in range(3)]
    until(lambda: all(stack.generation(i).status == "running" for i in ids))
    until(lambda: readiness(web.url)[0] == 200)
    assert number(web.url, "unbroken_workers_alive") == 1
    worker.signal(signal.SIGSTOP)
    until(lambda: readiness(web.url)[0] == 503, SOON)
    [reason] = readiness(web.url)[1]["reasons"]
    assert reason.startswith("No worker is alive")
    assert number(web.url, "unbroken_workers_alive") == 0
    assert number(web.url, "unbroken_generations_stuck") == 3
    worker.signal(signal.SIGCONT)
    until(lambda: readiness(web.url)[0] == 200, SOON)
    assert number(web.url, "unbroken_generations_stuck") == 0


def test_a_deployment_without_any_worker_is_not_ready(stack: Stack) -> None:
    status, report = readiness(stack.web().url)
    assert status == 503
    assert [reason[:18] for reason in report["reasons"]] == ["No worker is alive"]


def test_a_worker_that_drains_leaves_a_gap_in_which_its_successor_may_come(stack: Stack) -> None:
    # The gap begins while the worker is still leaving, and the report is cached for 1 s.
    gap = 8
    stack.variables["WORKER_GAP_SECONDS"] = str(gap)
    worker, web = stack.worker(), stack.web()
    until(lambda: readiness(web.url)[0] == 200)
    worker.terminate()
    time.sleep(1.1)
    status, report = readiness(web.url)
    assert status == 200, report
    assert "another one is expected" in report["degraded"][0]
    until(lambda: readiness(web.url)[0] == 503, gap + SOON)


@pytest.mark.slow
def test_a_worker_killed_hard_is_noticed_and_its_successor_too(stack: Stack) -> None:
    worker, web = stack.worker(), stack.web()
    until(lambda: readiness(web.url)[0] == 200)
    worker.kill()
    until(lambda: readiness(web.url)[0] == 503, SOON)
    stack.worker()
    until(lambda: readiness(web.url)[0] == 200, SOON)


def test_the_row_has_the_name_that_celery_gives_the_worker(stack: Stack) -> None:
    worker = stack.worker(concurrency=7)
    generation = stack.start(model="offline", parameters={"tokens": 10_000}).generation.id
    until(lambda: stack.generation(generation).status == "running")

    def running() -> workers.Worker | None:
        with stack.resources.database.system() as tx:
            [row] = workers.every(tx, 4)
        return row if row.running == 1 else None

    row = until(running)
    assert row is not None
    assert (row.name, row.state, row.slots) == (worker.name, "working", 7)
    worker.terminate()
    with stack.resources.database.system() as tx:
        assert workers.every(tx, 4) == []
        tally = workers.tally(tx, 4, 60)
    assert (tally.alive, tally.leaving, tally.drained) == (0, 1, 0)
