"""Flower beside a real worker: what it shows is true, and nothing that it sends costs an answer."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from app.broker.application import producer
from app.domain.audit import SERVICE
from app.services.worker_admin import WorkerAdmin
from dev.process import Program
from dev.server import free_port
from tests.stack import Running, Stack, Worker, until
from worker.control import REFUSED

PATIENCE = 60.0
TASK = "unbroken.run_generation"
# Seconds: no sweep begins an answer of these tests.
SWEEP_SECONDS = 300
_HEADERS = {"Authorization": f"Basic {b64encode(b'operator:flower').decode()}"}
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Flower:
    """Flower's API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, method: str = "GET", body: Any = None, **query: Any) -> tuple[int, Any]:
        address = f"{self.url}{path}?{urllib.parse.urlencode(query)}" if query else f"{self.url}{path}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(address, data, _HEADERS, method=method)
        try:
            with _OPENER.open(request, timeout=30) as response:
                return response.status, _parsed(response.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def tasks(self, search: str = "") -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.call("/api/tasks", search=search)[1]
        return found

    def ended(self, task_id: str) -> dict[str, Any]:
        """A task, once Flower shows its end."""

        def look() -> dict[str, Any] | None:
            task = self.tasks().get(task_id)
            return task if task and task["state"] in ("SUCCESS", "FAILURE", "REVOKED") else None

        task = until(look, PATIENCE, f"the end of {task_id}", 0.1)
        assert task is not None
        return task


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@pytest.fixture(scope="module")
def worker(module_stack: Stack) -> Worker:
    return module_stack.worker(concurrency=4, SWEEP_SECONDS=SWEEP_SECONDS)


@pytest.fixture(scope="module")
def flower(module_stack: Stack, worker: Worker) -> Iterator[Flower]:
    port, stack = free_port(), module_stack
    own = {"FLOWER_BASIC_AUTH": "operator:flower", "FLOWER_ADDRESS": "127.0.0.1", "FLOWER_PORT": str(port)}
    environment = {**os.environ, **stack.variables, **own}
    log = stack.directory / "flower.log"
    command = (sys.executable, "-m", "celery", "--app", "worker.monitor", "flower")
    running = Running(Program("flower", command, log, environment).start(), log)
    flower = Flower(f"http://127.0.0.1:{port}")

    def sees_the_worker() -> bool:
        assert running.alive, running.tail()
        try:
            found = flower.call("/api/workers", refresh="1")[1]
            return isinstance(found, dict) and "active_queues" in found.get(worker.name, {})
        except OSError:
            return False

    until(sees_the_worker, PATIENCE, "Flower", 0.2)
    yield flower
    running.kill()


def begun(stack: Stack, message: str, **fields: Any) -> str:
    generation_id = stack.start(message, model="offline", **fields).generation.id
    until(lambda: len(stack.log(generation_id)) > 3, PATIENCE, "the beginning")
    return generation_id


def test_a_task_shows_its_answer_and_whose_it_is(module_stack: Stack, flower: Flower, worker: Worker) -> None:
    stack = module_stack
    started = stack.start("a secret matter", model="offline-fast")
    generation = started.generation
    task = flower.ended(generation.id)
    assert (task["name"], task["state"], task["result"]) == (TASK, "SUCCESS", "'completed'")
    assert task["worker"] == worker.name
    assert 0 < task["runtime"] < PATIENCE
    assert task["received"] <= task["started"] <= task["succeeded"]
    assert generation.id in task["args"]
    for search in (f"kwargs:user={stack.user.id}", f"kwargs:conversation={generation.conversation_id}"):
        assert generation.id in flower.tasks(search), search
    assert flower.tasks("kwargs:user=01930000-0000-7000-8000-000000000001") == {}
    assert "secret" not in json.dumps(flower.tasks())


def test_an_answer_that_fails_is_a_failure(module_stack: Stack, flower: Flower) -> None:
    stack = module_stack
    failed, cancelled = begun(stack, "one"), begun(stack, "two")
    stack.resources.admin.fail(SERVICE, failed)
    stack.resources.generations.cancel(stack.user, cancelled)
    task = flower.ended(failed)
    assert (task["state"], task["exception"]) == ("FAILURE", "GenerationFailed('failed_by_operator')")
    assert not task["traceback"]
    task = flower.ended(cancelled)
    assert (task["state"], task["result"]) == ("SUCCESS", "'cancelled'")


def test_an_answer_that_waits_has_a_task_for_each_doorbell(module_stack: Stack, flower: Flower) -> None:
    stack = module_stack
    conversation = stack.generation(begun(stack, "one")).conversation_id
    second = stack.start("two", model="offline-fast", conversation_id=conversation, on_busy="enqueue").generation
    # Its first doorbell comes before its turn. The ids are those of the claim, and the message names no user.
    task = flower.ended(second.id)
    assert (task["result"], task["kwargs"]) == ("'not claimed'", "{}")
    assert second.id in flower.tasks(f"args:{second.id}")
    stack.finished(second.id)
    search = f"kwargs:generation={second.id}"

    def told() -> bool:
        found = [task["result"] for task in flower.tasks(search).values() if task["state"] == "SUCCESS"]
        return "'completed'" in found

    until(told, PATIENCE, "its end in Flower", 0.1)
    ran = [task for task in flower.tasks(search).values() if task["result"] == "'completed'"]
    assert len(ran) == 1


def replies(stack: Stack, worker: Worker, command: str, **arguments: Any) -> list[Any]:
    """The replies to a remote command, as ``celery control`` sends it."""
    app = producer(stack.settings.broker_url, stack.namespace)
    try:
        found = app.control.broadcast(command, arguments, destination=[worker.name], reply=True, timeout=10, limit=1)
        return [reply[worker.name] for reply in found]
    finally:
        app.close()


def test_an_answer_outlives_every_command(module_stack: Stack, flower: Flower, worker: Worker) -> None:
    stack = module_stack
    generation_id = begun(stack, "long")
    ids = {"task_id": [generation_id]}
    commands: dict[str, dict[str, Any]] = {
        "revoke": {**ids, "terminate": True, "signal": "SIGKILL"},
        "terminate": {**ids, "signal": "SIGKILL"},
        "revoke_by_stamped_headers": {"headers": {"id": [generation_id]}},
        "time_limit": {"task_name": TASK, "soft": 0.1, "hard": 0.1},
        "rate_limit": {"task_name": TASK, "rate_limit": "1/h"},
        "pool_restart": {},
        "pool_grow": {"n": 3},
        "pool_shrink": {"n": 3},
        "autoscale": {"min": 0, "max": 1},
        "add_consumer": {"queue": "other"},
        "cancel_consumer": {"queue": "generations"},
    }
    assert set(commands) == set(REFUSED)
    for name, arguments in commands.items():
        [reply] = replies(stack, worker, name, **arguments)
        assert reply == {"error": f"{name} is not in use here: {REFUSED[name]}"}
    assert stack.finished(generation_id).status == "completed"
    stats = flower.call("/api/workers", refresh="1")[1][worker.name]
    assert stats["stats"]["pool"]["max-concurrency"] == 4
    assert [queue["name"] for queue in stats["active_queues"]] == ["generations"]
    assert replies(stack, worker, "revoked") == [[]]
    # No sweep comes: the broker delivers, nothing is revoked, no rate is limited.
    again = stack.start("after", model="offline-fast").generation.id
    assert stack.finished(again).status == "completed"


def test_flower_says_that_a_command_was_refused(flower: Flower, worker: Worker) -> None:
    for path, query in (
        ("pool/restart", {}),
        ("pool/grow", {"n": "1"}),
        ("pool/autoscale", {"min": "0", "max": "1"}),
        ("queue/cancel-consumer", {"queue": "generations"}),
    ):
        status, said = flower.call(f"/api/worker/{path}/{worker.name}", "POST", **query)
        assert status == 403
        assert "is not in use here" in said


def test_shutdown_hands_over_what_runs(module_stack: Stack, flower: Flower, worker: Worker) -> None:
    stack = module_stack
    generation_id = begun(stack, "handed over")
    status, said = flower.call(f"/api/worker/shutdown/{worker.name}", "POST")
    assert status == 200, said
    began = time.monotonic()
    assert worker.wait(PATIENCE) == 0
    assert time.monotonic() - began < PATIENCE / 2
    row = stack.generation(generation_id)
    assert (row.status, row.final) == ("running", None)
    assert WorkerAdmin(stack.resources.database.system, 4.0).every() == []
    stack.worker(concurrency=4)
    assert stack.finished(generation_id).status == "completed"
