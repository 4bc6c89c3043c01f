"""The upstream's list of models: bounded in time and size, and read in every form that upstreams send."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from app.domain.upstreams import Upstream
from app.services.model_catalog import _first_chat_model
from app.store.upstream_models import UpstreamModels
from tests.fakes.raw_server import RawServer, document, saying
from worker.limits import Limits
from worker.providers.base import ProviderError
from worker.providers.chat.provider import OpenAICompatible
from worker.providers.reading.model_list import MOST_NAMES, NoModelList, model_names

KEY = "sk-verysecret-1234"
MOST = 200_000


def upstream(server: RawServer, path: str = "/v1", key: str | None = KEY) -> OpenAICompatible:
    return OpenAICompatible(Upstream("openai", "openai", server.origin + path, key), Limits())


def listed(provider: OpenAICompatible, seconds: float = 10) -> tuple[str, ...]:
    async def fetch() -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await provider.list_models(MOST)
        finally:
            await provider.close()

    return model_names(asyncio.run(fetch()))


def listing(*names: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"object": "list", "data": [{"id": "m"}, {"id": "n"}, {"id": "m"}]}, ("m", "n")),
        ([{"id": "m"}, {"id": "n"}], ("m", "n")),
        ({"models": [{"name": "m"}, {"model": "n"}]}, ("m", "n")),
        (["m", "n"], ("m", "n")),
        ({"data": {"models": [{"id": "m"}]}}, ("m",)),
        ({"data": None, "models": [{"model_name": "m"}]}, ("m",)),
        ({"object": "list", "model_ids": ["m", "n"]}, ("m", "n")),
        ({"success": True, "errors": [], "result": [{"name": "m"}]}, ("m",)),
        ({"models": {"m": {"max_tokens": 5}, "n": {"type": "chat"}}}, ("m", "n")),
        ([{"id": "e", "type": "embedding"}, {"id": "m", "type": "chat"}, {"id": "n"}], ("m", "n", "e")),
        ({"data": [{"id": "e", "capabilities": {"completion_chat": False}}, {"id": "m"}]}, ("m", "e")),
        (
            {"data": [{"id": "m"}, {"id": 7}, {"id": ""}, None, {"id": "x" * 300}, {"id": "a\0"}, {}, {"id": "n"}]},
            ("m", "n"),
        ),
    ],
)
def test_a_list_is_read_in_every_form(body: Any, names: tuple[str, ...]) -> None:
    with RawServer(saying(document(json.dumps(body).encode()))) as server:
        assert listed(upstream(server)) == names


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": null}',
        b'{"error": {"message": "no"}}',
        b'"m"',
        b"<html>",
        b"",
        b"[" * 9000,
        b"[]",
        b'{"data":[]}',
        b'{"errors": ["m"], "others": ["n"]}',
        b'{"result": {"message": "m"}}',
        b'{"data": [{"size": 5}]}',
    ],
)
def test_what_is_no_list_is_named_so(body: bytes) -> None:
    with RawServer(saying(document(body))) as server, pytest.raises(NoModelList, match="list of models"):
        listed(upstream(server))


def test_a_list_of_too_many_names_is_cut() -> None:
    names = [f"m{number}" for number in range(MOST_NAMES + 5)]
    assert model_names(json.dumps(names).encode()) == tuple(names[:MOST_NAMES])


def drip(connection: socket.socket, head: bytes) -> None:
    """Send a long list at two bytes per second, as long as the client reads."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.5)


def drip_headers(connection: socket.socket, head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.5)


