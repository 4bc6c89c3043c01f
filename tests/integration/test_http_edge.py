"""Any bytes sent to the web server: whole responses that parse, or a clean end in time; never 500, never a held thread.

Hypothesis draws new examples at each run. An example is the requests that one client sends behind one another: valid,
broken or cut short, in pieces of any size. The expected responses follow from the construction of each request.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.stack import Stack, Web

# Longer than a busy machine keeps a client from its next piece.
DEADLINE_SECONDS = 3.0
# The deadline of the server, its lingering close of 2 s, and some seconds for a busy machine.
PATIENCE_SECONDS = 15.0
THREADS = 1
MAX_HEADER_BYTES = 20_000
# The statuses of a refused request. 501 and 505 are errors of the request, too.
REFUSALS = {400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 422, 429, 431, 501, 505}
ANY = frozenset({200, 202, 204, *REFUSALS})


@dataclass(frozen=True)
class Sent:
    """One request: its bytes, the allowed statuses of its response, and the state of the connection behind it."""

    data: bytes
    statuses: frozenset[int]
    method: str = "GET"
    openai: bool = False
    # "next": another request may follow. "end": the server ends the connection. "any": either.
    then: Literal["next", "end", "any"] = "next"


def right(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


TOKEN_PLACE = b"{token}"
FIELDS = st.lists(
    st.sampled_from(
        [
            b"Accept: */*",
            b"X-Empty:",
            b"X-Spaces:   a  b\t",
            b"Cookie: a=b; c=\xe4",
            b"Connection: keep-alive",
            b"Expect: 100-continue",
            b'If-None-Match: W/"x", *',
            b"Accept-Encoding: gzip;q=0, identity",
            b"TE: trailers",
            b"X-Forwarded-For: 1.2.3.4, junk",
            b"Last-Event-ID: 1-1",
            b"X-Long: " + b"y" * 9_000,
        ]
    ),
    max_size=3,
    unique=True,
)


def request(line: bytes, fields: list[bytes], body: bytes = b"") -> bytes:
    return b"\r\n".join([line, b"Host: t", *fields, b"", b""]) + body


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """The body in valid chunks of any size, with extensions and trailers."""
    extension = st.sampled_from([b"", b"", b";a", b";a=b", b' ; a="b c"'])
    pieces, at = [], 0
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        digits = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % size
        pieces.append(digits + draw(extension) + b"\r\n" + body[at : at + size] + b"\r\n")
        at += size
    trailers = draw(st.sampled_from([b"", b"", b"X-Sum: 1\r\n", b"A: 1\r\nB: 2\r\n"]))
    return b"".join(pieces) + b"0" + draw(extension) + b"\r\n" + trailers + b"\r\n"


@st.composite
def valid(draw: st.DrawFn) -> Sent:
    """A request that is complete and correctly framed."""
    fields = draw(FIELDS)
    known = b"Authorization: Bearer " + TOKEN_PLACE
    kind = draw(st.sampled_from(["health", "me", "nobody", "missing", "wrong method", "head", "post", "openai"]))
    match kind:
        case "health":
            return Sent(request(b"GET /healthz HTTP/1.1", fields), right(200))
        case "me":
            return Sent(request(b"GET /api/v1/me HTTP/1.1", [known, *fields]), right(200))
        case "nobody":
            return Sent(request(b"GET /api/v1/me HTTP/1.1", fields), right(401))
        case "missing":
            return Sent(request(b"GET /api/v1/%ff%00/../x?a=%zz HTTP/1.1", fields), right(400, 404, 401))
        case "wrong method":
            return Sent(request(b"DELETE /healthz HTTP/1.1", fields), right(405), "DELETE")
        case "head":
            return Sent(request(b"HEAD /healthz HTTP/1.1", fields), right(200), "HEAD")
    body = draw(st.sampled_from([b"", b"{}", b"[]", b'{"message": 1}', b"\xff\x00", b'{"a":' * 50, b" " * 40_000]))
    path = b"/v1/chat/completions" if kind == "openai" else b"/api/v1/generations"
    head = [known, b"Content-Type: application/json", *fields]
    if draw(st.booleans()):
        head, framed = [*head, b"Transfer-Encoding: chunked"], draw(chunked(body))
    else:
        head, framed = [*head, b"Content-Length: %d" % len(body)], body
    statuses = right(400, 413, 415, 422)
    return Sent(request(b"POST " + path + b" HTTP/1.1", head, framed), statuses, "POST", kind == "openai")


@st.composite
def broken(draw: st.DrawFn) -> Sent:
    """A request that no parser may accept."""
    post = b"POST /api/v1/generations HTTP/1.1"
    in_chunks = [b"Transfer-Encoding: chunked"]
    bad_chunks = [
        b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b"\r\n{}\r\n0\r\n\r\n",
        b"1" * 17 + b"\r\n{}", b"2;" + b"x" * 5_000 + b"\r\n{}", b"1\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nbroken\r\n\r\n",
        b"2\r\n{}\r\n0\r\na b: c\r\n\r\n", b"2;=\r\n{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n", b"2 3\r\n{}\r\n0\r\n\r\n",
    ]  # fmt: skip
    simple = {
        b"\r\nGET": right(400),
        b"GET": right(400),
        b"GET / HTTP/9.9": right(400, 505),
        b"GET / HTTP/1": right(400, 505),
        b"G\x00T / HTTP/1.1": right(400),
        b"get / HTTP/1.1": right(400, 404, 405, 501),
        b"GET  / HTTP/1.1": right(400),
        b"GET /" + b"x" * 9_000 + b" HTTP/1.1": right(414),
    }
    kind = draw(
        st.sampled_from(["line", "chunks", "chunks", "chunks", "lengths", "field", "large", "coding", "expect", "bare"])
    )
    match kind:
        case "line":
            line = draw(st.sampled_from(sorted(simple)))
            return Sent(request(line, []), simple[line], then="end")
        case "chunks":
            return Sent(request(post, in_chunks, draw(st.sampled_from(bad_chunks))), right(400), "POST", then="end")
        case "lengths":
            length = draw(st.sampled_from([b"-1", b"x", b"1, 2", b"0x1", b"", b"+1", b"1_0", b"9" * 400]))
            return Sent(request(post, [b"Content-Length: " + length]), right(400, 401, 413), "POST", then="end")
        case "field":
            field = draw(st.sampled_from([b"no colon", b": empty", b"a b: c", b"a\x00: c", b"a: \x00", b" folded: x"]))
            return Sent(request(b"GET /healthz HTTP/1.1", [field]), right(400), then="end")
        case "large":
            field = draw(
                st.sampled_from([b"X: " + b"y" * 18_000, b"\r\n".join([b"X: y"] * 200), b"X: " + b"z" * 90_000])
            )
            return Sent(request(b"GET /healthz HTTP/1.1", [field]), right(431), then="end")
        case "coding":
            coding = draw(st.sampled_from([b"gzip", b"identity, gzip", b"chunked, chunked", b"", b"chunked;q=1"]))
            return Sent(
                request(post, [b"Transfer-Encoding: " + coding], b"0\r\n\r\n"), right(400, 401, 501), "POST", then="end"
            )
        case "expect":
            return Sent(request(post, [b"Expect: the-unexpected"]), right(400, 401, 411, 415, 417), "POST", then="any")
    return Sent(b"GET /healthz HTTP/1.1\nHost: t\n\n", right(400), then="end")


@st.composite
def mutated(draw: st.DrawFn) -> Sent:
    """A valid request with some bytes changed, left out or put in; or bytes of no meaning at all."""
    if draw(st.booleans()):
        return Sent(draw(st.binary(min_size=1, max_size=300)), ANY, then="any")
    data = bytearray(draw(valid()).data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return Sent(bytes(data) or b"x", ANY, "HEAD" if data.startswith(b"HEAD ") else "GET", then="any")


@dataclass(frozen=True)
class Example:
    """The requests of one client and the way it sends them: in pieces, and with an ``end`` behind the last byte."""

    requests: list[Sent]
    cuts: list[int]
    end: Literal["shut", "leave"]
    # The number of bytes that the last request lacks.
    missing: int

    @property
    def fewest_responses(self) -> int:
        """The least number of responses: a request that ends the connection is the last with a response."""
        complete = self.requests[:-1] if self.missing or self.requests[-1].statuses == ANY else self.requests
        for number, one in enumerate(complete, 1):
            if one.then != "next":
                return number
        return len(complete)

    def pieces(self, token: str) -> list[bytes]:
        data = b"".join(one.data for one in self.requests)
        data = data[: len(data) - self.missing].replace(TOKEN_PLACE, token.encode())
        at = sorted({cut % (len(data) + 1) for cut in self.cuts} | {0, len(data)})
        return [data[first:last] for first, last in pairwise(at)]


@st.composite
def examples(draw: st.DrawFn) -> Example:
    requests = draw(st.lists(valid(), max_size=2))
    requests.append(draw(st.one_of(valid(), broken(), broken(), mutated())))
    end = draw(st.sampled_from(["shut", "shut", "shut", "shut", "leave"]))
    missing = draw(st.integers(0, len(requests[-1].data) - 1)) if draw(st.integers(0, 3)) == 0 else 0
    return Example(requests, draw(st.lists(st.integers(0, 100_000), max_size=6)), end, missing)  # type: ignore[arg-type]


@st.composite
def unfinished(draw: st.DrawFn) -> Example:
    """A request whose last bytes never come. One byte comes, because an idle connection has a longer deadline."""
    whole = draw(valid())
    return Example(
        [whole], draw(st.lists(st.integers(0, 100_000), max_size=3)), "shut", draw(st.integers(1, len(whole.data) - 1))
    )


@pytest.fixture(scope="module")
def web(module_stack: Stack) -> Web:
    """One process with one thread: any response proves that no other request holds the thread."""
    return module_stack.web(
        threads=THREADS,
        REQUEST_HEADER_SECONDS=DEADLINE_SECONDS,
        REQUEST_BODY_SECONDS=DEADLINE_SECONDS,
        MAX_HEADER_BYTES=MAX_HEADER_BYTES,
        RATELIMIT_READS="1000000/minute",
        RATELIMIT_GENERATIONS="1000000/minute",
        RATELIMIT_NEW_CONVERSATIONS="1000000/minute",
    )


def connect(web: Web) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", urlsplit(web.url).port or 0), PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def receive(sock: socket.socket) -> bytes:
    """Receive all bytes up to the end. Raises TimeoutError when the server holds the connection, and
    ConnectionResetError when it does not read on for a moment after a refusal.
    """
    received = b""
    while data := sock.recv(65_536):
        received += data
    return received


class Bytes:
    """The part of a socket's interface that http.client needs, over received bytes."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)

    def makefile(self, mode: str) -> Any:
        return io.BufferedReader(_Unclosed(self.stream))


