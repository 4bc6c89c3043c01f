"""Programs with OpenAI's SDK against real processes: errors with their status, a Stop button, timeouts and retries."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2 as httpx
import jwt
import openai
import pytest
from openai import OpenAI

from dev.valkey import Valkey
from tests.fakes.upstream import Call, FakeUpstream
from tests.stack import SECRET, Stack, Web, until


class Site:
    """Two web processes, one worker, and an upstream."""

    def __init__(self, stack: Stack, web: Web, upstream: FakeUpstream) -> None:
        self.stack = stack
        self.web = web
        self.upstream = upstream

    def client(self, user: str = "", **options: Any) -> OpenAI:
        token = self.stack.token(user or f"program-{uuid4().hex[:8]}")
        return OpenAI(base_url=f"{self.web.url}/v1", api_key=token, **{"max_retries": 0, **options})

    @property
    def port(self) -> int:
        return int(self.web.url.rpartition(":")[2])

    def calls(self, marker: str) -> list[Call]:
        """The upstream's calls whose last message has this text."""
        return [call for call in self.upstream.calls if marker in str(call.body["messages"][-1]["content"])]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey) -> Iterator[Site]:
    with FakeUpstream() as upstream:
        directory: Path = tmp_path_factory.mktemp("site")
        stack = Stack(
            directory, module_database_url, valkey.url(),
            OPENAI_BASE_URL=upstream.base_url, OPENAI_API_KEY="sk-our-own-secret", MAX_ATTEMPTS=1, TITLES="nobody",
            RATELIMIT_GENERATIONS="10000/minute",
        )  # fmt: skip
        try:
            stack.worker()
            yield Site(stack, stack.web(workers=2), upstream)
        finally:
            stack.stop()


def said(marker: str) -> list[Any]:
    return [{"role": "user", "content": marker}]


# The status of the upstream, its error code → the SDK's exception, our status, our code.
ERRORS: list[tuple[str, type[openai.APIStatusError], int, str]] = [
    ("status=400", openai.BadRequestError, 400, "upstream_rejected"),
    ("status=400&error_code=context_length_exceeded", openai.BadRequestError, 400, "context_length_exceeded"),
    ("status=401", openai.InternalServerError, 502, "upstream_unauthorized"),
    ("status=403", openai.InternalServerError, 502, "upstream_unauthorized"),
    ("status=402", openai.RateLimitError, 429, "insufficient_quota"),
    ("status=404", openai.NotFoundError, 404, "model_not_found"),
    ("status=422", openai.UnprocessableEntityError, 422, "upstream_rejected"),
    ("status=429", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("status=429&error_code=insufficient_quota", openai.RateLimitError, 429, "insufficient_quota"),
    ("status=500", openai.InternalServerError, 500, "upstream_unavailable"),
    ("status=503", openai.InternalServerError, 503, "upstream_unavailable"),
    ("status=504", openai.InternalServerError, 504, "upstream_timeout"),
    ("error_after=0", openai.InternalServerError, 502, "upstream_unavailable"),
]
ASKING: dict[str, Callable[[OpenAI, str], Any]] = {
    "chat": lambda client, model: client.chat.completions.create(model=model, messages=said("x")),
    "chat stream": lambda client, model: client.chat.completions.create(model=model, messages=said("x"), stream=True),
    "response": lambda client, model: client.responses.create(model=model, input="x"),
    "response stream": lambda client, model: client.responses.create(model=model, input="x", stream=True),
}


@pytest.mark.parametrize("surface", ASKING)
def test_an_error_before_the_first_token_is_the_exception_of_its_status(site: Site, surface: str) -> None:
    client = site.client()
    for fault, kind, status, code in ERRORS:
        with pytest.raises(openai.APIStatusError) as raised:
            ASKING[surface](client, f"fake?{fault}")
        error = raised.value
        assert (type(error), error.status_code, error.code) == (kind, status, code), fault
        assert isinstance(error.body, dict)
        assert set(error.body) == {"message", "type", "param", "code"}
        assert error.response.headers["x-should-retry"] == "false"
        assert "sk-" not in error.message


def test_a_silent_model_does_not_hold_the_head_for_ever(site: Site) -> None:
    stream = site.client().chat.completions.create(
        model="fake?first_delay=7&tokens=2", messages=said("slow head"), stream=True
    )
    head = time.time()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    (call,) = site.calls("slow head")
    assert call.first_token_at is not None
    assert head < call.first_token_at
    assert len(text.split()) == 2


LEAVING: dict[str, dict[str, Any]] = {
    "streamed": {"stream": True},
    "waited for": {},
    "before the first token": {"stream": True, "model": "fake?first_delay=60"},
}


@pytest.mark.parametrize("way", LEAVING)
def test_leaving_a_completion_stops_its_upstream(site: Site, way: str) -> None:
    marker = f"leave {uuid4().hex}"
    data = json.dumps({"model": "fake?tokens=5000&rate=50", "messages": said(marker), **LEAVING[way]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.stack.token()}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.port), 30) as sock:
        sock.sendall(head.encode() + data)
        until(lambda: site.calls(marker), 30, "the upstream's call")
        if way == "streamed":
            sock.recv(1000)
    # A program that counts no retries gets no grace.
    left = time.time()
    (call,) = site.calls(marker)
    # The fake upstream notes the time first.
    until(lambda: call.end, 20, "the end of the upstream's call")
    assert call.end == "client_disconnected"
    assert call.ended is not None
    assert call.ended - left < 5


