"""Upstreams that never end: each answer ends at a limit that its error names, and no other answer is affected."""

from __future__ import annotations

import json
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest

from app.domain.events import Done, decode
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.fakes.raw_server import NOT_FOUND, RawServer
from tests.stack import Stack, Worker, until

MOST_MEMORY_KB = 300_000
# For an answer of four million characters of four bytes each, and for answers of all kinds at once.
MOST_WIDE_KB = 280_000
MOST_AT_ONCE_KB = 300_000
ANSWER_CHARS = 4_000_000
ARGUMENT_CHARS = 1_000_000

DOCUMENT = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def call(index: int | None, arguments: str = "", **fields: Any) -> bytes:
    where = {} if index is None else {"index": index}
    function = {"arguments": arguments, **fields.pop("function", {})}
    return chunk(tool_calls=[{**where, **fields, "function": function}])


def forever(block: bytes) -> Iterator[bytes]:
    while True:
        yield block


def plain(blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield STREAM + b"\r\n"
    yield chunk(content="Begun. ")
    yield from blocks


def packed(blocks: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield STREAM + b"Content-Encoding: gzip\r\n\r\n"
    yield packer.compress(chunk(content="Begun. ")) + packer.flush(zlib.Z_SYNC_FLUSH)
    for block in blocks:
        if data := packer.compress(block):
            yield data


# The most pieces are read of the answers that come in drops: half a million at the limit of an answer's characters.
DROP = "x" * 8
WIDE = "\N{PARROT}" * 10_000
ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "text": lambda: plain(forever(chunk(content="x" * 100_000))),
    "wide": lambda: plain(forever(chunk(content=WIDE))),
    "drops": lambda: plain(forever(chunk(content=DROP) * 500)),
    "reasoning": lambda: plain(forever(chunk(reasoning_content="y" * 5000))),
    "arguments": lambda: plain(forever(call(0, "z" * 100_000, id="c", function={"name": "f"}))),
    "small arguments": lambda: plain(forever(call(0, DROP, id="c", function={"name": "f"}) * 500)),
    "calls": lambda: plain(call(None, "{}", id=f"c{n}", function={"name": "f"}) for n in count()),
    "indexes": lambda: plain(call(n, "{}", id=f"c{n}", function={"name": "f"}) for n in count()),
    "name": lambda: plain(iter([call(0, "{}", id="c", function={"name": "f" * 100_000}), chunk("stop")])),
    "id": lambda: plain(iter([call(0, "{}", id="c" * 100_000, function={"name": "f"}), chunk("stop")])),
    "finish": lambda: plain(iter([chunk("s" * 100_000), b"data: [DONE]\n\n"])),
    "long finish": lambda: plain(iter([chunk("s" * 5_000_000), b"data: [DONE]\n\n"])),
    "line": lambda: plain(forever(b"x" * 60_000)),
    "event": lambda: plain(forever(b"data: " + b"x" * 60_000 + b"\n")),
    "headers": lambda: chain((STREAM,), forever(b"X-More: " + b"x" * 5000 + b"\r\n")),
    "bomb": lambda: packed(forever(b"x" * 1_000_000)),
    "bomb of text": lambda: packed(forever(chunk(content="x" * 100_000))),
    "document": lambda: chain((DOCUMENT,), forever(b"[" * 60_000)),
}
KEPT = {"headers": "", "document": ""}
LIMITS = {
    "text": "MAX_ANSWER_CHARS",
    "wide": "MAX_ANSWER_CHARS",
    "drops": "MAX_ANSWER_CHARS",
    "reasoning": "MAX_ANSWER_CHARS",
    "arguments": "MAX_TOOL_ARGUMENT_CHARS",
    "small arguments": "MAX_TOOL_ARGUMENT_CHARS",
    "calls": "MAX_TOOL_CALLS",
    "indexes": "MAX_TOOL_CALLS",
    "name": "MAX_UPSTREAM_NAME_CHARS",
    "id": "MAX_TOOL_CALL_ID_CHARS",
    "finish": "MAX_UPSTREAM_NAME_CHARS",
    "long finish": "MAX_UPSTREAM_EVENT_BYTES",
    "line": "MAX_UPSTREAM_EVENT_BYTES",
    "event": "MAX_UPSTREAM_EVENT_BYTES",
    "headers": "MAX_UPSTREAM_HEADER_BYTES",
    "bomb": "MAX_UPSTREAM_EVENT_BYTES",
    "bomb of text": "MAX_ANSWER_CHARS",
    "document": "MAX_UPSTREAM_EVENT_BYTES",
}
EMPTY: dict[str, Callable[[], Iterator[bytes]]] = {
    "empty deltas": lambda: plain(forever(chunk() * 200)),
    "empty texts": lambda: plain(forever(chunk(content="") * 200)),
    "comments": lambda: plain(forever(b": nothing\n\n" * 1000)),
    "bomb of comments": lambda: packed(forever(b": nothing\n\n" * 1000)),
}


def serve(connection: socket.socket, request: bytes) -> None:
    """Send the endless response that the model of the request names. A request for the list of models names none."""
    body = request.partition(b"\r\n\r\n")[2]
    if not body:
        connection.sendall(NOT_FOUND)
        return
    name = json.loads(body)["model"]
    for part in {**ENDLESS, **EMPTY}[name]():
        connection.sendall(part)


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer(serve) as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, server: RawServer
) -> Iterator[Stack]:
    times = {"TOKEN_TIMEOUT": 3, "FIRST_TOKEN_TIMEOUT": 3, "MAX_ATTEMPTS": 2}
    base = {"OPENAI_BASE_URL": f"{server.origin}/v1", "DEFAULT_MODEL": "offline"}
    stack = Stack(tmp_path_factory.mktemp("stack"), module_database_url, valkey.url(), **base, **times)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Worker:
    return stack.worker(concurrency=60)


