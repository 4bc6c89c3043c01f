"""Operators see the service at a glance, also while Redis is away."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from flask_openapi3.openapi import OpenAPI

from app.api.representations.overview import Overview
from tests.integration.api.conftest import Person, token

OVERVIEW = "/api/v1/ops/overview"


def operator(app: OpenAPI) -> Person:
    person = Person(app.test_client(), f"operator-{uuid4().hex[:8]}")
    person.headers["Authorization"] = f"Bearer {token(person.subject, role='operator')}"
    return person


def test_an_operator_sees_the_load(app: OpenAPI, alice: Person) -> None:
    alice.start()
    found = operator(app).get(OVERVIEW)
    assert found.status_code == 200, found.text
    assert found.json.keys() == Overview.model_fields.keys()
    assert found.json["waiting"] >= 1
    assert found.json["stores"]["postgresql"]["status"] == "ok"
    assert found.json["stores"]["postgresql"]["latency_ms"] > 0
    assert isinstance(found.json["upstreams"], list)


def test_nobody_else_does(alice: Person) -> None:
    assert alice.get(OVERVIEW).status_code == 403


def test_a_redis_that_is_away_is_a_part_of_the_picture(make_app: Any) -> None:
    found = operator(make_app(redis_url="redis://127.0.0.1:1/0")).get(OVERVIEW)
    assert found.status_code == 200, found.text
    assert found.json["stores"]["redis"] == {"status": "down", "latency_ms": None}
    assert (found.json["upstreams"], found.json["streams_open"]) == (None, None)
    assert found.json["stores"]["broker"]["status"] == "down"
    assert found.json["degraded"]
