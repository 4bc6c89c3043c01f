"""The rights of API keys: every route has a declared need, and each scope opens what it should and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from flask_openapi3.openapi import OpenAPI

from app.domain.credential import EVERY_SCOPE
from app.wiring import Resources
from tests.stack import until

from .conftest import Hand, Person, token
from .test_api_keys import make, program

# The needs that do not follow from the method: a change here changes who may what.
OF_PERSONS = {
    ("POST", "/api/v1/api-keys"),
    ("GET", "/api/v1/api-keys"),
    ("GET", "/api/v1/api-keys/{key_id}"),
    ("PATCH", "/api/v1/api-keys/{key_id}"),
    ("POST", "/api/v1/api-keys/{key_id}/rotate"),
    ("DELETE", "/api/v1/api-keys/{key_id}"),
    ("GET", "/api/v1/me/audit"),
    ("GET", "/api/v1/me/export"),
    ("DELETE", "/api/v1/me"),
    ("PATCH", "/api/v1/me/preferences"),
    ("POST", "/api/v1/conversations/{conversation_id}/share"),
    ("GET", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions/{session_id}"),
    ("GET", "/api/v1/webhook-secret"),
    ("POST", "/api/v1/webhook-secret"),
}
OF_ADMINISTRATORS_THEMSELVES = {
    ("POST", "/api/v1/service-accounts"),
    ("DELETE", "/api/v1/service-accounts/{account_id}"),
    ("POST", "/api/v1/service-accounts/{account_id}/api-keys"),
    ("POST", "/api/v1/service-accounts/{account_id}/api-keys/{key_id}/rotate"),
    ("DELETE", "/api/v1/service-accounts/{account_id}/api-keys/{key_id}"),
}
OF_SUPPORT_ITSELF = {("POST", "/api/v1/ops/generations/{generation_id}/text")}
WITHOUT_SCOPE = {("POST", "/api/v1/auth/check")}
READING_POSTS = {("POST", "/api/v1/stream-tickets")}
OF_ADMINISTRATORS = re.compile(r"/api/v1/(ops/|service-accounts|models/(all|\{model\}))")
UNKNOWN = "01890000-0000-7000-8000-000000000000"


def expected(method: str, path: str) -> str | None:
    """The need of a route by the rules of docs/api-keys.md."""
    if (method, path) in WITHOUT_SCOPE:
        return None
    if (method, path) in OF_PERSONS | OF_ADMINISTRATORS_THEMSELVES | OF_SUPPORT_ITSELF:
        return "person"
    if OF_ADMINISTRATORS.match(path) or (method, path) == ("POST", "/api/v1/models"):
        return "admin"
    return "read" if method == "GET" or (method, path) in READING_POSTS else "generate"


def routes(app: OpenAPI) -> Iterator[tuple[str, str, list[dict[str, list[str]]]]]:
    """Method, path and declared credentials of each route of the document that is not public."""
    for path, operations in app.test_client().get("/openapi.json").json["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation["security"]


def test_the_document_has_the_need_of_every_route(app: OpenAPI) -> None:
    found = list(routes(app))
    assert len(found) > 60
    for method, path, security in found:
        need = expected(method, path)
        assert security[0] == {"bearer": [need] if need else []}, (method, path)
    declared = {(method, path) for method, path, _ in found}
    assert declared >= OF_PERSONS | WITHOUT_SCOPE | READING_POSTS


def test_every_route_outside_of_the_document_is_public_or_has_a_need(app: OpenAPI) -> None:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        assert view.access in ("public", "credential") or view.need in (*EVERY_SCOPE, "person"), rule.rule


def test_a_key_reaches_what_its_scopes_open_and_is_told_which_one_it_lacks(app: OpenAPI, alice: Person) -> None:
    admin = Person(alice.client, alice.subject, bearer(token(alice.subject, role="admin")))
    sets = [set(some) for size in (1, 2, 3) for some in combinations(sorted(EVERY_SCOPE), size)]
    keys = [(scopes, program(alice, make(admin, scopes=sorted(scopes))["key"])) for scopes in sets]
    for method, path, _ in routes(app):
        need = expected(method, path)
        address = path.replace("{model}", "nothing/here").replace("{chat_id}", "none")
        address = re.sub(r"{\w+}", UNKNOWN, address)
        for scopes, key in keys:
            answer = key._ask(method, address, {})
            refusal = (answer.status_code, _kind(answer))
            if need == "person":
                assert refusal == (403, "person-needed"), (method, path, scopes)
            elif need is not None and need not in scopes:
                assert refusal[0] == 403, (method, path, scopes, answer.text)
                assert f"the scope '{need}'" in answer.text
            else:
                assert answer.status_code not in (401, 403), (method, path, scopes, answer.text)
            answer.close()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def _kind(answer: Any) -> str:
    return str(answer.json.get("type", "")).rpartition("/")[2] if answer.is_json else ""


def test_a_person_reaches_what_needs_a_person(app: OpenAPI, alice: Person) -> None:
    for n, (method, path) in enumerate(sorted(OF_PERSONS)):
        # Some of these requests end the access of their user.
        person = Person(alice.client, f"{alice.subject}-{n}")
        answer = person._ask(method, re.sub(r"{\w+}", UNKNOWN, path), {})
        assert answer.status_code in (200, 202, 204, 400, 404, 422), (method, path, answer.text)


def test_service_accounts_need_an_administrator_who_is_a_person(app: OpenAPI, alice: Person) -> None:
    admin = Person(alice.client, alice.subject, bearer(token(alice.subject, role="admin")))
    for role, allowed in (("operator", False), (None, False), ("admin", True)):
        person = Person(alice.client, alice.subject, bearer(token(alice.subject, **({"role": role} if role else {}))))
        for method, path in OF_ADMINISTRATORS_THEMSELVES:
            answer = person._ask(method, re.sub(r"{\w+}", UNKNOWN, path), {})
            assert (answer.status_code != 403) == allowed, (method, path, role, answer.text)
    key = program(alice, make(admin, scopes=["admin"])["key"])
    assert key.get("/api/v1/service-accounts").status_code == 200


def test_an_operator_looks_and_does_nothing(app: OpenAPI, alice: Person) -> None:
    operator = Person(alice.client, alice.subject, bearer(token(alice.subject, role="operator")))
    begun = alice.start()["generation"]["id"]
    with_key = program(alice, make(operator, scopes=["admin"])["key"])
    for caller in (operator, with_key):
        for method, path, _ in routes(app):
            if path.startswith("/api/v1/ops/"):
                answer = caller._ask(method, re.sub(r"{\w+}", begun, path), {})
                assert (answer.status_code == 403) == (method != "GET"), (method, path, answer.text)
    assert alice.get("/api/v1/ops/generations").status_code == 403


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def limited(alice: Person) -> Person:
    """A program whose key may use one model, which is not the default."""
    return program(alice, make(alice, models=["offline-fast"])["key"])


def test_a_key_starts_answers_of_its_models_only(alice: Person, limited: Person, resources: Resources) -> None:
    allowed = limited.start(model="offline-fast")
    Hand(resources, allowed["generation"]["id"]).run("a")
    other = alice.start(model="offline")
    Hand(resources, other["generation"]["id"]).run("a")
    in_other = {"message": "x", "conversation_id": other["conversation"]["id"]}
    answer_id, message_id = other["generation"]["message_id"], other["message"]["message_id"]
    refused = [
        ("/api/v1/generations", {"message": "x"}),
        ("/api/v1/generations", {"message": "x", "model": "offline"}),
        ("/api/v1/generations", {"message": "x", "model": "offline", "stream": True}),
        ("/api/v1/generations", in_other),
        (f"/api/v1/messages/{answer_id}/regenerate", {}),
        (f"/api/v1/messages/{answer_id}/continue", {}),
        (f"/api/v1/messages/{message_id}/edit", {"message": "y"}),
        ("/v1/responses", {"input": "x", "background": True, "model": "offline"}),
        ("/v1/responses", {"input": "x", "model": "offline"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "model": "offline"}),
        ("/v1/embeddings", {"input": "x", "model": "offline"}),
        ("/api/chat", {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}]}),
    ]
    for path, body in refused:
        answer = limited.post(path, json=body)
        assert answer.status_code == 403, (path, body, answer.text)
        assert "'offline'" in answer.text
        if path.startswith("/v1/"):
            assert answer.json["error"]["code"] == "model_not_allowed"
        else:
            assert answer.json["type"] == "/problems/model-not-allowed"
    assert alice.get(f"/api/v1/conversations/{other['conversation']['id']}/messages").json["items"][2:] == []
    own = f"/api/v1/messages/{allowed['generation']['message_id']}/regenerate"
    assert limited.post(own, json={}).status_code == 202
    assert limited.post(own, json={"model": "offline", "on_busy": "enqueue"}).status_code == 403


def test_lists_of_models_have_those_of_the_key(alice: Person, limited: Person) -> None:
    assert [model["name"] for model in limited.get("/api/v1/models").json["items"]] == ["offline-fast"]
    assert [model["id"] for model in limited.get("/v1/models").json["data"]] == ["offline-fast"]
    assert len(alice.get("/v1/models").json["data"]) > 1
    assert limited.get("/v1/models/offline-fast").status_code == 200
    assert limited.get("/v1/models/offline").status_code == 404


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("redis", ["there", "away"])
def test_a_key_has_rates_of_its_own_beside_those_of_its_user(make_app: Any, redis: str) -> None:
    elsewhere = {"redis_url": "redis://127.0.0.1:1/0", "redis_seconds_per_request": 0.5} if redis == "away" else {}
    app = make_app(**elsewhere)
    person = Person(app.test_client(), "many")
    key = program(person, make(person, limits={"reads": "3/minute"})["key"])
    other = program(person, make(person, limits={"reads": "3/minute"})["key"])
    answers = [key.get("/api/v1/me") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "limits.reads" in answers[3].json["detail"]
    assert int(answers[3].headers["Retry-After"]) <= 60
    assert other.get("/api/v1/me").status_code == 200
    assert person.get("/api/v1/me").status_code == 200
    if redis == "there":
        assert '"key_reads";q=3;w=60' in answers[0].headers["RateLimit-Policy"]
        assert answers[0].headers["x-ratelimit-remaining-requests"] == "2"


def test_generations_of_a_key_are_limited_apart_and_the_user_limit_stays(make_app: Any) -> None:
    app = make_app(ratelimit_generations="3/minute")
    person = Person(app.test_client(), "many")
    key = program(person, make(person, limits={"generations": "2/minute", "reads": "1/minute"})["key"])
    assert [key.post("/api/v1/generations", json={"message": "x"}).status_code for _ in range(3)] == [202, 202, 429]
    free = program(person, make(person)["key"])
    assert free.post("/api/v1/generations", json={"message": "x"}).status_code == 202
    assert key.post("/api/v1/generations", json={"message": "x"}).status_code == 429
    last = free.post("/api/v1/generations", json={"message": "x"})
    assert "RATELIMIT_GENERATIONS" in last.json["detail"]


def test_streams_of_a_key_are_limited_also_behind_its_tickets(make_app: Any) -> None:
    app = make_app(max_streams_per_user=4)
    person = Person(app.test_client(), "many")
    path = f"/api/v1/generations/{person.start()['generation']['id']}/stream"
    key = program(person, make(person, limits={"max_streams": 2})["key"])
    ticket = key.post("/api/v1/stream-tickets", json={"generation_id": path.split("/")[4]}).json["ticket"]
    by_ticket = Person(person.client, "", {"Authorization": ""})
    with opened(key, path), opened(by_ticket, f"{path}?ticket={ticket}"):
        for refused in (key.get(path), by_ticket.get(f"{path}?ticket={ticket}")):
            assert refused.status_code == 429
            assert "limits.max_streams" in refused.json["detail"]
        with opened(person, path), opened(person, path):
            assert "MAX_STREAMS_PER_USER" in person.get(path).json["detail"]

    def has_room() -> bool:
        with key.get(path) as one, key.get(path) as other:
            return one.status_code == other.status_code == 200

    # The place of a stream that has ended is released a moment later.
    until(has_room)


class opened:
    """A stream that is open while the block runs."""

    def __init__(self, person: Person, path: str) -> None:
        self._answer = person.get(path)

    def __enter__(self) -> None:
        assert self._answer.status_code == 200, self._answer.text
        next(iter(self._answer.response))

    def __exit__(self, *_: object) -> None:
        self._answer.close()