def test_a_completion_with_a_key_is_there_for_the_client_that_returns(site: Site) -> None:
    marker = f"return {uuid4().hex}"
    client = site.client()
    body: dict[str, Any] = {"model": "fake?tokens=60&rate=60", "messages": said(marker), "stream": True}
    key = {"Idempotency-Key": marker}
    client.chat.completions.create(**body, extra_headers=key).close()
    stream = client.chat.completions.create(**body, extra_headers=key)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    (call,) = site.calls(marker)
    assert (call.end, text) == ("finished", call.text)


def test_leaving_a_response_stops_nothing(site: Site) -> None:
    marker = f"stay {uuid4().hex}"
    client = site.client()
    stream = client.responses.create(model="fake?tokens=100&rate=100", input=marker, stream=True)
    response_id = next(event.response.id for event in stream if event.type == "response.created")
    stream.close()
    ended = until(lambda: (r := client.responses.retrieve(response_id)).status == "completed" and r, 30, "the end")
    assert len(ended.output_text.split()) == 100


def test_a_client_with_a_short_timeout_pays_for_one_answer(site: Site) -> None:
    """The SDK gives up after one second and repeats; the repeat joins the running answer, in any web process."""
    marker = f"impatient {uuid4().hex}"
    client = site.client(timeout=1.0, max_retries=5)
    answer = client.chat.completions.create(model="fake?tokens=100&rate=40", messages=said(marker))
    (call,) = site.calls(marker)
    assert answer.choices[0].message.content == call.text
    assert call.end == "finished"


def test_repeats_at_once_are_one_answer_and_other_users_and_bodies_are_not(site: Site) -> None:
    marker = f"many {uuid4().hex}"
    user = f"user-{uuid4().hex[:8]}"
    body: dict[str, Any] = {"model": "fake?tokens=60&rate=40", "messages": said(marker)}
    first = threading.Thread(target=lambda: site.client(user).chat.completions.create(**body))
    first.start()
    until(lambda: site.calls(marker), 30, "the first call")
    again = {"X-Stainless-Retry-Count": "1"}
    found = [site.client(user).chat.completions.create(**body, extra_headers=again).id for _ in range(4)]
    first.join()
    assert len(set(found)) == 1
    assert len(site.calls(marker)) == 1
    site.client(user).chat.completions.create(**body, temperature=0.5, extra_headers=again)
    site.client().chat.completions.create(**body, extra_headers=again)
    site.client(user).chat.completions.create(**body)
    assert len(site.calls(marker)) == 4


def test_the_answer_goes_on_while_one_of_its_clients_listens(site: Site) -> None:
    marker = f"two clients {uuid4().hex}"
    user = f"user-{uuid4().hex[:8]}"
    body: dict[str, Any] = {"model": "fake?tokens=200&rate=40", "messages": said(marker), "stream": True}
    first = site.client(user).chat.completions.create(**body)
    next(iter(first))
    second = site.client(user).chat.completions.create(**body, extra_headers={"X-Stainless-Retry-Count": "1"})
    next(iter(second))
    second.close()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in first if chunk.choices)
    (call,) = site.calls(marker)
    assert call.end == "finished"
    assert text == call.text


