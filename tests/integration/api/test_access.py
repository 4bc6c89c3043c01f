"""The end of access: of one token, of all tokens of a user, and of a blocked user."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from hashlib import sha256

from flask.testing import FlaskClient
from sqlalchemy import text

from app.api.web_process import WebProcess
from app.ops.health import Health
from app.services import revocations as reading
from app.services.passes import Pass
from app.store import access
from app.wiring import Resources
from tests.stack import until

from .conftest import Person, token


def with_token(person: Person, **claims: object) -> Person:
    """Another client of the person, with a token of its own."""
    return Person(person.client, person.subject, {"Authorization": f"Bearer {token(person.subject, **claims)}"})


def status_of(person: Person) -> int:
    return person.get("/api/v1/me").status_code


def id_of(person: Person) -> str:
    found: str = person.get("/api/v1/me").json["id"]
    return found


def digest_of(person: Person) -> str:
    return sha256(person.headers["Authorization"].removeprefix("Bearer ").encode()).hexdigest()


def becomes(person: Person, status: int) -> None:
    """The process reads what was revoked a few times a second."""
    until(lambda: status_of(person) == status, 10, f"{status}")


def test_an_ended_token_is_refused_like_any_wrong_one_and_others_are_accepted(
    alice: Person, bob: Person, resources: Resources
) -> None:
    other = with_token(alice, jti="another")
    assert [status_of(alice), status_of(other), status_of(bob)] == [200, 200, 200]
    with resources.database.user(id_of(alice)) as tx:
        access.end_token(tx, digest_of(alice), time.time() + 600)
        access.end_token(tx, digest_of(alice), time.time() + 600)
    becomes(alice, 401)
    assert [status_of(other), status_of(bob)] == [200, 200]
    refused = alice.get("/api/v1/me")
    wrong = Person(alice.client, alice.subject, {"Authorization": "Bearer unb_wrong"}).get("/api/v1/me")
    assert refused.headers["WWW-Authenticate"] == wrong.headers["WWW-Authenticate"]
    assert {**refused.json, "request_id": ""} == {**wrong.json, "request_id": ""}


def test_all_tokens_of_a_user_end_and_those_of_the_next_second_are_accepted(
    alice: Person, bob: Person, resources: Resources
) -> None:
    id_ = id_of(alice)
    with resources.database.user(id_) as tx:
        access.end_tokens(tx, id_)
        row = tx.execute(text("SELECT extract(epoch FROM tokens_from) AS at FROM users WHERE id = :id"), {"id": id_})
        ended_at = float(row.one().at)
    becomes(alice, 401)
    assert status_of(bob) == 200
    # A token has whole seconds. One of the second in which all were ended may be an earlier one.
    assert status_of(with_token(alice, iat=int(ended_at), jti="same second")) == 401
    assert status_of(with_token(alice, iat=int(ended_at) + 1, jti="later")) == 200


def test_a_blocked_user_is_told_so_whatever_is_presented_until_the_block_ends(
    alice: Person, bob: Person, process: WebProcess, anybody: FlaskClient
) -> None:
    made = alice.post("/api/v1/api-keys", json={"name": "program"}).json
    program = Person(alice.client, alice.subject, {"Authorization": f"Bearer {made['key']}"})
    ticket = alice.post("/api/v1/stream-tickets", json={"feed": True}).json["ticket"]
    id_ = id_of(alice)
    assert status_of(program) == 200
    with process.resources.database.operator() as tx:
        assert access.block(tx, id_)
    becomes(alice, 403)
    becomes(program, 403)
    refusal = alice.get("/api/v1/me")
    assert (refusal.json["type"], refusal.content_type) == ("/problems/blocked", "application/problem+json")
    assert "operator" in refusal.json["detail"]
    assert alice.get("/v1/models").json["error"]["type"] == "permission_error"
    assert anybody.get(f"/api/v1/feed?ticket={ticket}").status_code == 401
    assert status_of(bob) == 200
    with process.resources.database.operator() as tx:
        assert access.unblock(tx, id_)
    becomes(alice, 200)
    becomes(program, 200)


def test_an_unknown_user_cannot_be_blocked(process: WebProcess) -> None:
    with process.resources.database.operator() as tx:
        assert not access.block(tx, "00000000-0000-7000-8000-000000000000")


def test_a_ticket_of_earlier_tokens_ends_with_them(alice: Person, resources: Resources, anybody: FlaskClient) -> None:
    path = f"/api/v1/feed?ticket={alice.post('/api/v1/stream-tickets', json={'feed': True}).json['ticket']}"
    with anybody.get(path) as opened:
        assert opened.status_code == 200
    with resources.database.user(id_of(alice)) as tx:
        access.end_tokens(tx, id_of(alice))
    assert anybody.get(path).status_code == 401, "at once: a ticket is looked up for each stream"


def test_ended_tokens_are_forgotten_when_they_have_expired(alice: Person, resources: Resources) -> None:
    with resources.database.user(id_of(alice)) as tx:
        access.end_token(tx, "aa" * 32, time.time() - 120)
        access.end_token(tx, "bb" * 32, time.time() + 600)
    assert Pass(partial(reading.prune, resources.database), seconds=60).resume() is False
    with resources.database.system() as tx:
        left = {bytes(row.digest).hex() for row in tx.execute(text("SELECT digest FROM ended_tokens"))}
    assert "aa" * 32 not in left
    assert "bb" * 32 in left


def metric(anybody: FlaskClient, name: str) -> float:
    return next(float(line.split()[1]) for line in anybody.get("/metrics").text.splitlines() if line.startswith(name))


def test_the_metrics_show_what_was_read_and_how_long_ago(
    alice: Person, resources: Resources, anybody: FlaskClient
) -> None:
    before = metric(anybody, "unbroken_revocations_read_total ")
    with resources.database.user(id_of(alice)) as tx:
        access.end_token(tx, "cc" * 32, time.time() + 600)
    until(lambda: metric(anybody, "unbroken_revocations_read_total ") > before)
    assert metric(anybody, "unbroken_revocations_age_seconds ") < 5


def test_a_process_that_is_behind_stays_ready_and_says_so(process: WebProcess) -> None:
    report = Health(replace(process.live.health._of, revocations_age=lambda: 60.0)).report()
    assert any("what was revoked" in sentence for sentence in report.degraded)
    assert not any("revoked" in sentence for sentence in report.reasons)
