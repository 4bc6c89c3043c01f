"""The two HTTP transports, byte by byte, against servers that send exactly the bytes of a test."""

from __future__ import annotations

import asyncio
import gzip
import random
import ssl
import subprocess
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from worker.providers.http import direct as http_direct
from worker.providers.http.direct import DirectTransport
from worker.providers.http.interface import (
    CannotConnect,
    ConnectionBroken,
    TooLarge,
    Transport,
    UnreadableBody,
    content_type,
)
from worker.providers.http.proxied import ProxiedTransport
from worker.providers.http.transports import environment_proxy, proxy_refusal

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Ways = tuple[Callable[[], Transport], Callable[[], asyncio.AbstractEventLoop]]


DIRECT: Ways = (DirectTransport, uvloop.new_event_loop)


@pytest.fixture(params=["direct-uvloop", "direct-asyncio", "proxied-asyncio"])
def way(request: pytest.FixtureRequest) -> Ways:
    transport, _, loop = request.param.partition("-")
    return (
        DirectTransport if transport == "direct" else lambda: ProxiedTransport(None),
        uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop,
    )


def run(way: Ways, handler: Handler, use: Callable[[Transport, str], Awaitable[Any]]) -> Any:
    make, loop = way

    async def main() -> Any:
        transport = make()
        async with serving(handler) as url, asyncio.timeout(90):
            try:
                return await use(transport, url)
            finally:
                await transport.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> Any:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        scheme = "https" if context else "http"
        yield f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


def saying(*parts: bytes, pause: float = 0.01) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return handler


async def turns(count: int = 30) -> None:
    """So many turns of the loop, in which everything arrives that was sent before. One long sleep may be one turn."""
    for _ in range(count):
        await asyncio.sleep(0.01)


async def settled(value: Callable[[], Any]) -> Any:
    """A value, once several turns of the loop have not changed it."""
    seen, since = value(), 0
    while since < 10:
        await turns(4)
        seen, since = (seen, since + 1) if value() == seen else (value(), 0)
    return seen


async def poured(transport: Transport, url: str) -> tuple[int, bytes]:
    answer = await transport.open("POST", f"{url}/v1/x", {"X-Test": "1"}, b"body")
    parts: list[bytes] = []
    assert not await answer.pour(lambda part: parts.append(part) or not part)
    answer.close()
    return answer.status, b"".join(parts)


async def everything(transport: Transport, url: str) -> tuple[int, bytes]:
    answer = await transport.open("POST", f"{url}/v1/x", {"X-Test": "1"}, b"body")
    body = b""
    while data := await answer.read():
        body += data
    answer.close()
    return answer.status, body


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [OK + b"Content-Length: 5\r\n\r\nhello"],
        [OK + b"Content-Length: 5\r\n\r\n", b"he", b"llo"],
        [CHUNKED, b"2\r\nhe\r\n", b"3\r\nl", b"lo\r\n0\r\n\r\n"],
        [CHUNKED + b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"Content-Length: 5\r\n\r\nhello"],
        [OK + b"Connection: close\r\n\r\nhe", b"llo"],
        [b"HTTP/1.0 200 OK\r\n\r\nhello"],
        [OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(b"hello")],
    ],
)
def test_every_way_to_frame_a_body_is_read(way: Ways, parts: list[bytes]) -> None:
    assert run(way, saying(*parts), everything) == run(way, saying(*parts), poured) == (200, b"hello")


def test_what_is_poured_ends_when_it_is_enough_and_the_connection_is_used_again(way: Ways) -> None:
    heard = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            # The next part is sent when this one was received, so that they never arrive together.
            for part in (CHUNKED + b"1\r\na\r\n", b"1\r\nb\r\n"):
                writer.write(part)
                await heard.wait()
                heard.clear()
            writer.write(b"1\r\nc\r\n0\r\n\r\n")

    async def twice(transport: Transport, url: str) -> list[bytes]:
        parts: list[bytes] = []
        for _ in range(2):
            answer = await transport.open("GET", url, {})
            assert await answer.pour(lambda part: parts.append(part) or heard.set() or part == b"b")
            answer.release()
            await asyncio.sleep(0.1)
        return parts

    assert run(way, handler, twice) == [b"a", b"b", b"a", b"b"]


