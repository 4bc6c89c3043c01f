"""CORS: responses allow the origins that the deployment names, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from .conftest import Hand, Person

ORIGIN = "https://chat.example.com"
ALLOWED = "Access-Control-Allow-Origin"
SENT = "authorization, content-type, idempotency-key, last-event-id, x-stainless-retry-count"
STREAM = "/api/v1/generations/00000000-0000-7000-8000-000000000000/stream"


def preflight(client: FlaskClient, path: str, method: str, origin: str = ORIGIN) -> TestResponse:
    """The preflight request that a browser sends. It has no token."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": SENT.replace(" ", ""),
    }
    return client.options(path, headers=headers)


def listed(value: str) -> set[str]:
    return {word.strip().lower() for word in value.split(",")}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", STREAM),
        ("POST", "/api/v1/generations"),
        ("PATCH", "/api/v1/conversations/00000000-0000-7000-8000-000000000000"),
        ("POST", "/v1/responses"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/chat/completions"),
    ],
)
def test_a_named_origin_may_ask_everything_with_every_header(make_app: Any, method: str, path: str):
    answer = preflight(make_app(cors_origins=f"https://a.example, {ORIGIN}").test_client(), path, method)
    assert answer.status_code == 200, "a preflight has no token, and needs none"
    assert answer.headers[ALLOWED] == ORIGIN
    assert method.lower() in listed(answer.headers["Access-Control-Allow-Methods"])
    assert listed(answer.headers["Access-Control-Allow-Headers"]) == listed(SENT)
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "origin" in listed(answer.headers["Vary"])
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_answers_refusals_and_streams_can_be_read_with_their_ids(make_app: Any, of_workers: Any):
    app = make_app(cors_origins=ORIGIN)
    person = Person(app.test_client(), "elsewhere", {"Origin": ORIGIN})
    made = person.start()
    generation = made["generation"]["id"]
    Hand(of_workers(app), generation).run("Once ")
    stream = person.get(f"/api/v1/generations/{generation}/stream")
    assert b"Once " in stream.data
    answers = (stream, person.get(f"/api/v1/generations/{generation}"), person.get("/api/v1/nothing"))
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    refused = app.test_client().post("/v1/responses", json={}, headers={"Origin": ORIGIN})
    assert refused.status_code == 401
    for answer in (*answers, refused):
        assert answer.headers[ALLOWED] == ORIGIN
        assert {"x-request-id", "retry-after", "x-vercel-ai-ui-message-stream", "etag", "location"} <= listed(
            answer.headers["Access-Control-Expose-Headers"]
        )


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://chat.example.com.evil.example", "https://chatXexample.com", "null", "*"],
)
def test_nobody_else_is_let_in(make_app: Any, origin: str):
    client = make_app(cors_origins=ORIGIN).test_client()
    for answer in (preflight(client, STREAM, "GET", origin), client.get("/v1/models", headers={"Origin": origin})):
        assert ALLOWED not in answer.headers


def test_without_the_variable_nothing_is_said_about_origins(anybody: FlaskClient):
    for answer in (preflight(anybody, STREAM, "GET"), anybody.get("/v1/models", headers={"Origin": ORIGIN})):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control-")]


def test_a_star_lets_everybody_in_but_not_to_the_page(make_app: Any):
    client = make_app(cors_origins="*").test_client()
    assert preflight(client, STREAM, "GET", "https://anywhere.example").headers[ALLOWED] == "*"
    assert ALLOWED not in client.get("/", headers={"Origin": "https://anywhere.example"}).headers
