"""Requests to receivers: where the connection leads, and the bounds on hostile responses. The servers are real."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from app.egress import exchange
from app.egress.client import EgressClient, Reply
from app.egress.exchange import EXCERPT_BYTES, MOST_HEAD_BYTES, Exchange, NoReply
from app.egress.resolver import NameNotFound, Resolver
from app.egress.rules import EgressRules, Refused, read_networks
from tests.unit.webhooks.receivers import Authority, Handler, Receiver, listening, request_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
# Only this one address of the machine may be called; servers also listen at 127.0.0.2, which may not.
RULES = EgressRules(read_networks(["127.0.0.1/32"]), ((1, 65_535),), http=True)
NAME = "hooks.example.com"
TOO_LONG = f"more than {MOST_HEAD_BYTES} bytes"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(test(), 60))


def resolving(*answers: list[str] | OSError) -> Callable[[str, int], list[str]]:
    """A look-up with one answer for each call, the last one for all further calls."""
    left: Iterator[list[str] | OSError] = iter(answers)
    last = answers[-1]

    def lookup(host: str, port: int) -> list[str]:
        nonlocal last
        last = next(left, last)
        if isinstance(last, OSError):
            raise last
        return last

    return lookup


def client(*answers: list[str] | OSError, seconds: float = 30.0, **options: Any) -> EgressClient:
    resolver = Resolver(RULES, resolving(*(answers or (["127.0.0.1"],))))
    return EgressClient(RULES, seconds, resolver, **options)


@asynccontextmanager
async def two_listening(handler: Handler | bytes) -> AsyncIterator[tuple[Receiver, Receiver]]:
    """A server at the allowed address, and one at a forbidden address with the same port."""
    async with AsyncExitStack() as stack:
        allowed = await stack.enter_async_context(listening(handler))
        yield allowed, await stack.enter_async_context(listening(handler, "127.0.0.2", allowed.port))


def test_a_request_leads_to_the_judged_address_under_its_name(authority: Authority) -> None:
    async def test() -> None:
        async with listening(OK, context=authority.server(NAME)) as receiver:
            sender = client(context=authority.client())
            reply = await sender.post(f"https://{NAME}:{receiver.port}/a?b=c", {"webhook-id": "evt_1"}, b"{}")
            assert reply == Reply(200, {"content-length": "4"}, b"good")
            [seen] = receiver.seen
            assert seen.line == "POST /a?b=c HTTP/1.1"
            assert seen.body == b"{}"
            assert seen.headers["host"] == f"{NAME}:{receiver.port}"
            assert seen.headers["webhook-id"] == "evt_1"
            assert receiver.names == [NAME]

    run(test)


@pytest.mark.parametrize("names", [("other.example.com",), ("127.0.0.1",)])
def test_a_certificate_of_another_name_gets_no_request(authority: Authority, names: tuple[str, ...]) -> None:
    async def test() -> None:
        async with listening(OK, context=authority.server(*names)) as receiver:
            with pytest.raises(NoReply, match="certificate"):
                await client(context=authority.client()).post(f"https://{NAME}:{receiver.port}/", {}, b"{}")
            assert receiver.seen == []

    run(test)


def test_a_certificate_of_an_unknown_authority_gets_no_request(authority: Authority) -> None:
    async def test() -> None:
        async with listening(OK, context=authority.server(NAME)) as receiver:
            with pytest.raises(NoReply, match="certificate"):
                await client().post(f"https://{NAME}:{receiver.port}/", {}, b"{}")
            assert receiver.seen == []

    run(test)


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.2"],
        ["127.0.0.1", "127.0.0.2"],
        ["127.0.0.1", "::1"],
        ["::ffff:127.0.0.1"],
        ["127.0.0.1", "fe80::1%lo"],
    ],
)
def test_a_name_with_a_forbidden_address_gets_no_connection(answer: list[str]) -> None:
    async def test() -> None:
        async with two_listening(OK) as (allowed, forbidden):
            with pytest.raises(Refused, match="WEBHOOK_ALLOWED_NETWORKS"):
                await client(answer).post(f"http://{NAME}:{allowed.port}/", {}, b"{}")
            assert (allowed.connections, forbidden.connections) == (0, 0)

    run(test)


def test_a_name_that_changes_to_a_forbidden_address_gets_no_connection_there() -> None:
    """Between the check and the connection nothing is looked up; each further request is checked again."""

    async def test() -> None:
        async with two_listening(OK) as (allowed, forbidden):
            sender = client(["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1"])
            url = f"http://{NAME}:{allowed.port}/"
            assert (await sender.post(url, {}, b"{}")).status == 200
            with pytest.raises(Refused):
                await sender.post(url, {}, b"{}")
            assert (await sender.post(url, {}, b"{}")).status == 200
            assert (allowed.connections, forbidden.connections) == (2, 0)

    run(test)


@pytest.mark.parametrize(
    "host", ["127.0.0.2", "2130706434", "0x7f.2", "[::1]", "0.0.0.0", "127.0.0.1@127.0.0.2", "127.0.0.2.", "127.2"]
)
def test_a_url_of_a_forbidden_address_gets_no_connection(host: str) -> None:
    async def test() -> None:
        async with two_listening(OK) as (allowed, forbidden):
            with pytest.raises(Refused):
                await client().post(f"http://{host}:{allowed.port}/", {}, b"{}")
            assert (allowed.connections, forbidden.connections) == (0, 0)

    run(test)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    async def test() -> None:
        async with listening(OK) as other:
            moved = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{other.port}/\r\nContent-Length: 0\r\n\r\n"
            async with listening(moved.encode()) as receiver:
                assert (await client().post(f"http://{NAME}:{receiver.port}/", {}, b"{}")).status == status
            assert other.connections == 0

    run(test)


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with listening(OK) as proxy, listening(OK) as receiver:
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            await client().post(f"http://{NAME}:{receiver.port}/", {}, b"{}")
            assert (proxy.connections, receiver.connections) == (0, 1)

    run(test)


def test_no_cookie_comes_back_and_no_connection_is_kept() -> None:
    async def test() -> None:
        async with listening(b"HTTP/1.1 204 Nothing\r\nSet-Cookie: a=b\r\n\r\n") as receiver:
            sender = client()
            for _ in range(2):
                assert (await sender.post(f"http://{NAME}:{receiver.port}/", {}, b"{}")).status == 204
            assert receiver.connections == 2
            assert all("cookie" not in seen.headers for seen in receiver.seen)

    run(test)


def test_the_next_address_is_tried_when_one_refuses() -> None:
    async def test() -> None:
        rules = EgressRules(read_networks(["127.0.0.0/8", "::1/128"]), ((1, 65_535),), http=True)
        async with listening(OK) as receiver:
            resolver = Resolver(rules, resolving(["::1", "127.0.0.9", "127.0.0.1"]))
            reply = await EgressClient(rules, 30, resolver).post(f"http://{NAME}:{receiver.port}/", {}, b"{}")
            assert reply.status == 200

    run(test)


# --- what a hostile receiver may answer


async def _forever(writer: asyncio.StreamWriter, part: bytes, pause: float) -> None:
    while True:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause)


def answering(first: bytes, part: bytes = b"", pause: float = 0.0) -> Handler:
    """A receiver that sends ``first``, and then ``part`` again and again."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(first)
        await writer.drain()
        await (_forever(writer, part, pause) if part else asyncio.sleep(3600))

    return handle