def test_what_had_come_before_a_break_is_poured(way: Ways) -> None:
    async def use(transport: Transport, url: str) -> bytes:
        parts: list[bytes] = []
        answer = await transport.open("GET", url, {})
        with pytest.raises(ConnectionBroken):
            await answer.pour(lambda part: bool(parts.append(part)))
        return b"".join(parts)

    assert run(way, saying(CHUNKED, b"3\r\nabc\r\n", b"5\r\nde"), use) in (b"abc", b"abcde")


def test_what_the_taker_raises_is_raised_to_the_one_who_pours(way: Ways) -> None:
    async def use(transport: Transport, url: str) -> None:
        def take(part: bytes) -> bool:
            raise ZeroDivisionError

        answer = await transport.open("GET", url, {})
        with pytest.raises(ZeroDivisionError):
            await answer.pour(take)
        answer.close()

    run(way, saying(CHUNKED + b"1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n"), use)
    run(way, saying(CHUNKED, b"1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n"), use)


def test_who_leaves_while_it_pours_hears_no_more(way: Ways) -> None:
    async def use(transport: Transport, url: str) -> int:
        parts: list[bytes] = []
        answer = await transport.open("GET", url, {})
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await answer.pour(lambda part: bool(parts.append(part)))
        heard = len(parts)
        await asyncio.sleep(0.1)
        answer.close()
        return len(parts) - heard

    assert run(way, saying(CHUNKED, *[b"1\r\na\r\n"] * 25), use) == 0


def test_headers_split_anywhere_are_read(way: Ways) -> None:
    answer = OK + b"Content-Length: 5\r\n\r\nhello"
    assert (
        run(way, saying(*(answer[i : i + 7] for i in range(0, len(answer), 7)), pause=0.002), everything)[1] == b"hello"
    )


def test_the_request_is_sent_whole(way: Ways) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_of(reader))
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async def use(transport: Transport, url: str) -> str:
        await transport.open("POST", f"{url}/v1/x?version=2", {"Authorization": "Bearer k"}, b"b" * 300_000)
        return url

    url = run(way, handler, use)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x?version=2 HTTP/1.1\r\n")
    assert b"\r\nHost: " + url.partition("//")[2].encode() in head
    assert b"\r\nAuthorization: Bearer k" in head
    assert body == b"b" * 300_000


def test_headers_are_found_in_lower_case(way: Ways) -> None:
    async def use(transport: Transport, url: str) -> tuple[str | None, str]:
        answer = await transport.open("GET", url, {})
        return answer.headers.get("retry-after"), content_type(answer)

    answer = OK + b"RETRY-After: 7\r\nContent-TYPE: Text/HTML; charset=x\r\nContent-Length: 0\r\n\r\n"
    assert run(way, saying(answer), use) == ("7", "text/html")


@pytest.mark.parametrize(
    "parts",
    [
        [OK + b"Content-Length: 10\r\n\r\nhello"],
        [CHUNKED + b"5\r\nhello\r\n"],
        [CHUNKED, b"5\r\nhello\r\n", b"7\r\nhel"],
    ],
)
def test_a_body_that_breaks_off_is_read_up_to_there_and_then_fails(way: Ways, parts: list[bytes]) -> None:
    assert run(way, saying(*parts, pause=0.05), up_to_the_break).startswith(b"hello")


def test_a_body_that_is_not_http_any_more_fails() -> None:
    # aiohttp waits on without an error: behind a proxy the deadlines of the worker end such a call.
    handler = saying(CHUNKED, b"5\r\nhello\r\n", b"zz\r\nnonsense", pause=0.05)
    assert run(DIRECT, handler, up_to_the_break) == b"hello"


async def up_to_the_break(transport: Transport, url: str) -> bytes:
    answer = await transport.open("GET", url, {})
    body = await answer.read()
    with suppress(ConnectionBroken):
        while data := await answer.read():
            body += data
        pytest.fail("it ended as if it were whole")
    with pytest.raises(ConnectionBroken):
        await answer.read()
    return body


def test_what_came_before_a_break_is_read_even_when_the_reader_is_late() -> None:
    async def use(transport: Transport, url: str) -> bytes:
        answer = await transport.open("GET", url, {})
        await asyncio.sleep(0.2)
        body = await answer.read()
        with pytest.raises(ConnectionBroken):
            await answer.read()
        return body

    assert run(DIRECT, saying(CHUNKED, b"5\r\nhello\r\n"), use) == b"hello"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n"])