def endless_headers(connection: socket.socket, head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: " + b"x" * 60_000 + b"\r\n")


def silence(connection: socket.socket, head: bytes) -> None:
    time.sleep(60)


@pytest.mark.parametrize("answer", [drip, drip_headers, silence])
def test_an_exchange_that_does_not_come_to_its_end_is_ended_by_its_deadline(
    answer: Callable[[socket.socket, bytes], None],
) -> None:
    with RawServer(answer) as server, pytest.raises(TimeoutError):
        listed(upstream(server), 0.7)


def test_headers_without_end_are_left_at_their_limit() -> None:
    with RawServer(endless_headers) as server, pytest.raises(ProviderError, match="MAX_UPSTREAM_HEADER_BYTES"):
        listed(upstream(server))


def test_a_list_without_end_is_left_at_its_limit() -> None:
    def endless(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"data":[')
        while True:
            connection.sendall(b'{"id":"m"},' * 5000)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with RawServer(endless) as server, pytest.raises(ProviderError, match=r"MAX_MODEL_LIST_BYTES \(200000\)"):
        listed(upstream(server))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def bomb_of(megabytes: int) -> bytes:
    """This many megabytes of spaces, compressed piece by piece, so that memory never holds them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * 1_000_000) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b"x-gzip", b"gzip, gzip", None])
def test_a_compressed_list_is_read_and_a_bomb_is_not(encoding: bytes | None) -> None:
    def packed(body: bytes) -> bytes:
        if encoding == b"gzip, gzip":
            body = gzip.compress(body)
        return document(body, *([b"Content-Encoding: " + encoding] if encoding else []))

    with RawServer(saying(packed(gzip.compress(listing("m"))))) as server:
        assert listed(upstream(server)) == ("m",)
    bomb = bomb_of(100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with RawServer(saying(packed(bomb))) as server, pytest.raises(ProviderError, match="MAX_MODEL_LIST_BYTES"):
        listed(upstream(server))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_a_redirect_to_another_origin(status: int) -> None:
    with RawServer(saying(document(listing("theirs")))) as other:
        redirect = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {other.origin}/v1/models\r\nContent-Length: 0\r\n\r\n"
        with RawServer(saying(redirect.encode())) as server, pytest.raises(ProviderError) as caught:
            listed(upstream(server))
        assert f"answered {status} and redirects to {other.origin}/v1/models, which is not" in caught.value.message
        assert not any(KEY.encode() in request for request in other.requests)
        assert other.requests == []


def test_a_redirect_on_the_upstream_itself_is_followed() -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        if head.startswith(b"GET /v1/models "):
            connection.sendall(
                b"HTTP/1.1 308 There\r\nLocation: /v1/models/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
        else:
            connection.sendall(document(listing("m")))

    with RawServer(answer) as server:
        assert listed(upstream(server)) == ("m",)
        assert [KEY.encode() in request for request in server.requests] == [True, True]


def test_redirects_without_end_are_left() -> None:
    redirect = b"HTTP/1.1 307 Again\r\nLocation: /v1/models\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    with RawServer(saying(redirect)) as server, pytest.raises(ProviderError, match="redirects without an end"):
        listed(upstream(server))


def test_the_address_may_have_a_query_or_a_password() -> None:
    with RawServer(saying(document(listing("m")))) as server:
        assert listed(upstream(server, "/v1?api-version=2024-06-01")) == ("m",)
        assert listed(upstream(server, "/v1/")) == ("m",)
        address = server.origin.replace("//", "//user:pa%40ss@") + "/v1"
        with_password = OpenAICompatible(Upstream("openai", "openai", address))
        assert listed(with_password) == ("m",)
        lines = [request.split(b"\r\n") for request in server.requests]
    assert [line[0] for line in lines] == [
        b"GET /v1/models?api-version=2024-06-01 HTTP/1.1",
        b"GET /v1/models HTTP/1.1",
        b"GET /v1/models HTTP/1.1",
    ]
    assert b"Authorization: Basic dXNlcjpwYUBzcw==" in lines[2]
    assert b"user" not in lines[2][0] + next(line for line in lines[2] if line.startswith(b"Host"))


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("text-embedding-nomic-embed-text-v1.5", "m"), "m"),
        (("whisper-1", "tts-1", "bge-reranker", "dall-e-3", "gpt"), "gpt"),
        (("m", "n"), "m"),
        (("all-minilm:latest", "bge-m3", "intfloat/e5-large", "omni-moderation-latest", "llama"), "llama"),
        (("gpt-image-1", "gpt-4o-realtime-preview", "sora-2", "babbage-002", "gpt-3.5-turbo-instruct", "g"), "g"),
        (("black-forest-labs/FLUX.1", "meta/llama-guard-4", "veo-3", "imagen-4", "gemini"), "gemini"),
        (("gpt-4o-imagine", "fluxion-chat"), "gpt-4o-imagine"),
        (("nomic-embed",), "nomic-embed"),
    ],
)
def test_the_default_is_a_model_for_chats(names: tuple[str, ...], first: str) -> None:
    assert _first_chat_model({"openai": UpstreamModels(names)}) == first