def peak_kb(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


@pytest.fixture(autouse=True)
def own_peak(worker: Worker) -> None:
    """Reset the worker's peak of memory before each test."""
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")


def calls_of(server: RawServer) -> int:
    """The calls for answers so far. The worker also fetches the list of models from the server, at its own times."""
    return sum(request.startswith(b"POST ") for request in server.requests)


def named(row: Generation, limit: str) -> bool:
    return row.error is not None and limit in row.error["message"]


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_ends_at_its_limit_and_says_which(stack: Stack, worker: Worker, server: RawServer, name: str) -> None:
    before = calls_of(server)
    row = stack.finished(stack.start(f"endless {name}", model=name).generation.id, 60)
    assert (row.status, row.error and row.error["code"]) == ("error", "answer_too_large")
    assert named(row, LIMITS[name]), row.error
    assert calls_of(server) == before + 1
    assert [attempt["outcome"] for attempt in row.attempts] == ["answer_too_large"]
    entries = stack.read(row.id)
    done = decode(entries[-1].payload)
    assert isinstance(done, Done)
    assert (done.status, done.finish_reason) == ("error", row.finish_reason)
    said = stack.transcript(row.id)
    if LIMITS[name] == "MAX_ANSWER_CHARS":
        assert row.finish_reason == "length"
        assert len(said.text) + len(said.reasoning) == ANSWER_CHARS
    assert said.text.startswith(KEPT.get(name, "Begun. "))
    assert sum(len(tool["arguments"]) for tool in said.tool_views()) <= ARGUMENT_CHARS
    assert max(len(entry.payload) for entry in entries[:-1]) < 1_000_000
    assert peak_kb(worker.pid) < (MOST_WIDE_KB if name == "wide" else MOST_MEMORY_KB)


@pytest.mark.parametrize("name", EMPTY)
def test_a_stream_of_nothing_is_silence(stack: Stack, worker: Worker, name: str) -> None:
    row = stack.finished(stack.start(f"endless {name}", model=name).generation.id, 60)
    assert row.status == "error"
    # The second attempt continues the text of the first, which was cut.
    assert row.error is not None
    assert row.error["code"] in ("token_timeout", "first_token_timeout")
    assert stack.transcript(row.id).text.startswith("Begun. ")
    assert peak_kb(worker.pid) < MOST_MEMORY_KB


def test_a_cancel_of_one_is_quick(stack: Stack, worker: Worker) -> None:
    for name in ("empty deltas", "text", "drops"):
        generation = stack.start(f"to be cancelled {name}", model=name).generation.id
        until(lambda generation=generation: stack.log(generation), 30)
        began = time.monotonic()
        view = stack.resources.generations.cancel(stack.user, generation)
        assert time.monotonic() - began < 3
        assert view.row.status in ("cancelled", "error")


def test_many_of_them_at_once_cost_nobody_else_anything(stack: Stack, worker: Worker) -> None:
    innocents = [stack.start(f"question {n}", model="offline").generation.id for n in range(5)]
    hogs = [stack.start(f"many {n}", model=name).generation.id for n, name in enumerate((*ENDLESS, *EMPTY))]
    began = time.monotonic()
    arrivals: dict[str, list[tuple[int, float]]] = {one: [] for one in innocents}
    while not all(stack.generation(one).final for one in innocents) and time.monotonic() < began + 90:
        for one in innocents:
            arrivals[one].append((len(stack.log(one)), time.monotonic()))
        time.sleep(0.1)
    for one in innocents:
        row = stack.finished(one)
        assert (row.status, row.finish_reason, len(row.attempts)) == ("completed", "stop", 1)
        assert stack.read(one) == stack.archive(one)
    for one in hogs:
        row = stack.finished(one, 120)
        assert row.status == "error"
        assert (row.epoch, row.tries) in ((1, 1), (2, 1))
    assert worker.alive
    assert peak_kb(worker.pid) < MOST_AT_ONCE_KB