def test_no_answer_is_a_broken_connection(way: Ways, answer: bytes) -> None:
    with pytest.raises(ConnectionBroken):
        run(way, saying(answer), everything)


def test_a_change_of_protocol_is_refused() -> None:
    with pytest.raises(ConnectionBroken):
        run(DIRECT, saying(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), everything)


def endlessly(start: bytes, more: bytes) -> Handler:
    """A handler that sends the start, then more as long as the client reads, up to 50 MB."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(start)
        for _ in range(50_000_000 // len(more)):
            writer.write(more)
            await writer.drain()

    return handler


@pytest.mark.parametrize(
    ("start", "more"),
    [(OK, b"X-More: " + b"x" * 4000 + b"\r\n"), (OK + b"X-Endless: ", b"x" * 4000), (b"HTTP/1.1 200 ", b"O" * 4000)],
    ids=["many", "one", "status line"],
)
def test_endless_headers_are_refused(way: Ways, start: bytes, more: bytes) -> None:
    with pytest.raises(TooLarge):
        run(way, endlessly(start, more), everything)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: ", b"x" * 4000),
        (CHUNKED + b"5;", b"x" * 4000),
    ],
    ids=["interim answers", "trailers", "extensions"],
)
def test_other_framing_without_end_is_refused(start: bytes, more: bytes) -> None:
    with pytest.raises(TooLarge):
        run(DIRECT, endlessly(start, more), everything)


def packed(body: bytes, encoding: str) -> bytes:
    for _ in encoding.split(","):
        body = gzip.compress(body)
    return body


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "gzip, gzip", "identity, gzip", ""])
def test_a_compressed_body_is_read_whatever_its_label_looks_like(way: Ways, encoding: str) -> None:
    body = packed(b"hello", encoding if encoding.startswith("gzip, ") else "gzip")
    label = f"Content-Encoding: {encoding}\r\n".encode() if encoding else b""
    parts = [OK + label + b"Connection: close\r\n\r\n", *(body[at : at + 1] for at in range(len(body)))]
    for handler in (saying(*parts, pause=0), saying(b"".join(parts))):
        assert run(way, handler, everything) == run(way, handler, poured) == (200, b"hello")


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, br", b"gzip, gzip, gzip, gzip"])
def test_an_encoding_that_cannot_be_read_is_named(way: Ways, encoding: bytes) -> None:
    handler = saying(OK + b"Content-Encoding: " + encoding + b"\r\nContent-Length: 5\r\n\r\nhello")
    for use in (everything, poured):
        with pytest.raises(UnreadableBody, match=r"br|zstd|4 encodings"):
            run(way, handler, use)


def test_damaged_compression_is_a_broken_connection(way: Ways) -> None:
    handler = saying(OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8bllo")
    for use in (everything, poured):
        with pytest.raises(ConnectionBroken):
            run(way, handler, use)


@pytest.mark.parametrize("label", [b"gzip", b"x-gzip", b"GZIP", b"br", b"zstd"])
def test_a_body_that_is_not_compressed_is_read_whatever_its_label(way: Ways, label: bytes) -> None:
    body = b'data: {"choices":[]}\n\n'
    handler = saying(OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (label, len(body)) + body)
    for use in (everything, poured):
        assert run(way, handler, use) == (200, body)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_is_handed_over_in_small_parts_and_others_go_on(way: Ways, layers: int) -> None:
    size = 100_000_000
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)) + packer.flush()
    if layers == 2:
        bomb = gzip.compress(bomb)
    label = b", ".join([b"gzip"] * layers)
    answer = OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (label, len(bomb)) + bomb

    async def use(transport: Transport, url: str) -> tuple[int, int, int]:
        read, largest, ticks = 0, 0, 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        def sink(part: bytes) -> bool:
            nonlocal read, largest
            read, largest = read + len(part), max(largest, len(part))
            return False

        ticking = asyncio.ensure_future(tick())
        answer = await transport.open("GET", url, {})
        assert not await answer.pour(sink)
        ticking.cancel()
        return read, largest, ticks

    read, largest, ticks = run(way, saying(answer), use)
    assert read == size
    assert largest <= 65_536
    assert ticks >= size // 65_536 // 17


@pytest.mark.parametrize("compressed", [False, True])
def test_who_rests_is_given_nothing_and_the_rest_stays_in_the_network(way: Ways, compressed: bool) -> None:
    sent: list[int] = [0]
    # Random bytes, which no compression makes smaller.
    block = random.Random(1).randbytes(100_000)
    packer = zlib.compressobj(0, zlib.DEFLATED, 31)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + (b"Content-Encoding: gzip\r\n" if compressed else b"") + b"Connection: close\r\n\r\n")
        for _ in range(400):
            writer.write(packer.compress(block) if compressed else block)
            await writer.drain()
            sent[0] += len(block)
        writer.write(packer.flush() if compressed else b"")
        await writer.drain()

    async def use(transport: Transport, url: str) -> tuple[int, int, int, int]:
        body = 0

        def sink(part: bytes) -> bool:
            nonlocal body
            if body == 0:
                answer.pause()
            body += len(part)
            return False

        answer = await transport.open("GET", url, {})
        pouring = asyncio.ensure_future(answer.pour(sink))
        first, before = await settled(lambda: (body, sent[0]))
        answer.resume()
        assert not await pouring
        return first, before, body, sent[0]

    first, before, body, after = run(way, handler, use)
    assert 0 < first <= 512 * 1024
    assert before < 20_000_000
    assert (body, after) == (40_000_000, 40_000_000)


def test_what_has_come_when_the_connection_is_lost_is_given_to_who_rests_first(way: Ways) -> None:
    async def use(transport: Transport, url: str) -> bytes:
        body = b""

        def sink(part: bytes) -> bool:
            nonlocal body
            if not body:
                answer.pause()
            body += part
            return False

        answer = await transport.open("GET", url, {})
        pouring = asyncio.ensure_future(answer.pour(sink))
        await asyncio.sleep(0.2)
        answer.resume()
        await pouring
        return body

    parts = [b"5\r\nhello\r\n", b"5\r\nworld\r\n0\r\n\r\n"]
    assert run(way, saying(CHUNKED, *parts), use) == b"helloworld"


def test_nobody_there_is_told_apart(way: Ways) -> None:
    async def use(transport: Transport, url: str) -> None:
        async with serving(saying(b"")) as gone:
            pass
        await transport.open("GET", gone, {})

    with pytest.raises(CannotConnect):
        run(way, saying(b""), use)


def test_a_name_that_does_not_exist_is_told_apart(way: Ways) -> None:
    async def use(transport: Transport, url: str) -> None:
        await transport.open("GET", "http://does-not-exist.invalid/", {})

    with pytest.raises(CannotConnect):
        run(way, saying(b""), use)


# --- using a connection again


def counting(connections: list[int], answer: Callable[[int], bytes], stay: bool = True) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        mine = len(connections) - 1
        while True:
            await request_of(reader)
            connections[mine] += 1
            writer.write(answer(connections[mine]))
            await writer.drain()
            if not stay:
                return

    return handler


async def two_requests(transport: Transport, url: str) -> list[bytes]:
    bodies = [(await everything(transport, url))[1]]
    # The other side's end arrives.
    await turns()
    return [*bodies, (await everything(transport, url))[1]]


def test_a_connection_read_to_the_end_is_used_again(way: Ways) -> None:
    seen: list[int] = []
    answers = run(way, counting(seen, lambda n: CHUNKED + b"1\r\n%d\r\n0\r\n\r\n" % n), two_requests)
    assert (answers, seen) == ([b"1", b"2"], [2])


@pytest.mark.parametrize("header", [b"Connection: close\r\n", b""])
def test_a_connection_the_server_closes_is_not_used_again(way: Ways, header: bytes) -> None:
    seen: list[int] = []
    handler = counting(seen, lambda _: OK + header + b"Content-Length: 2\r\n\r\nhi", stay=False)
    assert run(way, handler, two_requests) == [b"hi", b"hi"]
    assert seen == [1, 1]


def test_an_unread_rest_never_reaches_the_next_request(way: Ways) -> None:
    seen: list[int] = []

    async def use(transport: Transport, url: str) -> bytes:
        answer = await transport.open("GET", url, {})
        assert (await answer.read()).startswith(b"1")
        answer.close()
        return (await everything(transport, url))[1]

    long = b"x" * 100_000

    def answer(n: int) -> bytes:
        head = CHUNKED + b"1\r\n%d\r\n" % len(seen)
        return head if len(seen) == 1 else head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(long), long)

    assert run(way, counting(seen, answer), use) == b"2" + long


def test_a_released_answer_gives_its_connection_back_when_it_ends(way: Ways) -> None:
    seen: list[int] = []
    sent = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(0)
        while True:
            await request_of(reader)
            seen[-1] += 1
            writer.write(CHUNKED + b"4\r\ndone\r\n")
            await asyncio.sleep(0.05)
            writer.write(b"100000\r\n" + bytes(0x100000) + b"\r\n0\r\n\r\n")
            await writer.drain()
            sent.set()

    async def use(transport: Transport, url: str) -> list[bytes]:
        bodies = []
        for _ in range(2):
            answer = await transport.open("GET", url, {})
            bodies.append(await answer.read())
            answer.release()
            await sent.wait()
            sent.clear()
            # The rest of the body is in the sockets.
            await turns()
        return bodies

    assert run(way, handler, use) == [b"done", b"done"]
    assert seen == [2]


def test_a_released_answer_that_never_ends_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_direct, "RELEASE_SECONDS", 0.05)
    left = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(CHUNKED + b"4\r\ndone\r\n")
        await reader.read()
        left.set()

    async def use(transport: Transport, url: str) -> None:
        answer = await transport.open("GET", url, {})
        await answer.read()
        answer.release()
        await left.wait()

    run(DIRECT, handler, use)


def test_an_idle_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_direct, "KEEPALIVE_SECONDS", 0.05)
    seen: list[int] = []

    async def use(transport: Transport, url: str) -> None:
        await everything(transport, url)
        await asyncio.sleep(0.15)
        await everything(transport, url)

    run(DIRECT, counting(seen, lambda _: OK + b"Content-Length: 2\r\n\r\nhi"), use)
    assert seen == [1, 1]


# --- many bytes, and TLS


def test_a_reader_that_does_not_read_costs_no_memory(way: Ways) -> None:
    megabytes = 64
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request_of(reader)
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % (megabytes << 20))
        for _ in range(megabytes):
            writer.write(bytes(1 << 20))
            await writer.drain()
            sent += 1

    async def use(transport: Transport, url: str) -> int:
        answer = await transport.open("GET", url, {})
        await asyncio.sleep(0.3)
        assert sent < megabytes // 2
        size = 0
        while data := await answer.read():
            size += len(data)
        return size

    assert run(way, handler, use) == megabytes << 20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    yield folder
    http_direct._tls.cache_clear()


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_spoken_and_its_certificate_checked(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, loop: Any, trusted: bool
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    http_direct._tls.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    async def main() -> tuple[int, bytes]:
        async with serving(saying(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"), context) as url, asyncio.timeout(90):
            return await everything(DirectTransport(), url)

    with asyncio.Runner(loop_factory=loop) as runner:
        if trusted:
            assert runner.run(main()) == (200, b"hello")
        else:
            with pytest.raises(CannotConnect):
                runner.run(main())


def test_a_proxy_is_asked_for_the_whole_address() -> None:
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_of(reader))
        writer.write(OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello")

    async def main() -> tuple[int, bytes]:
        async with serving(proxy) as url, asyncio.timeout(90):
            transport = ProxiedTransport(url)
            try:
                return await everything(transport, "http://upstream.example")
            finally:
                await transport.close()

    assert asyncio.run(main()) == (200, b"hello")
    assert seen[0].startswith(b"POST http://upstream.example/v1/x HTTP/1.1\r\n")


def test_the_environment_chooses_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    assert environment_proxy("https://api.example/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,.internal")
    assert environment_proxy("https://api.example/v1") == "http://proxy:3128"
    assert environment_proxy("https://user:pass@llm.internal:8443/v1") is None
    assert environment_proxy("http://api.example/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    assert environment_proxy("https://api.example/v1") == "http://proxy:3128"
    monkeypatch.setenv("ALL_PROXY", "socks5h://me:secret@proxy")
    assert environment_proxy("http://api.example/v1") == "socks5h://me:secret@proxy"


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks5", "socks5h", "SOCKS5", "quic"])
def test_a_proxy_of_another_kind_is_refused_without_its_address(scheme: str) -> None:
    said = proxy_refusal(f"{scheme}://me:secret@proxy:1")
    assert said is not None
    assert "not supported" in said
    assert not [word for word in ("secret", "me:", "proxy:1") if word in said]
    assert proxy_refusal("http://proxy") is proxy_refusal("https://proxy") is None