class _Unclosed(io.RawIOBase):
    """Reads byte by byte, so that the bytes of the next response stay unread."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(1)
        buffer[: len(data)] = data
        return len(data)


def responses(received: bytes, methods: list[str]) -> Iterator[tuple[http.client.HTTPResponse, bytes]]:
    """Each response with its body. Raises http.client's errors for one that does not parse or is not whole."""
    data = Bytes(received)
    for number in range(len(methods) + 1):
        if data.stream.tell() == len(received):
            return
        assert number < len(methods), f"more responses than requests: {received[data.stream.tell() :][:200]!r}"
        response = http.client.HTTPResponse(data, method=methods[number])  # type: ignore[arg-type]
        response.begin()
        yield response, response.read()


def check_refusal(response: http.client.HTTPResponse, body: bytes, method: str) -> None:
    """Assert that a refusal is a problem or, on the OpenAI routes, an error in their form."""
    if method == "HEAD":
        return
    kind = response.headers.get_content_type()
    found = json.loads(body)
    if kind == "application/problem+json":
        assert found["status"] == response.status
        assert found["detail"]
    else:
        assert kind == "application/json"
        assert found["error"]["message"]


def check(example: Example, received: bytes) -> None:
    # A request with changed bytes may have become several.
    methods = [one.method for one in example.requests] + ["GET"] * (10 if example.requests[-1].statuses == ANY else 0)
    last = example.requests[-1]
    if not last.data[: len(last.data) - example.missing].startswith(b"HEAD "):
        # Its method did not arrive, so a refusal has a body.
        methods[len(example.requests) - 1] = "GET"
    found = list(responses(received, methods))
    assert len(found) >= example.fewest_responses, received[-2000:]
    for sent, method, (response, body) in zip(example.requests, methods, found, strict=False):
        allowed = ANY if sent is last and example.missing else sent.statuses
        assert response.status in allowed, (response.status, body[:300], sent.data[:200])
        if response.status >= 400:
            check_refusal(response, body, method)


