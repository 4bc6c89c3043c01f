"""A parameter that an upstream refuses by name costs one refused request of one worker, and no attempt."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from app.eventlog.learned_capabilities import Entry, LearnedCapabilities
from tests.fakes.raw_server import RawServer
from tests.stack import Stack, until
from worker import capability_exchange
from worker.capability_exchange import CapabilityExchange
from worker.providers.learning.learned import Learned

Refuse = Callable[[dict[str, Any]], tuple[int, Any] | None]


@contextmanager
def upstream(refuse: Refuse) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An upstream that says "Hello" without usage, unless it refuses a request. Its address, and the requests."""
    requests: list[dict[str, Any]] = []
    lock = threading.Lock()

    def answer(connection: socket.socket, request: bytes) -> None:
        head, _, content = request.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            return _send(connection, 200, b'{"data":[{"id":"m"}]}')
        body = json.loads(content)
        with lock:
            requests.append(body)
        if refused := refuse(body):
            return _send(connection, refused[0], json.dumps(refused[1]).encode())
        chunk = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
        end = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        if body["stream"]:
            return _send(connection, 200, chunk + end, b"text/event-stream")
        message = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
        return _send(connection, 200, json.dumps(message).encode())

    with RawServer(answer) as server:
        yield f"{server.origin}/v1", requests


def _send(connection: socket.socket, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    head = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    connection.sendall(head % (status, kind, len(body)) + body)


@pytest.fixture
def make_stack(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []

    def make(base_url: str, **settings: Any) -> Stack:
        made.append(Stack(tmp_path, database_url, redis_url, OPENAI_BASE_URL=base_url, MAX_ATTEMPTS=1, **settings))
        return made[-1]

    yield make
    for stack in made:
        stack.stop()


def refuse_all(body: dict[str, Any]) -> tuple[int, Any] | None:
    """Refusals as vLLM, Mistral and OpenAI write them."""
    if "stream_options" in body:
        error = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
        return 422, {"detail": [error]}
    if "max_tokens" in body:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        return 400, {"error": {"message": message, "param": "max_tokens", "code": "unsupported_parameter"}}
    if body.get("temperature", 1) != 1:
        message = "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value."
        return 400, {"error": {"message": message, "param": "temperature", "code": "unsupported_value"}}
    if "top_k" in body:
        return 400, {"error": {"message": "Unknown parameter: 'top_k'.", "code": "unknown_parameter"}}
    return None


def looks(stack: Stack) -> int:
    """The number of reads of the entries. No web process runs here, which would read another whole hash of Redis."""
    commands: Any = stack.resources.redis.info("commandstats")
    return int(commands.get("cmdstat_hgetall", {"calls": 0})["calls"])


def test_refusals_are_learned_once_and_by_all_workers(make_stack: Callable[..., Stack]) -> None:
    with upstream(refuse_all) as (base_url, requests):
        stack = make_stack(base_url)
        first = stack.worker()
        parameters = {"max_tokens": 9, "temperature": 0.2}
        done = stack.finished(stack.start(model="m", parameters=parameters).generation.id)
        assert (done.status, done.finish_reason) == ("completed", "stop")
        assert (len(done.attempts), len(requests)) == (1, 4)
        assert requests[-1].keys() & {"stream_options", "max_tokens", "temperature"} == set()
        assert requests[-1]["max_completion_tokens"] == 9
        assert done.usage is not None
        assert done.usage["estimated"] is True

        stack.finished(stack.start(model="m", parameters=parameters).generation.id)
        assert len(requests) == 5
        shared = LearnedCapabilities(stack.resources.redis, stack.namespace)
        until(shared.read, what="the shared entry")
        first.kill()
        before = looks(stack)
        stack.worker()
        # A worker waits for its first look only half a second, and may begin to answer without it.
        until(lambda: looks(stack) > before, what="the look of the new worker")
        stack.finished(stack.start(model="m", parameters=parameters).generation.id)
        assert len(requests) == 6

        refused = stack.finished(stack.start(model="m", parameters={"top_k": 4}).generation.id)
        assert (refused.status, refused.error["code"]) == ("error", "upstream_rejected")
        assert "Unknown parameter: 'top_k'." in refused.error["message"]
        assert len(requests) == 7


def test_the_settings_say_it_beforehand(make_stack: Callable[..., Stack]) -> None:
    with upstream(refuse_all) as (base_url, requests):
        stack = make_stack(
            base_url, UPSTREAM_OPENAI_INCLUDE_USAGE=0, UPSTREAM_OPENAI_TOKEN_LIMIT_NAME="max_completion_tokens"
        )
        stack.worker()
        done = stack.finished(stack.start(model="m", parameters={"max_tokens": 9}).generation.id)
        assert (done.status, len(requests)) == ("completed", 1)


# --- the hash


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    client.delete("n:capabilities")
    yield client
    client.close()


def test_the_hash_is_bounded_and_expires(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = LearnedCapabilities(client, "n")
    shared.write([Entry("u", "m", ("temperature",), 5.0)], 60)
    shared.write([Entry("u", "m", ("top_p",), 6.0)], 60)
    assert shared.read() == [Entry("u", "m", ("top_p",), 6.0)]
    assert 0 < client.ttl("n:capabilities") <= 60
    for odd in (b"x", b"[]", b"[1,2,3,4]", b'["u","m","x",1]', b'["u","m",[1],1]', b'["u","m",[],"x"]', b"{}"):
        client.hset("n:capabilities", odd, odd)
    assert len(shared.read()) == 1
    monkeypatch.setattr("app.eventlog.learned_capabilities.MOST_ENTRIES", 8)
    shared.write([Entry("u", "n", (), 7.0)], 60)
    assert shared.read() == [Entry("u", "n", (), 7.0)]


def test_an_entry_that_cannot_be_written_is_written_later(client: redis.Redis) -> None:
    async def share() -> None:
        away = redis.Redis(port=1, socket_timeout=0.1)
        learned, other = Learned(), Learned()
        exchange = CapabilityExchange(LearnedCapabilities(away, "n"), learned)
        learned.learn("u", "m", frozenset({"temperature"}))
        await exchange.exchange()
        exchange._shared = LearnedCapabilities(client, "n")
        await exchange.exchange()
        await CapabilityExchange(LearnedCapabilities(client, "n"), other).exchange()
        assert other.lacks("u", "m") == {"temperature"}
        away.close()

    assert capability_exchange.LOOK_SECONDS > 1
    asyncio.run(share())
