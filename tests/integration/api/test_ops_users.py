"""Operators find users, look at them, and block them."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from app.wiring import Resources
from tests.stack import until

from .conftest import Hand, Person
from .test_api_keys import make, program
from .test_service_accounts import account, admin

__all__ = ["admin"]
USERS = "/api/v1/ops/users"


def id_of(person: Person) -> str:
    found: str = person.get("/api/v1/me").json["id"]
    return found


def test_users_are_found_by_the_beginning_of_their_subject(admin: Person, anybody: FlaskClient) -> None:
    names = ["100%_a", "100%_b", "100xya", "100%"]
    ids = {name: id_of(Person(anybody, name)) for name in names}

    def found(prefix: str) -> list[str]:
        return [user["subject"] for user in admin.get(USERS, query_string={"subject": prefix}).json["items"]]

    assert found("100%_") == ["100%_b", "100%_a"]
    assert found("100%") == ["100%", "100%_b", "100%_a"]
    assert found("nobody like this") == []
    assert found("\\") == []
    first = admin.get(f"{USERS}?subject=100&limit=3").json
    rest = admin.get(f"{USERS}?subject=100&limit=3&cursor={first['next_cursor']}").json
    assert [user["id"] for user in first["items"] + rest["items"]] == sorted(ids.values(), reverse=True)
    assert rest["next_cursor"] is None


@pytest.mark.usefixtures("one_day")
def test_a_look_at_one_user_has_figures_and_no_text(admin: Person, alice: Person, resources: Resources) -> None:
    begun = alice.start("a secret matter")
    Hand(resources, begun["generation"]["id"]).run("a")
    alice.start("another")
    make(alice)
    answer = admin.get(f"{USERS}/{id_of(alice)}")
    user = answer.json
    assert (user["subject"], user["kind"], user["state"]) == (alice.subject, "person", "active")
    assert (user["keys"], user["conversations"], user["queued"], user["running"]) == (1, 2, 1, 0)
    assert user["usage"]["today"] == user["usage"]["month"] == {"input_tokens": 3, "output_tokens": 5}
    assert user["limits"]["streams"] == 10
    assert "secret" not in answer.text
    made = account(admin)
    assert admin.get(f"{USERS}/{made['id']}").json["kind"] == "service"
    assert admin.get(f"{USERS}/{made['id']}").json["name"] == "reports"
    assert admin.get(f"{USERS}/01890000-0000-7000-8000-000000000000").status_code == 404


def block(admin: Person, user_id: str, action: str = "block", **body: Any) -> Any:
    return admin.post(f"{USERS}/{user_id}/{action}", json={"reason": "spam", **body})


def test_a_blocked_user_is_refused_whatever_the_credential(admin: Person, alice: Person, bob: Person) -> None:
    key = program(alice, make(alice)["key"])
    user_id = id_of(alice)
    assert block(admin, user_id).json["state"] == "blocked"
    until(lambda: alice.get("/api/v1/me").status_code == key.get("/api/v1/me").status_code == 403, what="the block")
    for caller in (alice, key):
        for path in ("/api/v1/conversations", "/v1/models"):
            refused = caller.get(path)
            assert refused.status_code == 403, refused.text
        assert caller.get("/api/v1/me").json["type"] == "/problems/blocked"
    assert bob.get("/api/v1/conversations").status_code == 200
    assert block(admin, user_id).status_code == 200, "a second block changes nothing"
    assert block(admin, user_id, "unblock").json["state"] == "active"
    until(lambda: alice.get("/api/v1/me").status_code == key.get("/api/v1/me").status_code == 200, what="the end of it")
    actions = alice.get("/api/v1/me/audit").json["items"]
    assert [(one["action"], one["details"].get("reason")) for one in actions[:2]] == [
        ("user.unblocked", "spam"), ("user.blocked", "spam"),
    ]  # fmt: skip


@pytest.mark.parametrize("reason", ["", "x" * 501, None])
def test_a_block_needs_a_reason(admin: Person, alice: Person, reason: str | None) -> None:
    assert block(admin, id_of(alice), reason=reason).status_code == 422
    assert alice.get("/api/v1/me").status_code == 200


def test_nobody_blocks_oneself_or_unblocks_who_is_being_erased(
    admin: Person, alice: Person, resources: Resources
) -> None:
    assert block(admin, id_of(admin)).status_code == 409
    user_id = id_of(alice)
    with resources.database.system() as tx:
        tx.execute(text("UPDATE users SET erasing_at = now() WHERE id = :id"), {"id": user_id})
    refused = block(admin, user_id, "unblock")
    assert refused.status_code == 409
    assert "erasing" in refused.json["detail"]
    assert admin.get(f"{USERS}/{user_id}").json["state"] == "erasing"
