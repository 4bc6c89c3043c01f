"""The repository checks its own wiring: access, errors, document, shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import pytest
from flask_openapi3.openapi import OpenAPI

from app.api.auth.rights import Access
from app.api.errors import KINDS, kind_of
from app.api.representations.account import Account
from app.api.representations.conversation import Conversation, ConversationPage, ConversationStatus
from app.api.representations.generation import PolledGeneration, Started
from app.api.representations.message import MessagePage
from app.api.representations.models import ModelList
from app.api.representations.problem import Problem
from app.domain.errors import UnbrokenError
from app.domain.events import Token
from app.wiring import Resources

from .conftest import Hand, Person

OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/start.js", "/docs/assets/<path:name>",
        "/problems/<slug>", "/", "/new", "/c/<conversation>", "/m/<path:model>/new",
        "/m/<path:model>/c/<conversation>", "/static/<path:name>", "/signin", "/signout", "/signin/once/<code>",
        "/s/<share>", "/diagram", "/settings", "/settings/<section>",
        "/signin/oidc", "/signin/callback", "/signin/backchannel", "/ops", "/ops/generations",
        "/ops/generations/<name>", "/ops/workers", "/ops/users", "/ops/users/<name>",
        "/ops/dead-letters", "/ops/audit"}  # fmt: skip


def test_every_route_declares_who_may_call_it(app: OpenAPI):
    for rule in app.url_map.iter_rules():
        access = getattr(app.view_functions[rule.endpoint], "access", None)
        assert access in get_args(Access), f"{rule.rule} declares nothing"
        if access == "public":
            assert rule.rule in OPEN, f"{rule.rule} is open to everybody"


def test_every_route_that_needs_a_token_refuses_without_one(app: OpenAPI):
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if app.view_functions[rule.endpoint].access != "public":
            path = rule.rule.replace("<", "").replace(">", "")
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                assert client.open(path, method=method).status_code == 401, (method, path)


def every_error(cls: type[UnbrokenError] = UnbrokenError) -> Iterator[type[UnbrokenError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from every_error(child)


def test_every_error_has_a_status_of_its_own_choosing():
    for error in every_error():
        if error.__module__.startswith(("app.", "worker.")):
            kind = kind_of(error)
            assert 400 <= kind.status <= 599
            assert error is UnbrokenError or kind is not KINDS[UnbrokenError] or error in KINDS, error


def test_the_document_is_openapi_3_1_and_says_how_streams_come(app: OpenAPI):
    document = app.test_client().get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    stream = document["paths"]["/api/v1/generations/{generation_id}/stream"]["get"]
    assert list(stream["responses"]["200"]["content"]) == ["text/event-stream"]
    start = document["paths"]["/api/v1/generations"]["post"]
    assert set(start["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert document["components"]["schemas"]["StartBody"]["properties"]["message"]["maxLength"] == 10_000


def test_the_document_knows_every_route_and_every_reference_in_it(app: OpenAPI):
    document = app.test_client().get("/openapi.json").json
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/"):
            path = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule)
            described = document["paths"][path]
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                first, second, *others = described[method.lower()]["security"]
                assert (list(first), second) == (["bearer"], {"cookie": []})
                assert others in ([], *([{"signature": []}, *more] for more in ([], [{"ticket": []}])))
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_page_of_the_document_needs_nothing_from_elsewhere(app: OpenAPI):
    client = app.test_client()
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("<!doctype html>", "")
    for path in ("/docs/start.js", "/docs/assets/js/swagger-ui-bundle.js", "/docs/assets/css/swagger-ui.css"):
        assert path in page.text
        assert client.get(path).status_code == 200
    assert client.get("/docs/assets/../plugins.py").status_code == 404


@pytest.mark.parametrize("state", ["queued", "running", "finished"])
def test_answers_have_the_documented_shapes(alice: Person, resources: Resources, state: str):
    made = alice.start(metadata={"k": "v"})
    generation, conversation = made["generation"]["id"], made["conversation"]["id"]
    if state != "queued":
        hand = Hand(resources, generation)
        hand.say(Token("x"))
        if state == "finished":
            hand.run("y")
    answers: list[tuple[type, Any]] = [
        (Started, made),
        (PolledGeneration, alice.get(f"/api/v1/generations/{generation}?after=0-0").json),
        (Conversation, alice.get(f"/api/v1/conversations/{conversation}").json),
        (ConversationPage, alice.get("/api/v1/conversations").json),
        (ConversationStatus, alice.get(f"/api/v1/conversations/{conversation}/status").json),
        (MessagePage, alice.get(f"/api/v1/conversations/{conversation}/messages").json),
        (ModelList, alice.get("/api/v1/models").json),
        (Account, alice.get("/api/v1/me").json),
        (Problem, alice.get("/api/v1/generations/x").json),
    ]
    for shape, answer in answers:
        schema = {**shape.model_json_schema(mode="serialization"), "additionalProperties": False}
        jsonschema.validate(answer, schema)
        # A refusal names a limit only where one was reached.
        absent = {"limit"} if shape is Problem else set()
        assert set(schema["properties"]) - absent == set(answer), shape.__name__


def test_every_kind_of_problem_is_explained_at_its_address(app: OpenAPI):
    client = app.test_client()
    for kind in KINDS.values():
        assert client.get(f"/problems/{kind.slug}").status_code == 200
    for address in ("/api/v1/generations", "/nothing"):
        kind = client.put(address).json["type"]
        assert client.get(kind).status_code == 200, kind
    assert client.get("/problems/none").status_code == 404
