"""An upload in parts outlives the web process that has the connection, and leaves nothing when it is given up."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from app.store.database import execute, fetch_one
from tests.stack import Stack, Web, until

PART = 1_000_000
DATA = b"".join(b"line %09d of a long text\n" % n for n in range(4 * PART // 30))
BOUNDARY = "the-end-of-a-part"


def ask(web: Web, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of one request."""
    connection = http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data) if data and answer.getheader("Content-Type") != "text/plain" else data


def form(data: bytes) -> bytes:
    head = 'Content-Disposition: form-data; name="data"; filename="part"'
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def append(web: Web, token: str, upload: str, offset: int, cut: int | None = None) -> http.client.HTTPConnection:
    """Send a part; ``cut``: only so many bytes of its request."""
    body = form(DATA[offset : offset + PART])
    connection = http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=60)
    connection.putrequest("PATCH", f"/api/v1/uploads/{upload}?offset={offset}")
    connection.putheader("Authorization", f"Bearer {token}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[:cut])
    return connection


def appended(web: Web, token: str, upload: str, offset: int) -> int:
    connection = append(web, token, upload, offset)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    found: int = answer["offset"]
    return found


def files_of(stack: Stack) -> list[Path]:
    """The stored bytes. A file that a killed process was writing has no key, and is removed an hour later."""
    found = (stack.directory / "files").rglob("*")
    return [path for path in found if path.is_file() and not path.name.startswith(".unfinished-")]


def test_an_upload_goes_on_with_the_next_web_process(stack: Stack) -> None:
    web, token = stack.web(), stack.token(f"resumer-{uuid4().hex[:8]}")
    _, upload = ask(web, token, "POST", "/uploads", {"filename": "long.txt", "bytes": len(DATA)})
    path = f"/uploads/{upload['id']}"
    assert appended(web, token, upload["id"], 0) == PART
    # Killed in the middle of a part, and killed while a whole part is stored.
    for cut in (PART // 2, None):
        offset = ask(web, token, "GET", path)[1]["offset"]
        connection = append(web, token, upload["id"], offset, cut)
        web.kill()
        connection.close()
        web = stack.web(port=urlsplit(web.url).port)
        now = ask(web, token, "GET", path)[1]["offset"]
        assert now in ((offset,) if cut else (offset, offset + PART))
    while (offset := ask(web, token, "GET", path)[1]["offset"]) < len(DATA):
        assert appended(web, token, upload["id"], offset) > offset
    thread = threading.Thread(target=lambda: _complete_into_the_void(web, token, path))
    thread.start()
    web.kill()
    thread.join()
    web = stack.web(port=urlsplit(web.url).port)
    status, ended = ask(web, token, "POST", f"{path}/complete", {})
    assert (status, ended["status"], ended["file"]["bytes"]) == (200, "completed", len(DATA))
    assert _content(web, token, ended["file"]["id"]) == DATA


def _complete_into_the_void(web: Web, token: str, path: str) -> None:
    """The process is killed meanwhile."""
    with suppress(OSError, http.client.HTTPException):
        ask(web, token, "POST", f"{path}/complete", {})


def _content(web: Web, token: str, file: str) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=60)
    connection.request("GET", f"/api/v1/files/{file}/content", headers={"Authorization": f"Bearer {token}"})
    data = connection.getresponse().read()
    connection.close()
    return data


def test_workers_remove_what_a_killed_process_has_left(stack: Stack) -> None:
    web, token = stack.web(), stack.token(f"leaver-{uuid4().hex[:8]}")
    _, upload = ask(web, token, "POST", "/uploads", {"filename": "long.txt", "bytes": len(DATA)})
    assert appended(web, token, upload["id"], 0) == PART
    append(web, token, upload["id"], PART)
    web.kill()
    assert files_of(stack)
    with stack.resources.database.system() as tx:
        execute(tx, "UPDATE uploads SET expires_at = expires_at - interval '3 hours'")
    stack.worker()

    def left() -> int:
        sql = "SELECT (SELECT count(*) FROM uploads) + (SELECT count(*) FROM upload_parts) AS n"
        with stack.resources.database.system() as tx:
            row = fetch_one(tx, sql)
        assert row is not None
        return int(row.n) + len(files_of(stack))

    until(lambda: left() == 0, 60, "that nothing is left")
