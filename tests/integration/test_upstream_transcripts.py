"""Streams of many upstreams through a real worker: each surface gives out what the transcript says, after one call."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from dev.valkey import Valkey
from tests.fakes.raw_server import NOT_FOUND, RawServer
from tests.fuzz.chats import CASES
from tests.stack import Stack, Web

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
BY_NAME = {case.name: case for case in CASES}
CHOSEN = [
    "openai-text", "vllm-reasoning", "vllm-think-tags", "fireworks-think-beside-field", "openrouter-reasoning",
    "mistral-thinking", "kimi-single-line-feeds", "groq-text", "gateway-no-finish-reason", "gateway-document-and-done",
    "gemini-parallel-tools", "ollama-tools", "together-tool", "vllm-error", "gemini-error-list",
]  # fmt: skip
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
requests: list[str] = []


def serve(connection: socket.socket, request: bytes) -> None:
    """Send the transcript that the model of the request names, or fail in the way that it names."""
    body = request.partition(b"\r\n\r\n")[2]
    if not body:
        connection.sendall(NOT_FOUND)
        return
    name = json.loads(body)["model"]
    requests.append(name)
    if name in BY_NAME:
        connection.sendall(HEAD + BY_NAME[name].body)
    elif name == "hanging":
        connection.sendall(HEAD + HELLO + STOP)
        time.sleep(30)
    elif name == "processing":
        connection.sendall(HEAD)
        for _ in range(14):
            connection.sendall(b": PROCESSING\n\n")
            time.sleep(0.5)
        connection.sendall(HELLO + STOP)
    elif name == "silent":
        time.sleep(30)
    elif name == "truncated":
        connection.sendall(HEAD + HELLO)
    elif name == "garbled":
        connection.sendall(HEAD + b'data: {"choices":[{"del\n\n')
    elif name == "tomorrow":
        refusal = b'{"error":{"message":"The daily quota is used up."}}'
        head = b"HTTP/1.1 429 No\r\nRetry-After: 3600\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(refusal)
        connection.sendall(head + refusal)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey) -> Iterator[Stack]:
    with RawServer(serve) as server:
        base = {"OPENAI_BASE_URL": f"{server.origin}/v1", "DEFAULT_MODEL": "offline"}
        times = {"TOKEN_TIMEOUT": 4, "FIRST_TOKEN_TIMEOUT": 4}
        stack = Stack(tmp_path_factory.mktemp("stack"), module_database_url, valkey.url(), **base, **times)
        stack.worker(20)
        yield stack
        stack.stop()


@pytest.fixture(scope="module")
def web(stack: Stack) -> Web:
    return stack.web()


def post(stack: Stack, web: Web, path: str, body: dict[str, Any]) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {stack.token()}", "Content-Type": "application/json"}
    request = urllib.request.Request(web.url + path, json.dumps(body).encode(), headers)
    try:
        with NO_PROXY.open(request, timeout=90) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def called(name: str) -> int:
    return requests.count(name)


def names_and_arguments(tools: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(tool["name"], json.loads(tool["arguments"])) for tool in tools]


@pytest.mark.parametrize("name", CHOSEN)
def test_the_native_api_has_what_the_upstream_said(stack: Stack, name: str) -> None:
    expected, before = BY_NAME[name].expected, called(name)
    begun = stack.start("Say it", model=name)
    row = stack.finished(begun.generation.id)
    said = stack.transcript(begun.generation.id)
    assert called(name) == before + 1
    assert (said.text, said.reasoning) == (expected["text"], expected["reasoning"])
    assert [(call.tool, json.loads(call.arguments)) for call in said.tools.values()] == names_and_arguments(
        expected["tools"]
    )
    if expected["error"]:
        assert (row.status, row.error and row.error["code"]) == ("error", expected["error"]["code"])
    else:
        assert (row.status, row.finish_reason) == ("completed", expected["finish_reason"])


@pytest.mark.parametrize("name", CHOSEN)
def test_chat_completions_have_what_the_upstream_said(stack: Stack, web: Web, name: str) -> None:
    expected, before = BY_NAME[name].expected, called(name)
    asked = {"model": name, "messages": [{"role": "user", "content": "Say it"}]}
    status, text = post(stack, web, "/v1/chat/completions", asked)
    assert called(name) == before + 1
    if expected["error"]:
        assert status >= 400, text
        return
    message = json.loads(text)["choices"][0]["message"]
    assert (message["content"] or "") == expected["text"]
    assert (message.get("reasoning_content") or "") == expected["reasoning"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    assert names_and_arguments(calls) == names_and_arguments(expected["tools"])


@pytest.mark.parametrize("name", CHOSEN)
def test_responses_have_what_the_upstream_said(stack: Stack, web: Web, name: str) -> None:
    expected, before = BY_NAME[name].expected, called(name)
    status, text = post(stack, web, "/v1/responses", {"model": name, "input": "Say it"})
    assert called(name) == before + 1
    if expected["error"]:
        assert status >= 400 or json.loads(text)["status"] == "failed", text
        return
    output = json.loads(text)["output"]
    messages = [part["text"] for item in output if item["type"] == "message" for part in item["content"]]
    assert "".join(messages) == expected["text"]
    calls = [item for item in output if item["type"] == "function_call"]
    assert names_and_arguments(calls) == names_and_arguments(expected["tools"])


@pytest.mark.parametrize("name", CHOSEN)
def test_the_ai_sdk_has_what_the_upstream_said(stack: Stack, web: Web, name: str) -> None:
    expected, before = BY_NAME[name].expected, called(name)
    message = {"id": f"m-{name}", "role": "user", "parts": [{"type": "text", "text": "Say it"}]}
    _, text = post(stack, web, "/api/chat", {"id": f"c-{name}", "messages": [message], "model": name})
    assert called(name) == before + 1
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    parts = [json.loads(line) for line in lines]
    assert "".join(part["delta"] for part in parts if part["type"] == "text-delta") == expected["text"]
    assert "".join(part["delta"] for part in parts if part["type"] == "reasoning-delta") == expected["reasoning"]
    inputs = [(part["toolName"], part["input"]) for part in parts if part["type"] == "tool-input-available"]
    assert inputs == names_and_arguments(expected["tools"])
    assert bool(expected["error"]) == any(part["type"] == "error" for part in parts)


@pytest.mark.parametrize(
    ("name", "status", "calls", "seconds"),
    [
        ("hanging", "completed", 1, 12),
        ("processing", "completed", 1, 25),
        ("silent", "error", 2, 30),
        ("truncated", "error", 2, 30),
        ("garbled", "error", 2, 30),
        ("tomorrow", "error", 1, 12),
    ],
)
def test_an_upstream_that_fails_in_one_way_is_called_twice_at_most(
    stack: Stack, name: str, status: str, calls: int, seconds: float
) -> None:
    before, began = called(name), time.monotonic()
    row = stack.finished(stack.start("Say it", model=name).generation.id)
    assert (row.status, called(name) - before) == (status, calls)
    assert time.monotonic() - began < seconds
    assert name != "tomorrow" or "The daily quota is used up." in (row.error or {})["message"]