async def _post(handler: Handler | bytes, seconds: float = 30.0) -> Reply:
    async with listening(handler) as receiver:
        return await client(seconds=seconds).post(f"http://{NAME}:{receiver.port}/", {}, b"{}")


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        (answering(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"a" * 1000 + b"\r\n"), TOO_LONG),
        (answering(b"HTTP/1.1 200 OK\r\nX-Filler: ", b"a" * 1000), TOO_LONG),
        (answering(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), TOO_LONG),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", "protocol|before the response"),
        (b"", "ended before the response"),
        (b"HTTP/1.1 200 OK\r\nX-Half: ", "ended before the response"),
    ],
)  # fmt: skip
def test_a_response_that_is_none_is_a_failure(handler: Handler | bytes, sentence: str) -> None:
    async def test() -> None:
        with pytest.raises(NoReply, match=sentence):
            await _post(handler)

    run(test)


@pytest.mark.parametrize("handler", [answering(b""), answering(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.05)])
def test_a_receiver_that_is_silent_or_drips_its_head_ends_with_the_time(handler: Handler) -> None:
    async def test() -> None:
        with pytest.raises(NoReply, match="WEBHOOK_TIMEOUT_SECONDS"):
            await _post(handler, seconds=0.3)

    run(test)


@pytest.mark.parametrize(
    "handler",
    [
        answering(b"HTTP/1.1 200 OK\r\n\r\n", b"endless"),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65_536),
    ],
)
def test_a_body_without_an_end_is_read_up_to_the_excerpt(handler: Handler) -> None:
    async def test() -> None:
        reply = await _post(handler)
        assert reply.status == 200
        assert len(reply.excerpt) == EXCERPT_BYTES

    run(test)


def test_a_body_in_tiny_parts_of_long_chunks_is_given_up_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "EXCERPT_BYTES", 10**9)

    async def test() -> None:
        chunk = b"1;" + b"e" * 500 + b"\r\na\r\n"
        reply = await _post(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk))
        assert reply.status == 200
        assert 0 < len(reply.excerpt) <= 2 * exchange.MOST_BODY_BYTES / 500

    run(test)


