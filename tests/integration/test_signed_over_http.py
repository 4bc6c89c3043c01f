"""Signed requests to processes behind a proxy: the address is the client's, and a nonce counts in all processes."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.signing import sign
from tests.stack import Stack, Web, until

SECRET = b"s" * 32
KEYS = f"billing:{b64encode(SECRET).decode()}@alice"
PUBLIC = "https://chat.example.com"
# A proxy of the deployment adds these; the address that the client wrote is in them.
FORWARDED = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "chat.example.com"}


@pytest.fixture(scope="module")
def web(module_stack: Stack) -> Iterator[Web]:
    web = module_stack.web(workers=2, HMAC_KEYS=KEYS, TRUSTED_PROXIES=1, JWT_SECRET_PREVIOUS="")
    yield web
    log = web.log()
    assert SECRET.decode() not in log
    assert b64encode(SECRET).decode() not in log


def send(web: Web, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=60)) as connection:
        connection.request(method, path, body, headers, encode_chunked=headers.get("Transfer-Encoding") == "chunked")
        response = connection.getresponse()
        return response.status, response.read()


def signed(method: str, path: str, origin: str = PUBLIC, body: bytes = b"", **parameters: Any) -> dict[str, str]:
    json_type = {"Content-Type": "application/json"} if body else {}
    return {**sign(SECRET, method, origin + path, json_type, body, **parameters), **FORWARDED}


@pytest.mark.parametrize(
    "path", ["/api/v1/me", "/api/v1/search?q=%7Etides%2fmoon+x&limit=3", "/api/v1/conversations?", "/api/v1/../v1/me"]
)
def test_an_address_is_signed_as_it_is_written(web: Web, path: str) -> None:
    assert send(web, "GET", path, signed("GET", path))[0] in (200, 404)
    if "%7E" in path:
        other = path.replace("%7E", "~")
        assert send(web, "GET", other, signed("GET", path))[0] == 401


def test_the_address_is_that_in_front_of_the_proxy(web: Web) -> None:
    assert send(web, "GET", "/api/v1/me", signed("GET", "/api/v1/me", web.url))[0] == 401
    plain = signed("GET", "/api/v1/me", "http://chat.example.com")
    assert send(web, "GET", "/api/v1/me", plain)[0] == 401
    elsewhere = {**signed("GET", "/api/v1/me"), "X-Forwarded-Host": "evil.example"}
    assert send(web, "GET", "/api/v1/me", elsewhere)[0] == 401
    # Only the entry that the last proxy wrote is trusted.
    appended = {**signed("GET", "/api/v1/me"), "X-Forwarded-Host": "evil.example, chat.example.com"}
    assert send(web, "GET", "/api/v1/me", appended)[0] == 200


def test_one_of_many_repeats_is_accepted_in_all_processes(web: Web) -> None:
    headers = signed("GET", "/api/v1/me")
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda _: send(web, "GET", "/api/v1/me", headers)[0], range(24)))
    assert statuses == {200: 1, 401: 23}


def test_a_body_in_chunks_is_checked(web: Web) -> None:
    body = json.dumps({"message": "Tell me about tides"}).encode()
    chunked = {"Transfer-Encoding": "chunked"}
    path = "/api/v1/generations"
    status, answer = send(web, "POST", path, {**signed("POST", path, body=body), **chunked}, iter([body[:9], body[9:]]))
    assert status == 202, answer
    other = body.replace(b"tides", b"moons")
    assert send(web, "POST", path, {**signed("POST", path, body=body), **chunked}, iter([other]))[0] == 401


def test_the_reason_of_a_refusal_is_in_the_log(web: Web) -> None:
    assert send(web, "GET", "/api/v1/me", signed("GET", "/api/v1/me", "https://evil.example"))[0] == 401
    # A line is written behind the reply.
    until(lambda: "refused" in web.log(), what="the reason")


def test_two_headers_of_one_name_are_one_wrong_header(web: Web) -> None:
    headers = signed("GET", "/api/v1/me")
    with closing(http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=60)) as connection:
        connection.putrequest("GET", "/api/v1/me")
        for name, value in [*headers.items(), ("signature", headers["signature"])]:
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 401


def test_a_request_that_waited_is_not_authenticated_again(web: Web) -> None:
    body = json.dumps({"message": "Tell me about tides"}).encode()
    path = "/api/v1/generations"
    status, answer = send(web, "POST", path, signed("POST", path, body=body), body)
    assert status == 202, answer
    waited = f"{path}/{json.loads(answer)['generation']['id']}?after=0-0&wait=1"
    status, answer = send(web, "GET", waited, signed("GET", waited))
    assert (status, json.loads(answer)["status"]) == (200, "queued")