def test_embeddings_are_those_of_the_upstream_and_are_counted(site: Site) -> None:
    user = f"user-{uuid4().hex[:8]}"
    client = site.client(user)
    made = client.embeddings.create(
        model="fake", input=["a", "bcd"], dimensions=5, encoding_format="float", extra_body={"input_type": "query"}
    )
    assert [len(one.embedding) for one in made.data] == [6, 6]
    assert [one.embedding[0] for one in made.data] == [1.0, 3.0]
    assert made.usage.prompt_tokens == 14
    sent = {"model": "fake", "dimensions": 5, "encoding_format": "float", "input_type": "query"}
    assert made.model_extra == {"sent": sent}
    (day,) = httpx.get(f"{site.web.url}/api/v1/usage", headers={"Authorization": f"Bearer {client.api_key}"}).json()[
        "items"
    ]
    assert (day["model"], day["input_tokens"], day["generations"]) == ("fake", 14, 0)


# Some upstreams report errors with the status 200, and quote the key.
IN_200 = '{"error":{"code":429,"message":"slower, sk-our-own-secret"}}'
EMBEDDING_ERRORS: list[tuple[str, type[openai.APIStatusError], str]] = [
    ("fake?status=400", openai.BadRequestError, "upstream_rejected"),
    ("fake?status=401", openai.InternalServerError, "upstream_unauthorized"),
    ("fake?status=429", openai.RateLimitError, "rate_limit_exceeded"),
    ("fake?text=nonsense", openai.InternalServerError, "upstream_malformed"),
    (f"fake?text={quote(json.dumps(IN_200))}", openai.RateLimitError, "rate_limit_exceeded"),
    ("offline", openai.BadRequestError, "upstream_rejected"),
]


def test_embeddings_that_fail_have_the_status_of_the_upstream(site: Site) -> None:
    client = site.client()
    for model, kind, code in EMBEDDING_ERRORS:
        with pytest.raises(openai.APIStatusError) as raised:
            client.embeddings.create(model=model, input="x")
        assert (type(raised.value), raised.value.code) == (kind, code), model
        assert "sk-our" not in raised.value.message
    for nothing in ("", []):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="fake", input=nothing)


def test_slow_embeddings_hold_no_thread(site: Site) -> None:
    """More requests wait than a web process has threads; the others are answered."""
    clients = [site.client() for _ in range(8)]
    slow = [
        threading.Thread(target=lambda c=client: c.embeddings.create(model="fake?header_delay=4", input="x"))
        for client in clients
        for _ in range(5)
    ]
    for thread in slow:
        thread.start()
    began = time.monotonic()
    for _ in range(5):
        assert httpx.get(f"{site.web.url}/healthz", timeout=10).status_code == 200
    asked = time.monotonic() - began
    for thread in slow:
        thread.join()
    assert asked < time.monotonic() - began


def test_a_token_with_many_groups_is_verified_and_a_longer_one_is_refused_as_a_problem(site: Site) -> None:
    for size, status in ((9_000, 200), (11_000, 200), (12_400, 401), (30_000, 431)):
        claims = jwt.decode(site.stack.token(), options={"verify_signature": False}) | {"groups": "g" * size}
        bearer = jwt.encode(claims, SECRET, algorithm="HS256")
        answer = httpx.get(f"{site.web.url}/api/v1/me", headers={"Authorization": f"Bearer {bearer}"})
        assert answer.status_code == status, size
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status


def test_a_compressed_body_is_a_media_type_that_is_not_taken(site: Site) -> None:
    body = gzip.compress(json.dumps({"model": "fake", "messages": said("x")}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    headers["Authorization"] = f"Bearer {site.stack.token()}"
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/api/v1/generations", "/api/chat"):
        answer = httpx.post(f"{site.web.url}{path}", content=body, headers=headers)
        assert answer.status_code == 415, path
        assert "Content-Encoding" in answer.text


def test_the_sdk_works_with_an_api_key_and_is_told_when_it_ends(site: Site) -> None:
    me, keys = {"Authorization": f"Bearer {site.stack.token('keeper')}"}, f"{site.web.url}/api/v1/api-keys"
    made = httpx.post(keys, json={"name": "sdk", "models": ["offline-fast"]}, headers=me).json()
    client = OpenAI(base_url=f"{site.web.url}/v1", api_key=made["key"], max_retries=0)
    answer = client.chat.completions.create(model="offline-fast", messages=said("x"))
    assert answer.choices[0].message.content
    assert [model.id for model in client.models.list()] == ["offline-fast"]
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(model="offline", messages=said("x"))
    assert refused.value.code == "model_not_allowed"
    assert httpx.delete(f"{keys}/{made['id']}", headers=me).status_code == 204
    with pytest.raises(openai.AuthenticationError):
        client.models.list()