def answers(web: Web, token: str) -> None:
    """Assert that another client gets its response, which needs a thread."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(web.url).port or 0, timeout=PATIENCE_SECONDS)
    with closing(connection):
        connection.request("GET", "/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert connection.getresponse().status == 200


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(example=examples())
def test_whatever_is_sent_is_answered_whole_or_ended_in_time(module_stack: Stack, web: Web, example: Example) -> None:
    token = module_stack.token("alice")
    note(repr(example)[:3000])
    with ExitStack() as held:
        # More connections than threads: if an unfinished request held a thread, no other request would get one.
        socks = [held.enter_context(closing(connect(web))) for _ in range(THREADS + 1)]
        for sock in socks:
            for piece in example.pieces(token):
                sock.sendall(piece)
            if example.end == "leave":
                sock.close()
            elif example.end == "shut":
                sock.shutdown(socket.SHUT_WR)
        answers(web, token)
        for sock in socks:
            if example.end == "shut":
                check(example, receive(sock))
    assert web.alive


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(stalled=st.lists(unfinished(), min_size=10, max_size=30))
def test_requests_that_never_become_complete_are_ended_at_their_deadline(
    module_stack: Stack, web: Web, stalled: list[Example]
) -> None:
    token = module_stack.token("alice")
    note(repr(stalled)[:3000])
    with ExitStack() as held:
        socks = [held.enter_context(closing(connect(web))) for _ in stalled]
        for sock, example in zip(socks, stalled, strict=True):
            for piece in example.pieces(token):
                sock.sendall(piece)
        answers(web, token)
        for sock, example in zip(socks, stalled, strict=True):
            check(example, receive(sock))
