"""Clients of other protocols get one sentence that says which protocols live where."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from .conftest import Person

OLLAMA_CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
WRONG: list[tuple[str, str, Any]] = [
    ("POST", "/api/generate", {"model": "m", "prompt": "Hi"}),
    ("GET", "/api/tags", None),
    ("POST", "/api/show", {"model": "m"}),
    ("POST", "/api/embed", {"model": "m", "input": "x"}),
    ("GET", "/api/version", None),
    ("POST", "/api/chat", OLLAMA_CHAT),
    ("POST", "/api/chat", {**OLLAMA_CHAT, "options": {"num_ctx": 1}, "messages": []}),
    ("POST", "/v1/messages", {"model": "m", "max_tokens": 1, "messages": []}),
    ("POST", "/v1/messages/count_tokens", {}),
    ("POST", "/v1/complete", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRONG)
def test_each_says_what_is_here(alice: Person, method: str, path: str, body: Any):
    refused = alice._ask(method, path, {"json": body} if body is not None else {})
    assert refused.status_code in (404, 422)
    told = refused.json["error"]["message"] if path.startswith("/v1") else refused.json["detail"]
    assert ("Anthropic's" if path.startswith("/v1") else "Ollama's") in told
    for place in ("OpenAI's protocol under /v1", "at /api/chat", "under /api/v1"):
        assert place in told


def test_completions_name_chat_completions(alice: Person):
    refused = alice.post("/v1/completions", json={"model": "offline", "prompt": "x"})
    assert refused.status_code == 404
    assert "POST /v1/chat/completions" in refused.json["error"]["message"]


def test_another_unknown_address_is_just_not_there(alice: Person):
    assert alice.get("/api/nothing").json["detail"] == "There is nothing at this address."


def part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize("missing", [{"id": ""}, {}], ids=["empty", "absent"])
def test_stored_messages_of_older_sdks_have_no_id(alice: Person, missing: dict[str, str]):
    history = [
        {"role": "user", "parts": [part("a")], **missing},
        {"role": "assistant", "parts": [part("b")], **missing},
        {"role": "user", "parts": [part("c")], "id": "m3"},
    ]
    chat = {"id": uuid4().hex}
    assert alice.post("/api/chat", json={**chat, "messages": history}).status_code == 200
    history[-1] = {"role": "user", "parts": [part("c")], **missing}
    refused = alice.post("/api/chat", json={"id": uuid4().hex, "messages": history})
    assert refused.status_code == 422
    assert "id" in refused.json["detail"]
