"""API keys: made once, accepted wherever a token is, listed without a secret, rotated and ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from app.api.auth.caller import Caller
from app.domain import api_key
from app.wiring import Resources

from .conftest import Hand, Person, token

CHECK = "/api/v1/auth/check"


def make(person: Person, **body: Any) -> dict[str, Any]:
    """Make a key; the reply with its text."""
    answer = person.post("/api/v1/api-keys", json={"name": "a program", **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json
    return made


def program(person: Person, key: str) -> Person:
    """A client with a key instead of the token."""
    return Person(person.client, person.subject, {"Authorization": f"Bearer {key}"})


def age(resources: Resources, key_id: str, **by: float) -> None:
    """Let time pass for one key."""
    with resources.database.system() as tx:
        moved = ", ".join(f"{name} = {name} - :by" for name in ("created_at", "expires_at", "last_used_at"))
        tx.execute(text(f"UPDATE api_keys SET {moved} WHERE id = :id"), {"by": timedelta(**by), "id": key_id})


def refused(answer: TestResponse) -> dict[str, Any]:
    """The body of a 401 without what differs in each reply."""
    assert answer.status_code == 401, answer.text
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    return {name: value for name, value in answer.json.items() if name != "request_id"}


def test_a_key_is_shown_once_and_opens_what_a_token_opens(alice: Person, resources: Resources) -> None:
    answer = alice.post("/api/v1/api-keys", json={"name": "  CI  "})
    made = answer.json
    assert answer.headers["Location"] == f"/api/v1/api-keys/{made['id']}"
    assert made["key"].startswith("unb_")
    assert made["hint"] == "unb_…" + made["key"][-4:]
    assert (made["name"], made["scopes"], made["models"]) == ("CI", ["generate", "read"], None)
    with_key = program(alice, made["key"])
    assert with_key.post(CHECK).status_code == 204
    assert with_key.get("/api/v1/me").json["id"] == alice.get("/api/v1/me").json["id"]
    begun = with_key.start("hello")
    Hand(resources, begun["generation"]["id"]).run("a")
    path = f"/api/v1/generations/{begun['generation']['id']}"
    assert alice.get(path).json["content"] == "a"
    assert b'"type":"done"' in with_key.get(f"{path}/stream").get_data()
    assert with_key.get("/v1/models").status_code == 200
    chat = {"id": uuid4().hex, "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}]}
    begun_chat = with_key.post("/api/chat", json={**chat, "trigger": "submit-message"})
    assert begun_chat.status_code == 200
    begun_chat.close()


def test_the_secret_is_nowhere_but_in_the_first_reply(alice: Person, resources: Resources, capfd: Any) -> None:
    made = make(alice)
    with_key = program(alice, made["key"])
    with_key.start("x")
    with_key.get("/api/v1/conversations")
    program(alice, made["key"][:-1]).get("/api/v1/me")
    listed = alice.get("/api/v1/api-keys").text + alice.get(f"/api/v1/api-keys/{made['id']}").text
    said = capfd.readouterr()
    with resources.database.system() as tx:
        stored = str(tx.execute(text("SELECT CAST(k AS text) FROM api_keys k")).all())
    with resources.database.operator() as tx:
        audited = str(tx.execute(text("SELECT * FROM audit_page(NULL,NULL,NULL,NULL,NULL,NULL,NULL,1000)")).all())
    assert made["id"] in stored
    assert made["id"] in audited
    secret = made["key"][27:]
    assert secret not in listed + said.out + said.err + stored + audited
    assert secret[:20] not in listed + said.out + said.err + stored + audited


def test_every_key_that_is_not_accepted_gets_one_body(alice: Person, resources: Resources) -> None:
    ended, expired, good = (make(alice, expires_at="2100-01-01T00:00:00Z") for _ in range(3))
    assert alice.delete(f"/api/v1/api-keys/{ended['id']}").status_code == 204
    age(resources, expired["id"], days=40_000)
    unknown = api_key.make(str(uuid4()), bytes(32)).text
    other_secret = api_key.make(good["id"], bytes(32)).text
    texts = [
        ended["key"],
        expired["key"],
        unknown,
        other_secret,
        good["key"][:-1] + "!",
        "unb_",
        "unb_x",
        good["key"] + "A",
    ]
    bodies = [refused(program(alice, text).post(CHECK)) for text in texts]
    assert bodies == bodies[:1] * len(texts)
    assert program(alice, good["key"]).post(CHECK).status_code == 204
    for path in ("/api/v1/conversations", "/v1/models", "/api/chat/x", "/api/v1/feed"):
        assert program(alice, ended["key"]).get(path).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59Z"}, "expires_at"),
        ({"expires_at": 4_000_000_000}, "expires_at"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["write"]}, "scopes"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"models": []}, "models"),
        ({"models": ["m"] * 101}, "models"),
        ({"limits": {"generations": "often"}}, "limits.generations"),
        ({"limits": {"generations": "1/minute;2/hour"}}, "limits.generations"),
        ({"limits": {"reads": "0/minute"}}, "limits.reads"),
        ({"limits": {"max_streams": 0}}, "limits.max_streams"),
        ({"limits": {"tokens": 1}}, "limits.tokens"),
        ({"digest": "x"}, "digest"),
    ],
)
def test_a_wrong_field_is_named(alice: Person, body: dict[str, Any], field: str) -> None:
    answer = alice.post("/api/v1/api-keys", json={**({"name": "x"} if body else {}), **body})
    assert answer.status_code == 422, answer.text
    assert [error["field"].split(".0")[0] for error in answer.json["errors"]] == [field]


def test_a_list_of_two_hundred_has_pages_and_the_limit_is_named(make_app: Any) -> None:
    app = make_app(max_api_keys_per_user=200)
    person = Person(app.test_client(), "busy")
    made = [make(person, name=f"key {n}")["id"] for n in range(200)]
    refusal = person.post("/api/v1/api-keys", json={"name": "one more"})
    assert refusal.status_code == 409
    assert "MAX_API_KEYS_PER_USER" in refusal.json["detail"]
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        page = person.get(f"/api/v1/api-keys?limit=60{cursor}").json
        seen += [key["id"] for key in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    assert page["next_cursor"] is None
    assert person.delete(f"/api/v1/api-keys/{made[7]}").status_code == 204
    assert make(person)["id"]
    assert made[7] not in person.get("/api/v1/api-keys?limit=200").text
    (ended,) = [key for key in person.get("/api/v1/api-keys?limit=200&ended=true").json["items"] if key["ended_at"]]
    assert ended["id"] == made[7]


def test_a_rotation_keeps_the_rights_and_two_keys_at_a_time(alice: Person, resources: Resources) -> None:
    rights = {"scopes": ["read"], "models": ["offline"], "limits": {"reads": "500/minute"}}
    until = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    first = make(alice, expires_at=until, **rights)
    age(resources, first["id"], days=10)
    path = "/api/v1/api-keys/{}/rotate"
    second = alice.post(path.format(first["id"]), json={"keep_old_seconds": 3600}).json
    assert {name: second[name] for name in ("name", "scopes", "models", "replaces")} == {
        "name": "a program", "scopes": ["read"], "models": ["offline"], "replaces": first["id"],
    }  # fmt: skip
    assert second["limits"]["reads"] == "500/minute"
    lasts = datetime.fromisoformat(second["expires_at"]) - datetime.fromisoformat(second["created_at"])
    assert timedelta(days=29) < lasts < timedelta(days=31)
    assert works(alice, first, second) == [True, True]
    again = alice.post(path.format(first["id"]), json={"keep_old_seconds": 3600})
    assert again.status_code == 409
    third = alice.post(path.format(second["id"]), json={"keep_old_seconds": 3600}).json
    assert works(alice, first, second, third) == [False, True, True]
    age(resources, second["id"], seconds=3601)
    fourth = alice.post(path.format(third["id"]), json={}).json
    assert works(alice, second, third, fourth) == [False, False, True]
    assert alice.post(path.format(third["id"]), json={}).status_code == 404
    assert alice.post(path.format(fourth["id"]), json={"keep_old_seconds": 604_801}).status_code == 422


def test_a_rotation_renews_no_role_that_its_user_has_lost(alice: Person) -> None:
    admin = Person(alice.client, alice.subject, {"Authorization": f"Bearer {token(alice.subject, role='admin')}"})
    first = make(admin, scopes=["read", "admin"])
    path = f"/api/v1/api-keys/{first['id']}/rotate"
    refused = alice.post(path, json={})
    assert (refused.status_code, "end the key" in refused.json["detail"]) == (409, True)
    second = admin.post(path, json={}).json
    assert program(alice, second["key"]).get("/api/v1/ops/generations").status_code == 200


def works(person: Person, *keys: dict[str, Any]) -> list[bool]:
    return [program(person, key["key"]).post(CHECK).status_code == 204 for key in keys]


def test_a_name_and_limits_can_be_changed(alice: Person) -> None:
    made = make(alice, limits={"reads": "5/minute", "max_streams": 2})
    path = f"/api/v1/api-keys/{made['id']}"
    assert alice.patch(path, json={"name": "new"}).json["limits"]["max_streams"] == 2
    changed = alice.patch(path, json={"limits": {"max_streams": 3}}).json
    limits = {"generations": None, "reads": None, "max_streams": 3, "budget": None}
    assert (changed["name"], changed["limits"]) == ("new", limits)
    assert alice.patch(path, json={}).status_code == 422
    assert alice.patch(path, json={"scopes": ["read"]}).status_code == 422
    alice.delete(path)
    assert alice.patch(path, json={"name": "again"}).status_code == 404


def test_the_last_use_is_noted_at_most_once_a_minute(alice: Person, resources: Resources) -> None:
    made = make(alice)
    with_key = program(alice, made["key"])

    def used() -> Any:
        return alice.get(f"/api/v1/api-keys/{made['id']}").json["last_used_at"]

    assert used() is None
    with_key.post(CHECK)
    first = used()
    with_key.post(CHECK)
    assert used() == first is not None
    age(resources, made["id"], seconds=61)
    with_key.post(CHECK)
    assert used() >= first


def test_a_ticket_ends_with_the_key_it_was_issued_for(
    alice: Person, anybody: FlaskClient, resources: Resources
) -> None:
    begun = alice.start()["generation"]["id"]
    Hand(resources, begun).run("a")
    path = f"/api/v1/generations/{begun}/stream"
    rotated, ended, token_of_alice = make(alice), make(alice), alice
    tickets = [
        person.post("/api/v1/stream-tickets", json={"generation_id": begun}).json["ticket"]
        for person in (program(alice, rotated["key"]), program(alice, ended["key"]), token_of_alice)
    ]
    assert [anybody.get(f"{path}?ticket={ticket}").status_code for ticket in tickets] == [200, 200, 200]
    alice.delete(f"/api/v1/api-keys/{ended['id']}")
    alice.post(f"/api/v1/api-keys/{rotated['id']}/rotate", json={"keep_old_seconds": 60})
    assert [anybody.get(f"{path}?ticket={ticket}").status_code for ticket in tickets] == [200, 401, 200]
    age(resources, rotated["id"], seconds=61)
    assert [anybody.get(f"{path}?ticket={ticket}").status_code for ticket in tickets] == [401, 401, 200]


def test_a_stream_ends_when_its_key_expires(alice: Person, resources: Resources) -> None:
    begun = alice.start()["generation"]["id"]
    Hand(resources, begun)
    # A busy machine needs some seconds until the stream is open.
    made = make(alice, expires_at=(datetime.now(UTC) + timedelta(seconds=6)).isoformat())
    answer = program(alice, made["key"]).get(f"/api/v1/generations/{begun}/stream")
    seen = []
    with pytest.raises(ConnectionResetError):
        seen.extend(answer.response)
    assert b'"type":"auth"' in b"".join(seen)


def test_what_a_request_opens_names_its_key(app: Any, alice: Person) -> None:
    made = make(alice)
    with app.test_request_context(headers={"Authorization": f"Bearer {made['key']}"}):
        process = app.extensions["unbroken"]
        (caller,) = [found for method in process.methods[:1] if (found := method.authenticate(process.resources))]
    assert isinstance(caller, Caller)
    assert caller.user.revocables == {f"user {caller.user.id}", f"key {made['id']}"}
    assert caller.user.credential.key_id == made["id"]


def test_an_administrators_key_has_the_role_only_with_the_scope(alice: Person) -> None:
    alice.headers["Authorization"] = f"Bearer {token(alice.subject, role='admin')}"
    plain, admin = make(alice), make(alice, scopes=["admin", "read"])
    assert program(alice, plain["key"]).get("/api/v1/me").json["role"] is None
    assert program(alice, admin["key"]).get("/api/v1/me").json["role"] == "admin"
    assert program(alice, plain["key"]).get("/api/v1/ops/generations").status_code == 403
    assert program(alice, admin["key"]).get("/api/v1/ops/generations").status_code == 200
