"""Service accounts: users of programs, whose subject nobody else can have."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.domain.errors import SubjectTaken
from app.services import service_accounts
from app.store import users
from app.wiring import Resources
from tests.sign_in import Browser, make_code

from .conftest import Hand, Person, token
from .test_api_keys import program, works

ACCOUNTS = "/api/v1/service-accounts"


@pytest.fixture
def admin(app: OpenAPI) -> Person:
    subject = f"admin-{uuid4().hex[:8]}"
    return Person(app.test_client(), subject, {"Authorization": f"Bearer {token(subject, role='admin')}"})


def account(admin: Person, name: str = "reports") -> dict[str, Any]:
    answer = admin.post(ACCOUNTS, json={"name": name})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json
    return made


def key_of(admin: Person, account_id: str, **body: Any) -> dict[str, Any]:
    answer = admin.post(f"{ACCOUNTS}/{account_id}/api-keys", json={"name": "k", **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json
    return made


def test_an_account_has_conversations_of_its_own(admin: Person, resources: Resources) -> None:
    made = account(admin)
    robot = program(admin, key_of(admin, made["id"])["key"])
    assert robot.get("/api/v1/me").json["subject"] == made["subject"] == f"service:{made['id']}"
    begun = robot.start("for the robot")
    Hand(resources, begun["generation"]["id"]).run("a")
    assert [one["id"] for one in robot.get("/api/v1/conversations").json["items"]] == [begun["conversation"]["id"]]
    assert admin.get("/api/v1/conversations").json["items"] == []
    assert admin.get(f"/api/v1/conversations/{begun['conversation']['id']}").status_code == 404
    listed = admin.get(f"{ACCOUNTS}?limit=1").json["items"]
    assert [(one["id"], one["name"], one["keys"]) for one in listed] == [(made["id"], "reports", 1)]


def test_no_token_and_no_sign_in_takes_its_subject(admin: Person, resources: Resources) -> None:
    made = account(admin)
    thief = Person(admin.client, made["subject"])
    for _ in range(2):
        assert thief.post("/api/v1/auth/check").status_code == 401
        assert thief.get("/api/v1/conversations").status_code == 401
    with resources.database.without_user() as tx, pytest.raises(SubjectTaken):
        users.account(tx, made["subject"], str(uuid4()))
    link = Browser(admin.client.application).sign_in(make_code(resources.settings.database_url, made["subject"]))
    assert (link.status_code, "Set-Cookie" in link.headers) == (404, False)


def test_its_keys_are_made_rotated_and_ended_by_administrators(admin: Person, alice: Person) -> None:
    made = account(admin)
    path = f"{ACCOUNTS}/{made['id']}/api-keys"
    first, other = key_of(admin, made["id"], scopes=["read"]), key_of(admin, account(admin)["id"])
    second = admin.post(f"{path}/{first['id']}/rotate", json={"keep_old_seconds": 60}).json
    assert works(admin, first, second) == [True, True]
    assert admin.delete(f"{path}/{first['id']}").status_code == 204
    assert works(admin, first, second, other) == [False, True, True]
    assert [key["id"] for key in admin.get(path).json["items"]] == [second["id"]]
    assert len(admin.get(f"{path}?ended=true").json["items"]) == 2
    assert admin.delete(f"{path}/{other['id']}").status_code == 404, "it belongs to another account"
    own = alice.post("/api/v1/api-keys", json={"name": "x"}).json
    person = alice.get("/api/v1/me").json["id"]
    assert admin.post(f"{ACCOUNTS}/{person}/api-keys", json={"name": "x"}).status_code == 404
    assert admin.delete(f"{ACCOUNTS}/{person}/api-keys/{own['id']}").status_code == 404
    assert admin.delete(f"{ACCOUNTS}/{person}").status_code == 404
    assert works(alice, own) == [True]


def test_it_ends_with_its_keys(admin: Person) -> None:
    made, other = account(admin), account(admin)
    keys = [key_of(admin, made["id"]), key_of(admin, made["id"]), key_of(admin, other["id"])]
    assert works(admin, *keys) == [True, True, True]
    assert admin.delete(f"{ACCOUNTS}/{made['id']}").status_code == 204
    assert works(admin, *keys) == [False, False, True]
    assert program(admin, keys[0]["key"]).post("/api/v1/auth/check").status_code == 401
    assert admin.delete(f"{ACCOUNTS}/{made['id']}").status_code == 404
    assert admin.post(f"{ACCOUNTS}/{made['id']}/api-keys", json={"name": "x"}).status_code == 404
    assert made["id"] not in [one["id"] for one in admin.get(ACCOUNTS).json["items"]]
    user = f"/api/v1/ops/users/{made['id']}"
    assert admin.get(user).json["state"] == "ended"
    assert admin.post(f"{user}/unblock", json={"reason": "x"}).status_code == 409


def test_a_key_of_an_account_cannot_make_another(admin: Person) -> None:
    robot = program(admin, key_of(admin, account(admin)["id"], scopes=["admin", "read", "generate"])["key"])
    assert robot.get("/api/v1/ops/generations").status_code == 200
    assert robot.post("/api/v1/api-keys", json={"name": "x"}).status_code == 403
    assert robot.post(ACCOUNTS, json={"name": "x"}).status_code == 403


def test_their_number_is_bounded(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_accounts, "MOST_SERVICE_ACCOUNTS", 0)
    refused = admin.post(ACCOUNTS, json={"name": "x"})
    assert refused.status_code == 409
    assert "MOST_SERVICE_ACCOUNTS" in refused.json["detail"]


def test_actions_are_audited_without_a_secret(admin: Person) -> None:
    made = account(admin)
    key = key_of(admin, made["id"])
    admin.delete(f"{ACCOUNTS}/{made['id']}/api-keys/{key['id']}")
    admin.delete(f"{ACCOUNTS}/{made['id']}")
    audited = admin.get(f"/api/v1/ops/audit?user={made['id']}")
    assert [action["action"] for action in audited.json["items"]] == [
        "service_account.ended", "key.ended", "key.made", "service_account.made",
    ]  # fmt: skip
    assert key["key"] not in audited.text
