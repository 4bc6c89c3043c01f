"""Parameters that OpenAI's protocol lacks, and messages in the forms that programs send: what an upstream receives."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI
from sqlalchemy import text

from app.wiring import Resources
from tests.integration.api.conftest import Person, app, make_app, resources, settings

__all__ = ["app", "make_app", "resources", "settings"]

# Parameters of vLLM, Ollama, OpenRouter, DeepSeek and Anthropic, as programs send them.
UNKNOWN: dict[str, Any] = {
    "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1, "chat_template_kwargs": {"enable_thinking": False},
    "enable_thinking": False, "think": False, "thinking": {"type": "disabled"},
    "provider": {"order": ["a"]}, "models": ["a", "b"], "plugins": [{"id": "web"}], "keep_alive": "5m",
    "options": {"num_ctx": 8192}, "guided_json": {"type": "object"}, "ignore_eos": True, "cache_prompt": True,
    "session_id": "s",
}  # fmt: skip
CHAT_ONLY = {"functions": [{"name": "f"}], "function_call": "auto", "reasoning": {"enabled": False}}


@pytest.fixture
def alice(app: OpenAPI) -> Person:
    return Person(app.test_client(), f"alice-{uuid4().hex[:8]}")


def ask(alice: Person, surface: str, **body: Any) -> Any:
    if surface == "responses":
        return alice.post("/v1/responses", json={"model": "offline", "input": "x", "background": True, **body})
    messages = [{"role": "user", "content": "x"}]
    asked = {"model": "offline", "messages": messages, "stream": True, **body}
    return alice.post("/v1/chat/completions", json=asked)


def parameters(resources: Resources) -> dict[str, Any]:
    """The parameters of the newest generation."""
    with resources.database.system() as tx:
        found = tx.execute(text("SELECT parameters FROM generations ORDER BY created_at DESC LIMIT 1"))
        stored: dict[str, Any] = found.scalar_one()
    return stored


@pytest.mark.parametrize("surface", ["responses", "chat"])
def test_unknown_fields_reach_the_upstream_as_they_are(alice: Person, resources: Resources, surface: str):
    fields = {**UNKNOWN, **(CHAT_ONLY if surface == "chat" else {})}
    assert ask(alice, surface, **fields, absent=None).status_code == 200
    assert parameters(resources) == fields


@pytest.mark.parametrize("surface", ["responses", "chat"])
def test_a_field_of_ours_keeps_its_meaning(alice: Person, surface: str):
    names = ["instructions"] if surface == "chat" else ["messages", "n", "response_format", "max_tokens", "verbosity"]
    for name in names:
        refused = ask(alice, surface, **{name: "x"})
        assert (refused.status_code, refused.json["error"]["code"]) == (400, "unknown_parameter")
        assert refused.json["error"]["param"] == name
    assert ask(alice, surface, temperature="hot").json["error"]["param"] == "temperature"


@pytest.mark.parametrize("surface", ["responses", "chat"])
def test_they_are_bounded_by_name(alice: Person, surface: str):
    refused = ask(alice, surface, top_k=1, grammar="x" * 70_000)
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "grammar")
    assert "UNKNOWN_PARAMETER_BYTES" in refused.json["error"]["message"]
    assert ask(alice, surface, **{f"x{n}": n for n in range(65)}).status_code == 400
    assert ask(alice, surface, grammar={"a": "\0"}).status_code == 400


@pytest.mark.parametrize("surface", ["responses", "chat"])
def test_a_deployment_may_refuse_them(make_app: Any, surface: str):
    person = Person(make_app(pass_unknown_parameters=False).test_client(), "strict")
    refused = ask(person, surface, top_k=1)
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "top_k")
    assert refused.json["error"]["code"] == "unknown_parameter"


def test_the_native_api_has_no_unknown_fields(alice: Person):
    refused = alice.post("/api/v1/generations", json={"message": "x", "top_k": 1})
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "top_k")


def test_numbers_are_what_json_says(alice: Person, resources: Resources):
    assert ask(alice, "chat", seed=1.0, max_tokens=-1, n=1.0, temperature=0).status_code == 200
    assert parameters(resources) == {"seed": 1, "max_tokens": -1, "temperature": 0.0}
    for name, value in (("n", 2), ("n", 0), ("seed", 1.5), ("max_tokens", -2), ("max_tokens", 2.5)):
        refused = ask(alice, "chat", **{name: value})
        assert (refused.status_code, refused.json["error"]["param"]) == (400, name)
    assert "one answer" in ask(alice, "chat", n=2).json["error"]["message"]


def test_a_choice_among_some_tools_is_passed_on(alice: Person, resources: Resources):
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}
    assert ask(alice, "responses", tools=[tool], tool_choice=choice).status_code == 200
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}
    expected = {"type": "allowed_tools", "allowed_tools": allowed}
    assert parameters(resources)["tool_choice"] == expected
    chat_tool = {"type": "function", "function": {"name": "f"}}
    assert ask(alice, "chat", tools=[chat_tool], tool_choice=expected).status_code == 200
    assert parameters(resources)["tool_choice"] == expected
    refused = ask(alice, "responses", tools=[tool], tool_choice={**choice, "mode": "maybe"})
    assert refused.json["error"]["param"] == "tool_choice.mode"


SILENT: dict[str, dict[str, Any]] = {
    "null": {"role": "assistant", "content": None},
    "absent": {"role": "assistant"},
    "no refusal": {"role": "assistant", "content": None, "refusal": None},
}


@pytest.mark.parametrize("form", SILENT)
def test_an_assistant_message_without_content_is_left_out(alice: Person, resources: Resources, form: str):
    messages = [{"role": "user", "content": "a"}, SILENT[form], {"role": "user", "content": "b"}]
    assert ask(alice, "chat", messages=messages).status_code == 200
    assert stored(resources) == [("user", "a\n\nb")]


def test_a_refusal_and_an_empty_output_are_sent_on(alice: Person, resources: Resources):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "refusal": "I cannot."},
        {"role": "user", "content": "b"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": None},
    ]
    assert ask(alice, "chat", messages=messages).status_code == 200
    assert stored(resources)[:3] == [("user", "a"), ("assistant", "I cannot."), ("user", "b")]


@pytest.mark.parametrize("role", ["user", "system", "assistant", "developer"])
def test_an_empty_list_of_parts_is_refused_by_its_place(alice: Person, role: str):
    messages = [{"role": "user", "content": "a"}, {"role": role, "content": []}]
    refused = ask(alice, "chat", messages=messages)
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "messages[1].content")


def test_compacting_is_refused_in_the_form_of_the_protocol(alice: Person):
    refused = alice.post("/v1/responses/compact", json={"model": "offline", "input": "x"})
    assert refused.status_code in (404, 405)
    assert set(refused.json["error"]) == {"message", "type", "param", "code"}


def stored(resources: Resources) -> list[tuple[str, str]]:
    """Role and text of the messages before the newest answer."""
    with resources.database.system() as tx:
        rows = tx.execute(
            text(
                """SELECT role, content FROM messages WHERE conversation_id =
                       (SELECT conversation_id FROM generations ORDER BY created_at DESC LIMIT 1)
                   AND status = 'completed' ORDER BY seq"""
            )
        )
        return [(row.role, row.content) for row in rows]


def test_messages_with_nothing_to_be_sent_on_are_refused(alice: Person):
    call = {"name": "f", "arguments": "{}"}
    for said in ({"content": None}, {"tool_calls": {}}, {"refusal": ""}, {"function_call": call}):
        refused = ask(alice, "chat", messages=[{"role": "assistant", **said}])
        assert (refused.status_code, refused.json["error"]["param"]) == (400, "messages"), said
