"""Bounds of requests: one rule for every protocol and every field."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from .conftest import Person, token
from .test_hostile import is_problem

START = "/api/v1/generations"
PATHS = [START, "/v1/responses", "/v1/chat/completions", "/api/chat", "/api/v1/conversations/import"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_of_a_token_is_read_in_any_case(anybody: FlaskClient, scheme: str) -> None:
    answer = anybody.get("/api/v1/me", headers={"Authorization": f"{scheme} {token('somebody-' + scheme)}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "identity, gzip"])
def test_an_encoded_body_is_415(alice: Person, path: str, coding: str) -> None:
    body = gzip.compress(b'{"message": "hi"}')
    answer = alice.post(path, data=body, content_type="application/json", headers={"Content-Encoding": coding})
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.text
    assert answer.headers["Accept-Encoding"] == "identity"


def test_a_body_marked_as_it_is_is_read(alice: Person) -> None:
    assert alice.post(START, json={"message": "hi"}, headers={"Content-Encoding": "identity"}).status_code == 202


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"a": {"message": 1, "message": 2}}', "message"),
        (b'{"a": [1e999]}', "1e999"),
        (b'{"a": -1e999}', "-1e999"),
        (b'{"a": ' + b"1" * 5000 + b"}", "JSON"),
        (b'{"a": ' + b"[" * 100_000, ""),
    ],
)
def test_json_that_two_readers_would_read_differently_is_refused(
    alice: Person, path: str, body: bytes, what: str
) -> None:
    answer = alice.post(path, data=body, content_type="application/json")
    assert answer.status_code in (400, 422)
    assert what in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_a_body_of_too_many_values_is_refused_by_name(alice: Person, path: str) -> None:
    body = b'{"a": [' + b"0," * 260_000 + b"0]}"
    answer = alice.post(path, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert ("MAX_IMPORT_VALUES" if path.endswith("import") else "MAX_JSON_VALUES") in answer.text


def test_a_body_that_is_too_large_names_its_bound(alice: Person) -> None:
    answer = alice.post(START, json={"message": "x" * 1_100_000})
    assert is_problem(answer, 413, "MAX_BODY_BYTES")
    assert "MAX_BODY_BYTES" in answer.json["detail"]


# -- the length of messages


LONG = "x" * 400_001
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "description": LONG}}}
SAID = {"role": "user", "content": "hi"}
LENGTHS: dict[str, tuple[str, dict[str, Any]]] = {
    "instructions": ("/v1/responses", {"input": "hi", "instructions": LONG}),
    "many items": ("/v1/responses", {"input": [{"role": "user", "content": "y" * 9_000}] * 50}),
    "outputs of tools": (
        "/v1/responses",
        {"input": [SAID, {"type": "function_call_output", "call_id": "c", "output": LONG}]},
    ),
    "name of a tool": ("/v1/responses", {"input": "hi", "tools": [{"type": "function", "name": LONG}]}),
    "schema of a tool": (
        "/v1/responses",
        {"input": "hi", "tools": [{"type": "function", "name": "t", "parameters": SCHEMA}]},
    ),
    "system messages": ("/v1/chat/completions", {"messages": [{"role": "system", "content": LONG}, SAID]}),
    "schema in chat": (
        "/v1/chat/completions",
        {"messages": [SAID], "tools": [{"type": "function", "function": {"name": "t", "parameters": SCHEMA}}]},
    ),
    "names of fields": ("/v1/chat/completions", {"messages": [SAID], "logit_bias": {LONG: 1}}),
}


@pytest.mark.parametrize(("path", "body"), LENGTHS.values(), ids=LENGTHS)
def test_the_texts_of_a_request_are_bounded_together(alice: Person, path: str, body: dict[str, Any]) -> None:
    answer = alice.post(path, json={"model": "offline", **body})
    assert answer.status_code in (400, 422)
    assert "MAX_PROMPT_CHARS" in answer.text


def test_the_texts_of_the_ai_sdk_are_bounded_together(alice: Person) -> None:
    said = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    system = {"id": "s", "role": "system", "parts": [{"type": "text", "text": LONG}]}
    for more in ({"messages": [system, said]}, {"messages": [said], "tools": {"t": {"parameters": SCHEMA}}}):
        answer = alice.post("/api/chat", json={"id": "c", **more})
        assert answer.status_code == 422
        assert "MAX_PROMPT_CHARS" in answer.text


# -- titles and other lines


DIRTY = "in\r\nvoice \u202etxt.exe\u2028\x1b[31m"
CLEAN = "in voice txt.exe [31m"


def test_a_title_is_one_line_however_it_comes(alice: Person) -> None:
    made = alice.start()["conversation"]["id"]
    answer = alice.patch(f"/api/v1/conversations/{made}", json={"title": DIRTY})
    assert answer.json["title"] == CLEAN
    document = json.loads(alice.get(f"/api/v1/conversations/{made}/export").data)
    document["conversation"]["title"] = DIRTY
    answer = alice.post("/api/v1/conversations/import", json=document)
    assert answer.json["title"] == CLEAN


@pytest.mark.parametrize("title", ["\r\n", "\u202e\u200f", "\u200d"])
def test_a_title_of_which_nothing_can_be_seen_is_refused(alice: Person, title: str) -> None:
    made = alice.start()["conversation"]["id"]
    assert is_problem(alice.patch(f"/api/v1/conversations/{made}", json={"title": title}), 422, "title")


@pytest.mark.parametrize("name", ["off\r\nline", "off\u202eline", "off\x7fline"])
def test_the_name_of_a_model_is_one_line(alice: Person, name: str) -> None:
    assert is_problem(alice.post(START, json={"message": "hi", "model": name}), 422, "model")
