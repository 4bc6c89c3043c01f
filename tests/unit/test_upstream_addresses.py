"""The way of a request to its upstream: redirects, proxies, and addresses with a query or a password."""

from __future__ import annotations

import asyncio
import socket

import pytest

from app.domain.upstreams import Upstream
from tests.fakes.raw_server import RawServer, document, saying
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, ProviderError
from worker.providers.chat.provider import OpenAICompatible

KEY = "sk-of-the-upstream-0123456789"
ANSWER = document(
    b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    b"Content-Type: text/event-stream",
)
HELLO = Prompt("m", (ChatMessage("user", "Hi"),))


def ask(base_url: str, key: str | None = KEY) -> list[Piece]:
    """The pieces of one answer. Raises ProviderError."""

    async def answer() -> list[Piece]:
        provider = OpenAICompatible(Upstream("openai", "openai", base_url, key))
        pieces: list[Piece] = []
        try:
            async with asyncio.timeout(10):
                await provider.stream(HELLO, pieces.extend)
        finally:
            await provider.close()
        return pieces

    return asyncio.run(answer())


def redirect(status: int, location: str) -> bytes:
    head = f"HTTP/1.1 {status} There\r\nLocation: {location}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    return head.encode()


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("location", ["/v1/chat/completions/", "completions/", "{origin}/v1/chat/completions/?a=b"])
def test_a_request_follows_a_redirect_on_the_upstream_itself(status: int, location: str) -> None:
    bodies: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        bodies.append(request.partition(b"\r\n\r\n")[2])
        is_first = b"/completions HTTP" in request.partition(b"\r\n")[0]
        connection.sendall(redirect(status, location.format(origin=server.origin)) if is_first else ANSWER)

    with RawServer(answer) as server:
        assert isinstance(ask(f"{server.origin}/v1")[-1], Finished)
        assert [request.startswith(b"POST ") and KEY.encode() in request for request in server.requests] == [True, True]
        assert bodies[0] == bodies[1] != b""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_request_goes_to_no_other_origin_and_the_error_names_it(status: int) -> None:
    with RawServer(saying(ANSWER)) as other:
        location = f"{other.origin.replace('//', '//me:secret@')}/v1/chat/completions?key=secret"
        with RawServer(saying(redirect(status, location))) as server, pytest.raises(ProviderError) as caught:
            ask(f"{server.origin}/v1")
        assert other.requests == []
    error = caught.value
    assert f"{status} and redirects to {other.origin}/v1/chat/completions, which is not followed" in error.message
    assert "secret" not in error.message
    assert (error.retryable, error.charged, error.upstream_status) == (False, False, status)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_lose_the_body_is_named(status: int) -> None:
    with RawServer(saying(redirect(status, "/v1/chat/completions/"))) as server:
        with pytest.raises(ProviderError, match=f"redirects to {server.origin}/v1/chat/completions/"):
            ask(f"{server.origin}/v1")
        assert len(server.requests) == 1


def test_redirects_without_end_are_left() -> None:
    with RawServer(saying(redirect(307, "/v1/chat/completions"))) as server:
        with pytest.raises(ProviderError, match="redirects without an end"):
            ask(f"{server.origin}/v1")
        assert len(server.requests) == 4


@pytest.mark.parametrize("location", ["http://[::1/x", "http://h:port/x", "//", "\x01"])
def test_an_odd_redirect_is_an_error_of_the_upstream(location: str) -> None:
    with RawServer(saying(redirect(307, location))) as server, pytest.raises(ProviderError):
        ask(f"{server.origin}/v1")


def test_an_address_may_have_a_query_and_a_password() -> None:
    with RawServer(saying(ANSWER)) as server:
        ask(f"{server.origin.replace('//', '//user:pa%40ss@')}/v1/?api-version=2024-06-01", None)
        [request] = server.requests
    assert request.startswith(b"POST /v1/chat/completions?api-version=2024-06-01 HTTP/1.1\r\n")
    assert b"Authorization: Basic dXNlcjpwYUBzcw==" in request


@pytest.mark.parametrize("name", ["ALL_PROXY", "HTTP_PROXY"])
def test_an_answer_behind_a_socks_proxy_fails_at_once_with_the_reason(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name.lower(), "socks5h://me:secret@127.0.0.1:9")
    with pytest.raises(ProviderError, match="names a SOCKS proxy for the upstream") as caught:
        ask("http://up.example/v1")
    assert not caught.value.retryable
    assert "secret" not in caught.value.message