def test_a_dripping_body_costs_a_second_and_the_delivery_has_succeeded() -> None:
    async def test() -> None:
        began = time.monotonic()
        reply = await _post(answering(b"HTTP/1.1 202 Accepted\r\n\r\n", b".", 0.05), seconds=60)
        assert reply.status == 202
        assert reply.excerpt.startswith(b".")
        assert time.monotonic() - began < 30

    run(test)


def test_a_compressed_body_stays_compressed() -> None:
    async def test() -> None:
        bomb = gzip.compress(b"a" * 10_000_000)
        reply = await _post(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + bomb)
        assert reply.excerpt == bomb[:EXCERPT_BYTES]

    run(test)


def test_a_receiver_that_never_begins_tls_ends_with_the_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async def test() -> None:
        async with listening(silent) as receiver:
            with pytest.raises(NoReply, match="WEBHOOK_TIMEOUT_SECONDS"):
                await client(seconds=0.3).post(f"https://{NAME}:{receiver.port}/", {}, b"{}")

    run(test)


def test_a_receiver_without_tls_is_named_so() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad\r\n\r\n")
        await writer.drain()

    async def test() -> None:
        async with listening(plain) as receiver:
            with pytest.raises(NoReply, match="no TLS"):
                await client().post(f"https://{NAME}:{receiver.port}/", {}, b"{}")

    run(test)


def test_a_closed_port_is_named_so() -> None:
    async def test() -> None:
        async with listening(OK) as receiver:
            port = receiver.port
        with pytest.raises(NoReply, match="refuses connections"):
            await client().post(f"http://{NAME}:{port}/", {}, b"{}")

    run(test)


def test_a_name_that_is_unknown_or_slow() -> None:
    async def lookups() -> AsyncIterator[Awaitable[Reply]]:
        yield client(OSError("unknown")).post("https://example.com/", {}, b"{}")
        yield client([]).post("https://example.com/", {}, b"{}")
        slow = Resolver(RULES, lambda host, port: over.wait(60) and [], seconds=0.05)
        yield EgressClient(RULES, 30, slow).post("https://example.com/", {}, b"{}")

    over = threading.Event()

    async def test() -> None:
        sentences = []
        async for lookup in lookups():
            with pytest.raises(NameNotFound) as refused:
                await lookup
            sentences.append(str(refused.value))
        over.set()
        assert sentences == [
            "the name was not found",
            "the name has no address",
            "the name was not looked up within 0.05 s",
        ]

    run(test)


def test_a_header_cannot_end_its_line() -> None:
    async def test() -> None:
        async with listening(OK) as receiver:
            with pytest.raises(Refused, match="header"):
                await client().post(f"http://{NAME}:{receiver.port}/", {"X-Request-Id": "a\r\nX: b"}, b"{}")
            assert receiver.connections == 0

    run(test)


def test_the_names_of_the_system_are_judged_too() -> None:
    async def test() -> None:
        async with listening(OK) as receiver:
            rules = EgressRules(ports=((1, 65_535),), http=True)
            with pytest.raises(Refused, match="WEBHOOK_ALLOWED_NETWORKS"):
                await EgressClient(rules, 30).post(f"http://localhost:{receiver.port}/", {}, b"{}")
            assert receiver.connections == 0

    run(test)


class Wire(asyncio.Transport):
    """The connection of an exchange that is fed by a test."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False

    def write(self, data: Any) -> None:
        """The request is dropped."""

    def abort(self) -> None:
        self.is_aborted = True


PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 500 No\r\n",
        b"\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
        b"A: " + b"b" * 9000,
        b"Content-Encoding: gzip\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        b"\x00",
        b"x" * 70_000,
    ]
)


@given(st.lists(PARTS | st.binary(max_size=20), max_size=12), st.integers(1, 20_000), st.booleans())
def test_no_bytes_of_a_receiver_break_an_exchange(parts: list[bytes], size: int, is_closed: bool) -> None:
    """However they are cut, they end the exchange within its bounds, or it waits for more."""

    async def test() -> None:
        wire, one = Wire(), Exchange(b"request")
        one.connection_made(wire)
        data = b"".join(parts)
        for begin in range(0, len(data), size):
            one.data_received(data[begin : begin + size])
        if is_closed:
            one.connection_lost(None)
        assert len(one.excerpt) <= EXCERPT_BYTES
        assert wire.is_aborted == one.over.done()
        assert one.head.done() or not one.over.done()
        if len(data) > MOST_HEAD_BYTES + exchange.MOST_BODY_BYTES + size or is_closed:
            assert one.over.done()
        if one.head.done() and one.head.exception() is None:
            assert 200 <= one.head.result() <= 999

    asyncio.run(test())
