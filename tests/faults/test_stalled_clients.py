"""Clients that stall, wait or leave, straight at the web server: they cost only themselves."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.stack import Stack, Web, until

HALF_REQUESTS = 300
WAITING = 140
# A thread that a client holds is free after SECONDS, no sooner. A busy machine may need a second for any request.
HELD_SECONDS = 5
SECONDS = {"REQUEST_HEADER_SECONDS": 8, "REQUEST_BODY_SECONDS": 8, "RESPONSE_STALL_SECONDS": 8}


@pytest.fixture(scope="module")
def web(module_stack: Stack) -> Web:
    """One process with eight threads: a request that holds a thread is noticed at once."""
    return module_stack.web(threads=8, **SECONDS)


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """The sockets that a test's clients hold open."""
    with ExitStack() as stack:
        yield stack


def connect(web: Web, held: ExitStack, *, receive: int | None = None) -> socket.socket:
    sock = held.enter_context(closing(socket.socket()))
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", urlsplit(web.url).port))
    return sock


def call(
    web: Web, method: str, path: str, token: str = "", body: bytes | None = None, timeout: float = 30, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(web.url).port or 0, timeout=timeout)
    with closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            named["Authorization"] = f"Bearer {token}"
        if body is not None:
            named.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def slowest(web: Web, token: str, count: int = 60) -> float:
    """Send ``count`` requests of another client to two routes. Returns the seconds of the slowest."""
    took = []
    for n in range(count):
        begun = time.monotonic()
        status, _, _ = call(web, "GET", "/healthz" if n % 2 else "/api/v1/me", token, timeout=10)
        assert status == 200
        took.append(time.monotonic() - begun)
    return max(took)


