"""A worker stays connected to its broker, with garbage in the broker's list and with a broker that is full."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from dev.valkey import Valkey
from tests.stack import Stack, Worker, until

BODY = "W1tdLCB7fSwge31d"  # base64 of [[], {}, {}]
ID = "01930000-0000-7000-8000-000000000001"


def message(body: object = BODY, headers: object = None, properties: object = None) -> str:
    """A message as kombu puts it into the list, with parts replaced."""
    headers = {"task": "unbroken.run_generation", "id": ID, "lang": "py"} if headers is None else headers
    if properties is None:
        properties = {
            "delivery_tag": str(uuid4()), "delivery_info": {"exchange": "", "routing_key": "generations"},
            "body_encoding": "base64", "correlation_id": ID,
        }  # fmt: skip
    return json.dumps({
        "body": body, "headers": headers, "properties": properties, "content-type": "application/json",
        "content-encoding": "utf-8",
    })  # fmt: skip


TAGGED = {"delivery_tag": "x", "delivery_info": {"exchange": "", "routing_key": "generations"}}
GARBAGE: list[bytes | str] = [
    "garbage", "", "[]", "{}", "null", "1", '"text"', "[[[[", "[" * 100_000, b"\xff\xfe\x00", b"\x80\x04pickle",
    '{"body": 1}', '{"properties": []}', '{"properties": {"delivery_tag": "x"}}', "x" * 5_000_000,
    '{"body": "", "properties": {"delivery_tag": 7}, "headers": {}}',
    message(headers=[]), message(headers="text"), message(headers={}), message(headers={"task": ["a"]}),
    message(headers={"task": {"a": 1}}), message(headers={"task": None}), message(headers={"task": "other.task"}),
    message(headers={"task": "unbroken.run_generation"}),
    message(headers={"task": "unbroken.run_generation", "id": 7, "eta": "never"}),
    message(headers={"task": "unbroken.run_generation", "id": ID, "timelimit": 5, "expires": []}),
    message(body="not base64!"), message(body="AAAA"), message(body={}), message(body=None), message(),
    message(body="W1tbMV1dLCB7fSwge31d"),  # an argument that is no id
    message(properties={**TAGGED, "body_encoding": "rot13"}), message(properties={**TAGGED, "delivery_info": 7}),
]  # fmt: skip


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of this module's own: its tests kill connections and fill its memory."""
    server = Valkey(tmp_path_factory.mktemp("broker"))
    server.start(120)
    yield server
    server.stop()


@pytest.fixture
def broken(tmp_path: Path, database_url: str, own_valkey: Valkey) -> Iterator[Stack]:
    """Sweeps are 30 s apart: an answer that begins sooner was delivered by the broker."""
    with redis.Redis.from_url(own_valkey.url()) as client:
        client.config_set("maxmemory", "0")
        client.flushall()
    stack = Stack(tmp_path, database_url, own_valkey.url(), SWEEP_SECONDS=30)
    yield stack
    stack.stop()


def queue_key(stack: Stack) -> str:
    return f"{stack.namespace}:generations"


def push(stack: Stack, *items: bytes | str) -> None:
    stack.resources.redis.lpush(queue_key(stack), *items)


def assert_it_hears(stack: Stack, worker: Worker) -> None:
    """Assert that the worker completes an answer within 15 s, long before a sweep: the broker delivers messages."""
    assert worker.alive, worker.tail()
    began = time.monotonic()
    generation = stack.start(model="offline-fast").generation.id
    stack.finished(generation, 25)
    assert time.monotonic() - began < 15, f"the sweeper found it\n{worker.tail()}"


def drained(stack: Stack) -> bool:
    return stack.resources.redis.llen(queue_key(stack)) == 0


@pytest.mark.parametrize("running", [False, True], ids=["idle", "with an answer running"])
def test_garbage_in_the_list_is_dropped_and_counted(broken: Stack, running: bool) -> None:
    worker = broken.worker(WORKER_METRICS_PORT="")
    generation = broken.start(model="offline").generation.id if running else None
    if generation:
        until(lambda: broken.generation(generation).status == "running")
    for item in GARBAGE:
        push(broken, item)
    until(lambda: drained(broken) or not worker.alive)
    assert_it_hears(broken, worker)
    if generation:
        assert broken.finished(generation).status == "completed"
    lines = [json.loads(line) for line in worker.log().splitlines() if '"drop"' in line]
    assert len(lines) >= len(GARBAGE) - 2, "what is a message of ours by chance may fail as a task instead"
    assert {line["reason"] for line in lines} >= {"unreadable", "malformed", "unknown"}
    assert all(len(line["shown"]) <= 200 for line in lines)
    assert "Traceback" not in worker.log()


def test_garbage_to_everybody_is_dropped_too(broken: Stack) -> None:
    """Celery's remote control reaches every worker over a pub/sub channel. Invalid messages on it end no worker."""
    worker = broken.worker()
    client, names = broken.resources.redis, [f"{broken.namespace}:/0.celery.pidbox", "/0.celery.pidbox"]
    channel = next(name for name in names if client.publish(name, "garbage"))
    for item in ("garbage", "[]", "{}", "null", "[1]", b"\xff"):
        client.publish(channel, item)
    time.sleep(1)
    assert_it_hears(broken, worker)


@pytest.mark.parametrize("running", [False, True], ids=["idle", "with an answer running"])
def test_a_full_redis_that_kills_connections_does_not_end_the_worker(broken: Stack, running: bool) -> None:
    worker = broken.worker()
    generation = broken.start(model="offline").generation.id if running else None
    if generation:
        until(lambda: broken.generation(generation).status == "running")
    client = broken.resources.redis
    client.config_set("maxmemory", "1mb")
    for _ in range(3):
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(1)
        assert worker.alive, worker.tail()
    client.config_set("maxmemory", "0")
    time.sleep(3)
    assert_it_hears(broken, worker)
    if generation:
        assert broken.finished(generation).status == "completed"


def test_a_list_that_is_no_list_is_waited_out(broken: Stack) -> None:
    """Redis refuses BRPOP while the key of the queue is a string. The worker retries, and reads from the list again."""
    worker = broken.worker()
    client = broken.resources.redis
    client.delete(queue_key(broken))
    client.set(queue_key(broken), "a text")
    time.sleep(3)
    assert worker.alive, worker.tail()
    client.delete(queue_key(broken))
    time.sleep(2)
    assert_it_hears(broken, worker)
