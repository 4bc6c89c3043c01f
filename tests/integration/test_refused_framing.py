"""Requests whose framing is broken or too long, straight at the web server: refused as problems, never as 500."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from tests.stack import SECRET, Stack, Web

POST = (
    "POST /api/v1/generations HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
)
CHUNKS = {
    "a size that is no number": "zz\r\n{}\r\n0\r\n\r\n",
    "a negative size": "-2\r\n{}\r\n0\r\n\r\n",
    "a size with a prefix": "0x2\r\n{}\r\n0\r\n\r\n",
    "an empty size": "\r\n{}\r\n0\r\n\r\n",
    "a size of seventeen digits": "1" * 17 + "\r\n{}",
    "a size line that is too long": "2;" + "x" * 20_000 + "\r\n{}\r\n0\r\n\r\n",
    "a size line without an end": "2;" + "x" * 20_000,
    "an extension with a control character": "2;a=\x01\r\n{}\r\n0\r\n\r\n",
    "an extension without a name": "2;=b\r\n{}\r\n0\r\n\r\n",
    "an extension with an open quote": '2;a="b\r\n{}\r\n0\r\n\r\n',
    "a chunk longer than its size": "2\r\n{}{}\r\n0\r\n\r\n",
    "a trailer without a colon": "2\r\n{}\r\n0\r\nbroken\r\n\r\n",
    "a trailer whose name has a space": "2\r\n{}\r\n0\r\na b: c\r\n\r\n",
}


@pytest.fixture(scope="module")
def web(module_stack: Stack) -> Web:
    return module_stack.web()


def problem(web: Web, request: str) -> dict[str, Any]:
    """The problem in the response to a raw request. The connection ends behind it."""
    received = b""
    with closing(socket.create_connection(("127.0.0.1", urlsplit(web.url).port or 0), 30)) as sock:
        sock.sendall(request.encode())
        while data := sock.recv(65536):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, received[:500]
    found: dict[str, Any] = json.loads(body)
    assert found["status"] == int(head.split()[1])
    return found


@pytest.mark.parametrize("chunks", CHUNKS)
def test_a_body_with_broken_chunks_is_a_bad_request(module_stack: Stack, web: Web, chunks: str) -> None:
    request = f"{POST}Authorization: Bearer {module_stack.token()}\r\n\r\n{CHUNKS[chunks]}"
    assert problem(web, request)["status"] == 400


def test_an_address_that_is_too_long_is_refused_as_a_problem(web: Web) -> None:
    assert problem(web, f"GET /{'x' * 20_000} HTTP/1.1\r\nHost: t\r\n\r\n")["status"] == 414


@pytest.mark.parametrize("fields", ["X-Long: " + "y" * 70_000, "\r\n".join(f"X-{n}: y" for n in range(200))])
def test_a_header_that_is_too_large_is_refused_as_a_problem(web: Web, fields: str) -> None:
    assert problem(web, f"GET /healthz HTTP/1.1\r\nHost: t\r\n{fields}\r\n\r\n")["status"] == 431


def test_a_token_of_nine_thousand_bytes_is_verified(module_stack: Stack, web: Web) -> None:
    short = module_stack.token("alice")
    claims = jwt.decode(short, SECRET, algorithms=["HS256"], audience="unbroken")
    token = jwt.encode({**claims, "groups": "g" * 6_600}, SECRET, algorithm="HS256")
    assert 9_000 <= len(token) < 10_000
    status, body = me(web, token)
    assert (status, body) == me(web, short)
    assert status == 200
    head, signed, signature = token.split(".")
    forged = ("A" if signature[0] != "A" else "B") + signature[1:]
    assert me(web, f"{head}.{signed}.{forged}")[0] == 401


def me(web: Web, token: str) -> tuple[int, dict[str, Any]]:
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(web.url).port or 0, timeout=30)) as connection:
        connection.request("GET", "/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
