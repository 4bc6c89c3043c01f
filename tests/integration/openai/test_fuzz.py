"""Generated bodies, most of them invalid: each response is a success or a refusal in OpenAI's form."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain import backoff
from tests.integration.api.conftest import Person, app, process, resources
from tests.integration.api.conftest import settings as app_settings

__all__ = ["app", "process", "resources"]

_SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["user", "message", "\0"]),
)
_NAMES = st.sampled_from(
    ["type", "role", "content", "text", "id", "call_id", "name", "arguments", "output", "format", "effort", "function",
     "tool_calls", "tool_call_id", "schema", "parameters", "include_usage"]
)  # fmt: skip
_TYPES = st.sampled_from(
    ["message", "function", "function_call", "function_call_output", "reasoning", "item_reference", "input_text",
     "output_text", "refusal", "json_schema", "json_object"]
)  # fmt: skip
_ROLES = st.sampled_from(["user", "assistant", "system", "developer", "tool"])
_ANY = st.recursive(
    _SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(_NAMES, inner, max_size=4),
        st.fixed_dictionaries(
            {"type": _TYPES}, optional={"content": inner, "text": inner, "call_id": inner, "output": inner}
        ),
        st.fixed_dictionaries(
            {"role": _ROLES, "content": inner}, optional={"tool_calls": inner, "tool_call_id": inner}
        ),
    ),
    max_leaves=8,
)
_FIELDS = (
    "instructions", "tools", "tool_choice", "text", "reasoning", "metadata", "conversation", "previous_response_id",
    "max_output_tokens", "temperature", "user", "truncation", "include", "store",
)  # fmt: skip
_RESPONSE = st.fixed_dictionaries(
    {"model": st.just("offline"), "background": st.just(True), "input": _ANY}, optional=dict.fromkeys(_FIELDS, _ANY)
)
_CHAT_FIELDS = ("tools", "tool_choice", "stop", "response_format", "stream_options", "n", "metadata")
_CHAT = st.fixed_dictionaries(
    {"model": st.just("offline"), "stream": st.just(True), "messages": st.lists(_ANY, max_size=3)},
    optional=dict.fromkeys(_CHAT_FIELDS, _ANY),
)
QUICKLY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", name="settings")
def generous(module_database_url: str, valkey: Any) -> Any:
    from tests.integration.api.conftest import make_settings

    assert app_settings
    return make_settings(module_database_url, valkey.url(), max_queued=100_000, max_streams_per_user=100_000)


@pytest.fixture(scope="module", autouse=True)
def own_chance() -> Iterator[None]:
    """Threads of the application draw their pauses elsewhere than from ``random``.

    Hypothesis compares the state of ``random`` before and behind a body that it generates, and takes a draw of another
    thread for one of the strategy.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backoff, "random", random.Random())
        yield


@pytest.fixture
def alice(app: OpenAPI) -> Person:
    return Person(app.test_client(), f"alice-{uuid4().hex[:8]}")


def check(answer: Any) -> None:
    try:
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert set(answer.json["error"]) == {"message", "type", "param", "code"}
            assert answer.json["error"]["message"]
    finally:
        answer.close()


@given(_RESPONSE)
@QUICKLY
def test_responses_never_fail(alice: Person, body: dict[str, Any]) -> None:
    check(alice.post("/v1/responses", json=body))


@given(_CHAT)
@QUICKLY
def test_chat_completions_never_fail(alice: Person, body: dict[str, Any]) -> None:
    check(alice.post("/v1/chat/completions", json=body))


@given(_ANY)
@QUICKLY
def test_conversations_never_fail(alice: Person, body: Any) -> None:
    check(alice.post("/v1/conversations", json={"items": body, "metadata": {}}))
    check(alice.post("/v1/conversations", json={"items": [body]}))
    check(alice.post("/v1/responses", json=body))


@given(st.text(max_size=40))
@QUICKLY
def test_ids_that_are_none_are_not_found(alice: Person, text: str) -> None:
    for path in (
        "/v1/responses/{}",
        "/v1/conversations/{}",
        "/v1/conversations/{}/items",
        "/v1/responses/{}/input_items",
    ):
        check(alice.get(path.format(text.replace("?", "").replace("#", ""))))
