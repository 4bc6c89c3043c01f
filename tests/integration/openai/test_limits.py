"""Limits of programs: on /v1 generations count and new conversations do not; each refusal names its limit."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.web_process import EXTENSION
from tests.integration.api.conftest import Person, app, make_app, settings

__all__ = ["app", "make_app", "settings"]

CHAT = {"model": "offline", "messages": [{"role": "user", "content": "Hello"}]}
RESPONSE = {"model": "offline", "input": "Hello", "background": True}
UI = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}]}


def test_programs_begin_as_many_conversations_as_generations(make_app: Any):
    person = Person(make_app(ratelimit_new_conversations="1/minute").test_client(), "program")
    codes = [person.post("/v1/responses", json=RESPONSE).status_code for _ in range(5)]
    codes += [person.post("/v1/chat/completions", json={**CHAT, "stream": True}).status_code for _ in range(5)]
    said = {"items": [{"role": "user", "content": "Hi"}]}
    codes += [person.post("/v1/conversations", json=said).status_code for _ in range(5)]
    assert codes == [200] * 15
    # The native API has the limit.
    native = [person.post("/api/v1/generations", json={"message": "hi"}).status_code for _ in range(2)]
    assert native == [202, 429]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/responses", RESPONSE), ("/v1/chat/completions", CHAT), ("/api/v1/generations", {"message": "hi"}),
     ("/api/chat", UI)],
)  # fmt: skip
def test_a_refusal_names_the_limit_and_its_variable_and_has_the_headers(make_app: Any, path: str, body: Any):
    person = Person(make_app(ratelimit_generations="2/minute").test_client(), "eager")
    for _ in range(2):
        # Refused bodies count, so that no answer has to be made here.
        assert person.post(path, json={}).status_code in (400, 422)
    refused = person.post(path, json=body)
    assert refused.status_code == 429
    assert "2 per 1 minute" in refused.text
    assert "(RATELIMIT_GENERATIONS)" in refused.text
    assert refused.headers["RateLimit-Policy"] == '"generations";q=2;w=60'
    left = int(refused.headers["RateLimit"].removeprefix('"generations";r=0;t='))
    wait = int(refused.headers["Retry-After"])
    assert 50 < left <= wait <= 60
    assert (wait - 1) * 1000 < int(refused.headers["retry-after-ms"]) <= wait * 1000
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"] == f"{left}s"


def test_ordinary_answers_have_the_headers_of_every_limit_that_counted_them(make_app: Any):
    person = Person(make_app(ratelimit_reads="3/minute", ratelimit_generations="9/minute").test_client(), "calm")
    remaining = [person.get("/v1/models").headers["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert remaining == ["2", "1", "0"]
    begun = person.post("/api/v1/generations", json={"message": "hi"})
    assert begun.headers["RateLimit-Policy"] == '"generations";q=9;w=60, "new_conversations";q=10000;w=60'
    assert begun.headers["x-ratelimit-limit-requests"] == "9"
    streamed = person.post("/v1/responses", json={**RESPONSE, "stream": True})
    assert streamed.headers["RateLimit"].startswith('"generations";r=7;t=')
    assert "RateLimit" not in person.get("/healthz").headers


def test_without_redis_the_headers_are_those_of_the_process(make_app: Any):
    app = make_app(redis_url="redis://127.0.0.1:1/0", ratelimit_reads="3/minute")
    person = Person(app.test_client(), "unlucky")
    answers = [person.get("/v1/models") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]


def test_other_limits_name_their_variable_too(make_app: Any):
    app = make_app(max_streams_per_user=1, max_queued_per_user=1)
    process, person = app.extensions[EXTENSION], Person(app.test_client(), "watcher")
    held = process.live.quota.acquire(process.resources.users.user("watcher", None).id)
    refused = person.post("/v1/chat/completions", json=CHAT)
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "(MAX_STREAMS_PER_USER)" in refused.json["error"]["message"]
    assert refused.headers["retry-after-ms"] == "5000"
    process.live.quota.release(process.resources.users.user("watcher", None).id, held)
    person.post("/v1/responses", json=RESPONSE)
    assert "(MAX_QUEUED_PER_USER)" in person.post("/v1/responses", json=RESPONSE).json["error"]["message"]


TEXTS = {
    "user": lambda text: {"role": "user", "content": text},
    "parts": lambda text: {"role": "user", "content": [{"type": "text", "text": text}]},
    "system": lambda text: {"role": "system", "content": text},
    "developer": lambda text: {"role": "developer", "content": text},
    "assistant": lambda text: {"role": "assistant", "content": text},
    "tool": lambda text: {"role": "tool", "tool_call_id": "c", "content": text},
}


@pytest.mark.parametrize("role", TEXTS)
def test_the_size_of_the_request_is_the_limit_for_every_role(app: Any, role: str):
    person = Person(app.test_client(), "coder")
    for size, most, status in [(60_000, 400_000, 200), (400_001, 400_000, 400), (22_020_097, 22_020_096, 413)]:
        messages = [TEXTS[role]("x" * size), {"role": "user", "content": "Go"}]
        answer = person.post("/v1/chat/completions", json={**CHAT, "messages": messages, "stream": True})
        assert answer.status_code == status
        if status != 200:
            variable = {400: "MAX_PROMPT_CHARS", 413: "MAX_INLINE_BODY_BYTES"}[status]
            assert variable in answer.json["error"]["message"]
            assert f"{most}" in answer.json["error"]["message"]


def test_inputs_and_items_have_the_limit_of_the_request_too(app: Any):
    person = Person(app.test_client(), "reader")
    for value in ("x" * 60_000, [{"role": "user", "content": "x" * 60_000}]):
        assert person.post("/v1/responses", json={**RESPONSE, "input": value}).status_code == 200
    said = {"items": [{"role": "user", "content": "x" * 60_000}]}
    assert person.post("/v1/conversations", json=said).status_code == 200
