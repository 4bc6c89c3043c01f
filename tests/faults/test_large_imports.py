"""Imports and exports of many megabytes, against real web processes: the memory they take is bounded."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest

from tests.stack import Stack, Web

MOST_MEMORY = 300 * 1024 * 1024
# Above what the process holds before: four exports of 30 MB that were held whole would take 120 MB and more.
MOST_MEMORY_OF_EXPORTS = 60 * 1024 * 1024
WHEN = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def web(module_stack: Stack) -> Web:
    return module_stack.web(threads=8)


def processes(web: Web) -> list[str]:
    master = web._process.pid
    return [str(master), *Path(f"/proc/{master}/task/{master}/children").read_text().split()]


def forget_peaks(web: Web) -> None:
    for pid in processes(web):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(web: Web) -> int:
    """The peak of the web service's largest process since the last reset of the peaks, in bytes."""
    lines = [
        line
        for pid in processes(web)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return max(int(line.split()[1]) * 1024 for line in lines)


def request(
    web: Web, token: str, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    """Send a request. Returns the status and the body of its response."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(web.url).port or 0, timeout=120)
    with closing(connection):
        connection.request(method, path, body, {"Authorization": f"Bearer {token}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()


def bring(web: Web, token: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    kind = {"Content-Type": "application/json", **headers}
    status, answer = request(web, token, "POST", "/api/v1/conversations/import", body, **kind)
    return status, json.loads(answer)


def document(messages: list[dict[str, Any]], **more: Any) -> bytes:
    head = {"format": "unbroken.conversation", "version": 1, "conversation": {"created_at": WHEN}}
    return json.dumps({**head, "messages": messages, **more}, ensure_ascii=False).encode()


def message(**more: Any) -> dict[str, Any]:
    return {"parent": None, "role": "assistant", "status": "completed", "content": "x", "created_at": WHEN, **more}


CALL = {"call_id": "c", "tool": "t", "state": "finished", "arguments": "{}", "result": "r"}


# One character of four bytes makes Python keep four bytes for each character of a text.
WIDE = "\U0001f600"


def shapes() -> Iterator[tuple[str, bytes, int, str]]:
    """Documents of about 31 MB, with the status and a part of their refusal."""
    calls = [message(tools=[CALL] * 1000) for _ in range(380)]
    yield "tool calls", document(calls), 400, "MAX_IMPORT_VALUES"
    yield "empty objects", document([message(items=[{}] * 9_000) for _ in range(900)]), 400, "MAX_IMPORT_VALUES"
    yield "text", document([message(content="x" * 3_900_000) for _ in range(8)]), 201, ""
    yield "wide texts", document([message(content=WIDE + "x" * 77_000) for _ in range(400)]), 201, ""
    parts = dict.fromkeys(("content", "reasoning"), WIDE + "x" * 3_990_000)
    wide = message(**parts, tools=[{**CALL, "arguments": WIDE + "x" * 3_990_000}])
    yield "wide messages of 12 MB", document([wide, wide]), 201, ""
    large = message(**parts, tools=[{**CALL, "arguments": WIDE + "x" * 3_990_000}] * 5)
    yield "one message", document([large]), 422, "MAX_IMPORT_MESSAGE_BYTES"
    yield "one list", b"[" * 31_000_000, 400, "MAX_IMPORT_VALUES"
    yield "one text", b'{"format": "' + b"x" * 31_000_000 + b'"}', 413, "MAX_BODY_BYTES"
    yield "no end", b'{"messages": [{"content": "' + b"x" * 31_000_000, 400, "not valid JSON"


SHAPES = list(shapes())


@pytest.mark.parametrize(("body", "status", "variable"), [s[1:] for s in SHAPES], ids=[s[0] for s in SHAPES])
def test_four_at_once_are_taken_or_refused_within_the_memory(
    module_stack: Stack, web: Web, body: bytes, status: int, variable: str
) -> None:
    assert len(body) < 33_554_432
    forget_peaks(web)
    tokens = [module_stack.token(f"mover-{n}") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        # The idempotency key makes the service hash the whole import, too.
        key = {"Idempotency-Key": f"{variable} {len(body)}"}
        answers = list(pool.map(lambda token: bring(web, token, body, **key), tokens))
    for found, answer in answers:
        assert found in (status, 429), answer
        if found == 429:
            assert "MAX_IMPORTS_AT_ONCE" in answer["detail"]
    assert status in [found for found, _ in answers]
    assert any(variable in answer.get("detail", "") for _, answer in answers)
    assert peak_memory(web) < MOST_MEMORY


BOUNDED = [
    ({"tools": [CALL] * 1001}, "MAX_IMPORT_TOOL_CALLS"),
    ({"items": [None] * 10_001}, "MAX_IMPORT_ITEMS"),
    ({"role": "user", "content": "x" * 400_001}, "MAX_PROMPT_CHARS"),
]


@pytest.mark.parametrize(("more", "variable"), BOUNDED, ids=[variable for _, variable in BOUNDED])
def test_a_count_above_its_bound_is_refused_by_name(
    module_stack: Stack, web: Web, more: dict[str, Any], variable: str
) -> None:
    status, answer = bring(web, module_stack.token(), document([message(**more)]))
    assert status == 422
    assert variable in answer["detail"]
    assert answer["errors"][0]["field"] == "messages.0"


def test_too_many_messages_are_refused_by_name(module_stack: Stack, web: Web) -> None:
    status, answer = bring(web, module_stack.token(), document([message()] * 10_001))
    assert status == 422
    assert "MAX_IMPORT_MESSAGES" in answer["detail"]


def test_a_message_above_its_bytes_is_refused_by_name(module_stack: Stack, web: Web) -> None:
    parts = dict.fromkeys(("content", "reasoning"), "é" * 3_900_000)
    status, answer = bring(web, module_stack.token(), document([message(), message(**parts)]))
    assert status == 422
    assert "MAX_IMPORT_MESSAGE_BYTES" in answer["detail"]
    assert answer["errors"][0]["field"] == "messages.1"


@pytest.mark.parametrize("form", ["json", "md"])
def test_four_exports_at_once_stay_within_the_memory(module_stack: Stack, web: Web, form: str) -> None:
    token = module_stack.token(f"keeper-{form}")
    said = [message(parent=n or None, content=WIDE + "x" * 990_000) for n in range(30)]
    status, made = bring(web, token, document(said))
    assert status == 201
    forget_peaks(web)
    before = peak_memory(web)
    path = f"/api/v1/conversations/{made['id']}/export?format={form}"
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: request(web, token, "GET", path), range(4)))
    assert [(status, len(body) > 29_000_000) for status, body in answers] == [(200, True)] * 4
    assert peak_memory(web) - before < MOST_MEMORY_OF_EXPORTS
    assert peak_memory(web) < MOST_MEMORY


def test_two_exports_of_everything_with_large_files_stay_within_the_memory(module_stack: Stack, web: Web) -> None:
    tokens = [module_stack.token(f"archivist-{n}") for n in range(2)]
    for token in tokens:
        for n in range(2):
            status, _ = store(web, token, f"{n}.txt", f"{n} ".encode() + b"x" * 30_000_000)
            assert status == 201
    forget_peaks(web)
    before = peak_memory(web)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda token: request(web, token, "GET", "/api/v1/me/export"), tokens))
    for status, body in answers:
        assert status == 200
        with ZipFile(BytesIO(body)) as archive:
            assert sum(one.file_size for one in archive.infolist()) > 60_000_000
            assert archive.testzip() is None
    assert peak_memory(web) - before < MOST_MEMORY_OF_EXPORTS
    assert peak_memory(web) < MOST_MEMORY


def store(web: Web, token: str, name: str, data: bytes) -> tuple[int, bytes]:
    """Upload a file."""
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    return request(web, token, "POST", "/api/v1/files", head + data + b"\r\n--b--\r\n", **kind)