def read_all(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def problem_of(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head, answer
    found: dict[str, Any] = json.loads(body)
    assert found["status"] == int(answer.split()[1])
    return found


POST = "POST /api/v1/generations HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
HALVES: dict[str, Callable[[str], str]] = {
    "half a header": lambda token: f"GET /api/v1/me HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nX-Mo",
    "half a first line": lambda token: "GET /api/v1",
    "half a body without a token": lambda token: f"{POST}Content-Length: 500\r\n\r\n{{}} ",
    "half a body with a token": lambda token: (
        f"{POST}Authorization: Bearer {token}\r\nContent-Length: 500\r\n\r\n{{}} "
    ),
    "half a chunk": lambda token: f"{POST}Authorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{{",
}


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_holds_nobody_up_and_is_refused_in_time(
    module_stack: Stack, web: Web, held: ExitStack, half: str
) -> None:
    token = module_stack.token("mallory")
    socks = [connect(web, held) for _ in range(HALF_REQUESTS)]
    begun = time.monotonic()
    for sock in socks:
        sock.sendall(HALVES[half](token).encode())
    assert slowest(web, module_stack.token("alice")) < HELD_SECONDS
    for sock in socks:
        found = problem_of(read_all(sock))
        assert found["status"] == 408
        variable = "REQUEST_BODY_SECONDS" if half in list(HALVES)[2:] else "REQUEST_HEADER_SECONDS"
        assert variable in found["detail"]
        assert found["errors"][0]["field"] == variable
    assert time.monotonic() - begun < 25


def test_idle_connections_hold_nobody_up_and_are_closed_in_time(module_stack: Stack, web: Web, held: ExitStack) -> None:
    socks = [connect(web, held) for _ in range(HALF_REQUESTS)]
    begun = time.monotonic()
    assert slowest(web, module_stack.token("alice")) < HELD_SECONDS
    for sock in socks:
        assert sock.recv(1) == b""
    assert time.monotonic() - begun < 25


def test_a_body_that_drips_is_refused_at_its_deadline(module_stack: Stack, web: Web, held: ExitStack) -> None:
    begun = time.monotonic()
    sock = connect(web, held)
    sock.sendall(f"{POST}Authorization: Bearer {module_stack.token()}\r\nContent-Length: 500\r\n\r\n{{".encode())
    sock.settimeout(0.2)
    while time.monotonic() - begun < 25:
        sock.send(b" ")
        try:
            answer = sock.recv(65536)
            break
        except TimeoutError:
            continue
    assert problem_of(answer)["status"] == 408
    assert 7 < time.monotonic() - begun < 20


# -- waiting for an answer


COMPLETION = json.dumps({"model": "offline", "messages": [{"role": "user", "content": "hi"}]})


def ask_completion(web: Web, held: ExitStack, token: str) -> socket.socket:
    """Send a request for a chat completion. No worker runs, so the request waits."""
    sock = connect(web, held)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n"
    fields = f"Content-Type: application/json\r\nContent-Length: {len(COMPLETION)}\r\n\r\n"
    sock.sendall((head + fields + COMPLETION).encode())
    return sock


def places(stack: Stack, user: str) -> int:
    """The number of a user's places in the stream quota in Redis."""
    id_ = stack.resources.users.user(user, None).id
    keys = stack.resources.redis.keys(f"{stack.namespace}:streams:*{id_}*")
    return sum(stack.resources.redis.zcard(key) for key in keys)


def test_completions_that_wait_hold_nobody_up_and_free_their_places_when_the_clients_leave(
    module_stack: Stack, web: Web, held: ExitStack
) -> None:
    users = [f"waiter-{n}" for n in range(WAITING // 10)]
    socks = [ask_completion(web, held, module_stack.token(user)) for user in users for _ in range(10)]
    until(lambda: sum(places(module_stack, user) for user in users) == WAITING)
    assert slowest(web, module_stack.token("alice")) < HELD_SECONDS
    assert ask_completion(web, held, module_stack.token(users[0])).recv(12) == b"HTTP/1.1 429"
    for n, sock in enumerate(socks):
        if n % 3 == 0:
            # The client shuts down its sending side only. The server takes that for the end of the client.
            sock.shutdown(socket.SHUT_WR)
        elif n % 3 == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        else:
            sock.close()
    # A place of a client that did not say goodbye ends after a minute.
    until(lambda: sum(places(module_stack, user) for user in users) == 0)
    status, _, _ = call(web, "GET", "/api/v1/me", module_stack.token(users[0]))
    assert status == 200


def test_polls_that_wait_hold_nobody_up_and_end_when_they_said(module_stack: Stack, web: Web, held: ExitStack) -> None:
    token = module_stack.token("poller")
    _, _, body = call(web, "POST", "/api/v1/generations", token, b'{"message": "hi"}')
    path = f"/api/v1/generations/{json.loads(body)['generation']['id']}?after=0-0&wait=8"
    # Longer than the keepalive of this deployment, 2 s.
    socks = [connect(web, held) for _ in range(WAITING)]
    begun = time.monotonic()
    for sock in socks:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    # The arrival of so many costs processor time. A thread that a poll holds is free after 8 s, no sooner.
    assert slowest(web, module_stack.token("alice")) < HELD_SECONDS
    for sock in socks:
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert 7.9 < time.monotonic() - begun < 22


def test_a_connection_that_has_waited_is_kept_alive_for_the_next_request(
    module_stack: Stack, web: Web, held: ExitStack
) -> None:
    token = module_stack.token("poller")
    _, _, body = call(web, "POST", "/api/v1/generations", token, b'{"message": "hi"}')
    path = f"/api/v1/generations/{json.loads(body)['generation']['id']}?after=0-0&wait=1"
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(web.url).port or 0, timeout=30)
    with closing(connection):
        for target in (path, "/api/v1/me", path, "/healthz"):
            connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()


def test_old_clients_streams_hold_nobody_up(module_stack: Stack, web: Web, held: ExitStack) -> None:
    socks = []
    for n in range(WAITING // 10):
        token = module_stack.token(f"old-{n}")
        _, _, body = call(web, "POST", "/api/v1/generations", token, b'{"message": "hi"}')
        path = f"/api/v1/generations/{json.loads(body)['generation']['id']}/stream"
        for _ in range(10):
            sock = connect(web, held)
            sock.sendall(f"GET {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            socks.append(sock)
    for sock in socks:
        received = b""
        while b"open" not in received:
            received += sock.recv(65536)
        assert b"\r\n\r\ndata: " in received
    assert slowest(web, module_stack.token("alice")) < HELD_SECONDS


# -- responses that clients do not read


def test_slow_readers_of_a_large_answer_hold_nobody_up_and_are_cut_off(
    module_stack: Stack, web: Web, held: ExitStack
) -> None:
    token = module_stack.token("reader")
    said = {"parent": None, "role": "assistant", "status": "completed", "created_at": "2026-01-01T00:00:00Z"}
    document = {
        "format": "unbroken.conversation",
        "version": 1,
        "conversation": {"created_at": "2026-01-01T00:00:00Z"},
        "messages": [{**said, "content": "x" * 2_500_000}, {**said, "content": "y" * 2_500_000}],
    }
    status, _, body = call(web, "POST", "/api/v1/conversations/import", token, json.dumps(document).encode())
    assert status == 201, body
    path = f"/api/v1/conversations/{json.loads(body)['id']}/messages"
    socks = [connect(web, held, receive=4096) for _ in range(40)]
    for sock in socks:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    done = threading.Event()
    held.callback(done.set)
    assert slowest(web, module_stack.token("alice"), 30) < 3
    # A client that reads everything receives everything.
    _, _, answer = call(web, "GET", path, token)
    assert len(json.loads(answer)["items"]) == 2
    assert len(answer) > 5_000_000
    time.sleep(10)
    broken = 0
    for sock in socks:
        try:
            broken += len(read_all(sock)) < 5_000_000
        except ConnectionResetError:
            broken += 1
    assert broken == len(socks)
