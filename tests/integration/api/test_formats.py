"""The form of an answer at the door of every surface: accepted, stored in its order, or refused by name."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3 import OpenAPI

from app.domain.answer_format import restored_parameters
from app.store.database import fetch_one
from app.wiring import Resources

from .conftest import Person, token

SCHEMA = {
    "type": "object",
    "properties": {"steps": {"type": "array", "items": {"type": "string"}}, "a": {"type": "integer"}},
    "required": ["steps", "a"],
    "additionalProperties": False,
}


@pytest.fixture
def admin(app: OpenAPI) -> Person:
    person = Person(app.test_client(), f"root-{uuid4().hex[:8]}")
    person.headers["Authorization"] = f"Bearer {token('root', role='admin')}"
    return person


def chat_format(**changes: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA, "strict": True, **changes}}


def stored(resources: Resources) -> dict[str, Any]:
    """The parameters of the newest generation, as they were in the request."""
    with resources.database.system() as tx:
        row = fetch_one(tx, "SELECT parameters FROM generations ORDER BY id DESC LIMIT 1")
    assert row is not None
    return restored_parameters(row.parameters)


def send(person: Person, surface: str, wanted: dict[str, Any]) -> Any:
    # Flask's test client sorts the fields of `json`.
    options: dict[str, Any] = {"content_type": "application/json"}
    if surface == "native":
        return person.post(
            "/api/v1/generations", data=json.dumps({"message": "hi", "response_format": wanted}), **options
        )
    given = {"type": wanted["type"], **wanted.get("json_schema", {})}
    body = {"model": "offline", "input": "hi", "background": True, "text": {"format": given}}
    return person.post("/v1/responses", data=json.dumps(body), **options)


@pytest.mark.parametrize("surface", ["native", "responses"])
def test_a_form_is_stored_with_its_schema_in_its_order(alice: Person, resources: Resources, surface: str) -> None:
    made = send(alice, surface, chat_format())
    assert made.status_code in (200, 202), made.text
    kept = stored(resources)["response_format"]
    assert kept == chat_format()
    assert list(kept["json_schema"]["schema"]["properties"]) == ["steps", "a"]
    assert list(kept["json_schema"]["schema"]) == list(SCHEMA)
    if surface == "responses":
        assert made.json["text"]["format"] == {
            "type": "json_schema", "name": "sum", "schema": SCHEMA, "strict": True, "description": None
        }  # fmt: skip


BROKEN = {
    "no type": ({}, "type"),
    "another type": ({"type": "xml"}, "type"),
    "no schema": ({"type": "json_schema", "json_schema": {"name": "a"}}, "schema"),
    "a name with a space": (chat_format(name="a b"), "name"),
    "a long name": (chat_format(name="a" * 65), "name"),
    "an open object": (chat_format(schema={**SCHEMA, "additionalProperties": True}), "schema"),
    "an optional property": (chat_format(schema={**SCHEMA, "required": ["a"]}), "schema"),
    "a list at the top": (chat_format(schema={"type": "array", "items": SCHEMA}), "schema"),
    "a keyword outside strict": (chat_format(schema={**SCHEMA, "allOf": [{"type": "object"}]}), "schema"),
    "a foreign reference": (chat_format(strict=False, schema={"$ref": "file:///etc/passwd"}), "schema"),
    "a nested one": (chat_format(strict=False, schema={"items": {"$ref": "http://127.0.0.1/a"}}), "schema"),
    "itself": (chat_format(strict=False, schema={"$ref": "#"}), "schema"),
    "a wrong strict": (chat_format(strict="yes"), "strict"),
    "NUL": (chat_format(strict=False, schema={"title": "a\0b"}), None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_form_that_is_not_accepted_is_named(alice: Person, name: str) -> None:
    wanted, part = BROKEN[name]
    native = alice.post("/api/v1/generations", json={"message": "hi", "response_format": wanted})
    assert native.status_code == 422, native.text
    field = native.json["errors"][0]["field"]
    assert field.startswith("response_format")
    chat = alice.post(
        "/v1/chat/completions",
        json={"model": "offline", "messages": [{"role": "user", "content": "hi"}], "response_format": wanted},
    )
    assert chat.status_code == 400, chat.text
    ui = alice.post(
        "/api/chat",
        json={
            "id": "c", "response_format": wanted,
            "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
        },
    )  # fmt: skip
    assert ui.status_code == 422, ui.text
    if part is not None:
        assert field.split(".")[-1] == part
        assert chat.json["error"]["param"] == field


def test_a_limit_of_schemas_is_named_with_its_variable(alice: Person) -> None:
    refused = send(alice, "native", chat_format(strict=False, schema={"enum": list(range(6000))}))
    assert refused.status_code == 422
    assert "MAX_SCHEMA_VALUES" in refused.text


def test_a_built_in_model_refuses_a_form_that_it_cannot_answer_in(alice: Person) -> None:
    wanted = chat_format(strict=False, schema={"type": "string", "pattern": "^[0-9]{17}x$"})
    refused = alice.post("/api/v1/generations", json={"message": "hi", "model": "offline", "response_format": wanted})
    assert refused.status_code == 422
    assert "offline" in refused.json["errors"][0]["detail"]


def test_a_models_own_form_is_checked_when_it_is_configured(admin: Person) -> None:
    body = {"name": "typed", "provider": "offline", "parameters": {"response_format": {"type": "json_schema"}}}
    refused = admin.post("/api/v1/models", json=body)
    assert refused.status_code == 422
    assert "response_format" in refused.text or "json_schema" in refused.text
    body["parameters"] = {"response_format": {"type": "json_object"}}
    assert admin.post("/api/v1/models", json=body).status_code == 201
