"""Models: users list them and administrators change them. A removal deletes an unused one and disables a used one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI

from app.wiring import Resources

from .conftest import Hand, Person, token

MODELS = "/api/v1/models"


@pytest.fixture
def admin(app: OpenAPI) -> Person:
    person = Person(app.test_client(), "root")
    person.headers["Authorization"] = f"Bearer {token('root', role='admin')}"
    return person


@pytest.fixture
def name() -> str:
    return f"model/{uuid4().hex[:8]}"


def put(admin: Person, name: str, **spec: Any) -> dict[str, Any]:
    answer = admin._ask("PUT", f"{MODELS}/{name}", {"json": {"provider": "offline-fast", **spec}})
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json
    return found


def test_a_new_model_is_there_for_everybody_with_what_concerns_them(admin: Person, alice: Person, name: str):
    body = {
        "name": name,
        "provider": "offline",
        "label": "Clever",
        "description": "Counts",
        "system_prompt": "secret",
        "parameters": {"temperature": 0.5},
        "on_interruption": ["restart"],
        "tools": ["calculator"],
        "price": {"input": "0.15", "output": 0.6, "cached_input": "0.015", "currency": "EUR"},
    }
    made = admin.post(MODELS, json=body)
    assert (made.status_code, made.headers["Location"].endswith(f"{MODELS}/{name}")) == (201, True)
    price = {"input": "0.15", "output": "0.6", "cached_input": "0.015", "cache_write": None, "currency": "EUR"}
    inputs = dict.fromkeys(("images", "files", "tools", "reasoning"))
    shown = {"upstream_name": name, "targets": [], "price": price, "accepts": inputs, "enabled": True}
    assert made.json == body | shown
    assert admin.get(f"{MODELS}/{name}").json == made.json
    assert made.json in admin.get(f"{MODELS}/all").json["items"]
    [seen] = [model for model in alice.get(MODELS).json["items"] if model["name"] == name]
    assert seen == {
        "name": name,
        "provider": "offline",
        "default": False,
        "label": "Clever",
        "description": "Counts",
        "tools": ["calculator"],
        "price": price,
        "accepts": dict.fromkeys(inputs, True),
    }
    assert alice.start(model=name)["generation"]["model"] == name


def test_the_inputs_of_a_model_are_those_of_its_configuration(admin: Person, alice: Person, name: str):
    put(admin, name, accepts={"images": False, "files": False})
    [seen] = [model for model in alice.get(MODELS).json["items"] if model["name"] == name]
    assert seen["accepts"] == {"images": False, "files": "text", "tools": True, "reasoning": True}
    assert admin.patch(f"{MODELS}/{name}", json={"label": "One"}).json["accepts"]["images"] is False
    assert put(admin, name)["accepts"]["images"] is None


def test_a_new_model_is_where_its_answer_says_whatever_it_is_called(admin: Person, name: str):
    made = admin.post(MODELS, json={"name": f"{name}?#% \N{PARROT}", "provider": "offline"})
    assert made.status_code == 201, made.text
    assert admin.get(made.headers["Location"]).json == made.json


def test_a_models_name_adds_no_header(admin: Person, name: str):
    made = admin.post(MODELS, json={"name": f"{name}\r\nX-Evil: 1", "provider": "offline"})
    assert made.status_code == 422, made.text
    assert made.json["errors"][0]["field"] == "name"
    assert "X-Evil" not in made.headers


def test_only_administrators_change_models(alice: Person, name: str):
    body = {"name": name, "provider": "offline"}
    asked = [
        alice.post(MODELS, json=body),
        alice._ask("PUT", f"{MODELS}/{name}", {"json": {"provider": "offline"}}),
        alice.patch(f"{MODELS}/offline", json={"enabled": False}),
        alice.delete(f"{MODELS}/offline"),
        alice.get(f"{MODELS}/offline"),
        alice.get(f"{MODELS}/all"),
    ]
    assert [answer.status_code for answer in asked] == [403] * 6


def test_parts_are_changed_and_emptied(admin: Person, name: str):
    put(admin, name, label="One", price={"input": "1", "output": "2"})
    changed = admin.patch(f"{MODELS}/{name}", json={"label": None, "tools": ["word_count"]}).json
    assert (changed["label"], changed["tools"], changed["price"]["output"]) == (None, ["word_count"], "2")
    assert admin.patch(f"{MODELS}/{name}", json={"price": None}).json["price"] is None
    assert admin.patch(f"{MODELS}/{name}", json={}).json["tools"] == ["word_count"]
    assert put(admin, name)["tools"] == []
    assert admin.patch(f"{MODELS}/none", json={}).status_code == 404
    assert admin.delete(f"{MODELS}/none").status_code == 404


def test_a_name_is_given_once(admin: Person, name: str):
    assert admin.post(MODELS, json={"name": name, "provider": "offline"}).status_code == 201
    again = admin.post(MODELS, json={"name": name, "provider": "offline"})
    assert (again.status_code, again.json["errors"][0]["field"]) == (422, "name")


def test_no_model_is_called_what_the_list_of_all_of_them_is(admin: Person):
    refused = [
        admin.post(MODELS, json={"name": "all", "provider": "offline"}),
        admin._ask("PUT", f"{MODELS}/all", {"json": {"provider": "offline"}}),
    ]
    assert [(one.status_code, one.json["errors"][0]["field"]) for one in refused] == [(422, "name")] * 2
    assert "all" not in [model["name"] for model in admin.get(f"{MODELS}/all").json["items"]]


def test_one_that_nobody_used_is_gone(admin: Person, alice: Person, name: str):
    put(admin, name)
    assert admin.delete(f"{MODELS}/{name}").status_code == 204
    assert admin.get(f"{MODELS}/{name}").status_code == 404
    refused = alice.post("/api/v1/generations", json={"message": "hi", "model": name})
    assert (refused.status_code, "no model named" in refused.json["detail"]) == (422, True)


def test_one_that_was_used_is_switched_off_and_says_so(admin: Person, alice: Person, resources: Resources, name: str):
    put(admin, name)
    made = alice.start(model=name)
    Hand(resources, made["generation"]["id"]).run("answer")
    left = admin.delete(f"{MODELS}/{name}")
    assert (left.status_code, left.json["enabled"]) == (200, False)
    assert name not in [model["name"] for model in alice.get(MODELS).json["items"]]
    conversation = made["conversation"]["id"]
    more = {"message": "more", "conversation_id": conversation}
    refused = alice.post("/api/v1/generations", json=more)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "model")
    assert "switched off" in refused.json["detail"]
    assert alice.get(f"/api/v1/conversations/{conversation}/messages").json["items"][1]["model"] == name
    assert alice.post("/api/v1/generations", json={**more, "model": "offline"}).status_code == 202
    assert admin.patch(f"{MODELS}/{name}", json={"enabled": True}).json["enabled"] is True
    assert alice.start(model=name)["generation"]["model"] == name


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"provider": "openai"}, "provider"),
        ({"upstream_name": ""}, "upstream_name"),
        ({"label": "a\0"}, "label"),
        ({"parameters": {"messages": []}}, "parameters"),
        ({"parameters": {"a": "x" * 20_000}}, "parameters"),
        ({"parameters": {"a": "\ud800"}}, "parameters"),
        ({"on_interruption": ["explode"]}, "on_interruption.0"),
        ({"on_interruption": ["error", "error"]}, "on_interruption"),
        ({"tools": ["no_such_tool"]}, "tools"),
        ({"tools": ["calculator", "calculator"]}, "tools"),
        ({"price": {"input": "1"}}, "price.output"),
        ({"price": {"input": "-1", "output": "1"}}, "price.input"),
        ({"price": {"input": "NaN", "output": "1"}}, "price.input"),
        ({"price": {"input": "1e99", "output": "1"}}, "price.input"),
        ({"price": {"input": "0.0000001", "output": "1"}}, "price.input"),
        ({"price": {"input": "1", "output": "1", "currency": "euro"}}, "price.currency"),
        ({"enabled": "yes"}, "enabled"),
        ({"extra": 1}, "extra"),
        (
            {"targets": [{"upstream": "offline", "name": "a"}, {"upstream": "nobody", "name": "b"}]},
            "targets.1.upstream",
        ),
        ({"targets": [{"upstream": "offline"}]}, "targets.0.name"),
        ({"targets": [{"upstream": "offline", "name": "a", "weight": 1}]}, "targets.0.weight"),
        ({"targets": [{"upstream": "offline", "name": "a", "continuation": "guess"}]}, "targets.0.continuation"),
        ({"targets": [{"upstream": "offline", "name": "a", "parameters": {"n": 2}}]}, "targets.0.parameters"),
        ({"targets": [{"upstream": "offline", "name": "a"}] * 2}, "targets"),
    ],
)
def test_what_a_model_cannot_be_is_refused_by_name(admin: Person, name: str, spec: dict[str, Any], field: str):
    put(admin, name)
    for method, path in (("PUT", f"{MODELS}/{name}"), ("PATCH", f"{MODELS}/{name}")):
        body = spec if method == "PATCH" else {"provider": "offline", **spec}
        refused = admin._ask(method, path, {"json": body})
        assert refused.status_code == 422, (method, refused.text)
        assert refused.json["errors"][0]["field"] == field, method


def test_one_form_of_the_targets_takes_the_place_of_the_other(admin: Person, name: str):
    put(admin, name, label="Two")
    two = [
        {"upstream": "offline-fast", "name": "a", "parameters": {"top_p": 0.5}, "continuation": None},
        {"upstream": "offline", "name": "b", "parameters": {}, "continuation": "none"},
    ]
    changed = admin.patch(f"{MODELS}/{name}", json={"targets": two}).json
    assert (changed["targets"], changed["provider"], changed["upstream_name"]) == (two, "offline-fast", "a")
    assert admin.get(f"{MODELS}/{name}").json == changed
    assert put(admin, **{**changed, "name": name}) == changed
    assert admin.patch(f"{MODELS}/{name}", json={"label": "More"}).json == changed | {"label": "More"}
    short = admin.patch(f"{MODELS}/{name}", json={"provider": "offline"}).json
    assert (short["targets"], short["provider"]) == ([], "offline")


def test_operators_see_the_breakers_of_upstreams(admin: Person, alice: Person):
    assert admin.get("/api/v1/ops/upstreams").status_code == 200
    assert alice.get("/api/v1/ops/upstreams").status_code == 403


@pytest.mark.parametrize("path", ["/m/maker%2Fmodel/new", "/m/maker%2Fmodel/c/0190a5b4", "/m/plain/new"])
def test_the_page_has_addresses_for_models_whatever_they_are_called(anybody: FlaskClient, path: str):
    assert anybody.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/m/x", "/m//new", "/m/new", "/m/c/x"])
def test_what_is_no_address_of_a_model_is_none(anybody: FlaskClient, path: str):
    assert anybody.get(path).status_code == 404
