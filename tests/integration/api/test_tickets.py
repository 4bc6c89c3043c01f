"""Stream tickets: each opens one stream of one user, for a while, and nothing else."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from app.api.application import create_app
from app.api.web_process import EXTENSION
from app.config import Settings
from app.domain.events import Token
from app.logs import without_secrets
from app.wiring import Resources

from .conftest import Hand, Person, flush, make_settings, token

EVENTS = {"Accept": "text/event-stream"}


def ticket(person: Person, **object_id: str) -> str:
    answer = person.post("/api/v1/stream-tickets", json=object_id)
    assert answer.status_code == 200, answer.text
    found: str = answer.json["ticket"]
    return found


def opened(anybody: FlaskClient, path: str, text: str, **headers: str) -> TestResponse:
    """Open a stream like an EventSource: the ticket is in the address, and no token is sent."""
    sign = "&" if "?" in path else "?"
    return anybody.get(f"{path}{sign}ticket={text}", headers={**EVENTS, **headers})


def age(resources: Resources, seconds: float) -> None:
    """Make every ticket older by this many seconds."""
    with resources.database.system() as tx:
        statement = "UPDATE stream_tickets SET created_at = created_at - make_interval(secs => :seconds)"
        tx.execute(text(statement), {"seconds": seconds})


@pytest.fixture
def stream(alice: Person, resources: Resources) -> str:
    """The address of a finished answer's stream."""
    made = alice.start()
    Hand(resources, made["generation"]["id"]).run("a", "b")
    return f"/api/v1/generations/{made['generation']['id']}/stream"


def generation_of(stream: str) -> str:
    return stream.split("/")[4]


def test_a_ticket_opens_its_stream_without_a_token(alice: Person, anybody: FlaskClient, stream: str):
    answer = alice.post("/api/v1/stream-tickets", json={"generation_id": generation_of(stream)})
    left = datetime.fromisoformat(answer.json["expires_at"]) - datetime.now(UTC)
    assert 0 < left.total_seconds() <= 60
    body = opened(anybody, stream, answer.json["ticket"]).get_data()
    assert body.startswith(b'retry: 1000\ndata: {"type":"open"'), "a line of the first event, not a block of its own"
    assert b"id: 1-4\n\n" in body


def test_only_who_asks_for_an_event_stream_is_told_when_to_come_back(alice: Person, anybody: FlaskClient, stream: str):
    body = anybody.get(f"{stream}?ticket={ticket(alice, generation_id=generation_of(stream))}").get_data()
    assert body.startswith(b"data: ")
    assert alice.get(stream, headers=EVENTS).get_data().startswith(b"data: ")


def test_a_reconnect_repeats_the_address_and_goes_on_behind_the_last_event(
    alice: Person, anybody: FlaskClient, stream: str
):
    text = ticket(alice, generation_id=generation_of(stream))
    opened(anybody, stream, text).close()
    body = opened(anybody, stream, text, **{"Last-Event-ID": "1-1"}).get_data()
    assert b"id: 1-1\n" not in body
    assert b"id: 1-2\n" in body
    assert opened(anybody, stream, text, **{"Last-Event-ID": "1-4"}).status_code == 204


def test_it_has_to_be_used_within_a_minute(alice: Person, anybody: FlaskClient, stream: str, resources: Resources):
    text = ticket(alice, generation_id=generation_of(stream))
    age(resources, 61)
    refused = opened(anybody, stream, text)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_once_used_it_reconnects_for_a_quarter_of_an_hour(
    alice: Person, anybody: FlaskClient, stream: str, resources: Resources
):
    text = ticket(alice, generation_id=generation_of(stream))
    opened(anybody, stream, text).close()
    age(resources, 800)
    assert opened(anybody, stream, text).status_code == 200
    age(resources, 110)
    assert opened(anybody, stream, text).status_code == 401


def test_it_is_worth_nothing_elsewhere(alice: Person, anybody: FlaskClient, stream: str, resources: Resources):
    other = alice.start()["generation"]["id"]
    text = ticket(alice, generation_id=generation_of(stream))
    conversation = alice.get(f"/api/v1/generations/{generation_of(stream)}").json["conversation_id"]
    for path in (
        f"/api/v1/generations/{other}/stream",
        f"/api/v1/generations/{generation_of(stream)}",
        f"/v1/responses/resp_{generation_of(stream).replace('-', '')}",
        f"/v1/responses/resp_{other.replace('-', '')}?stream=true",
        f"/api/v1/conversations/{conversation}",
        "/api/v1/conversations",
        "/api/v1/me",
        f"/api/chat/{conversation}/stream",
    ):
        assert opened(anybody, path, text).status_code == 401, path
    assert anybody.post(f"/api/v1/generations/{other}/cancel?ticket={text}").status_code == 401
    assert opened(anybody, stream, ticket(alice, conversation_id=conversation)).status_code == 401
    assert opened(anybody, stream, text, Authorization="Bearer x").status_code == 200
    assert opened(anybody, stream, text + "x").status_code == 401
    assert opened(anybody, stream, "").status_code == 401


@pytest.mark.parametrize("stream", ["generations/%00/stream", "conversations/%00/events", "conversations/x/events"])
def test_it_does_not_open_what_cannot_exist(alice: Person, anybody: FlaskClient, stream: str):
    own = alice.post("/api/v1/stream-tickets", json={"feed": True}).json["ticket"]
    assert opened(anybody, f"/api/v1/{stream}", own).status_code == 401


def test_it_opens_the_same_generation_as_a_response(alice: Person, anybody: FlaskClient, stream: str):
    path = f"/v1/responses/resp_{generation_of(stream).replace('-', '')}?stream=true"
    text = ticket(alice, generation_id=generation_of(stream))
    body = opened(anybody, path, text).get_data()
    assert b"event: response.completed" in body
    assert body.split(b"event: ")[0].endswith(b"retry: 1000\n")


@pytest.mark.parametrize("kind", ["generation_id", "conversation_id"])
def test_nobody_gets_one_for_what_is_not_theirs(alice: Person, bob: Person, stream: str, kind: str):
    generation = alice.get(f"/api/v1/generations/{generation_of(stream)}").json
    theirs = {"generation_id": generation["id"], "conversation_id": generation["conversation_id"]}[kind]
    foreign, unknown = (bob.post("/api/v1/stream-tickets", json={kind: i}) for i in (theirs, str(uuid4())))
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json["detail"] == unknown.json["detail"]


@pytest.mark.parametrize("body", [{}, {"generation_id": str(uuid4()), "conversation_id": str(uuid4())}])
def test_it_is_for_exactly_one_stream(alice: Person, body: dict[str, Any]):
    assert alice.post("/api/v1/stream-tickets", json=body).status_code == 422


def test_it_survives_the_loss_of_redis(
    alice: Person, anybody: FlaskClient, stream: str, resources: Resources, settings: Settings
):
    text = ticket(alice, generation_id=generation_of(stream))
    opened(anybody, stream, text).close()
    flush(settings.redis_url)
    assert opened(anybody, stream, text).status_code == 200


def test_its_stream_ends_with_the_token_it_was_issued_for(make_app: Any):
    app = make_app()
    person = Person(app.test_client(), "brief")
    made = person.start()
    # A busy machine needs some seconds until the stream is open.
    person.headers["Authorization"] = f"Bearer {token('brief', exp=int(time.time()) + 8)}"
    answer = person.post("/api/v1/stream-tickets", json={"generation_id": made["generation"]["id"]})
    left = datetime.fromisoformat(answer.json["expires_at"]) - datetime.now(UTC)
    assert left.total_seconds() <= 8
    path = f"/api/v1/generations/{made['generation']['id']}/stream"
    seen = []
    stream = opened(app.test_client(), path, answer.json["ticket"])
    with pytest.raises(ConnectionResetError):
        seen.extend(piece for piece in stream.response)
    assert b'"type":"auth"' in b"".join(seen)
    assert opened(app.test_client(), path, answer.json["ticket"]).status_code == 401


def test_only_a_digest_is_kept_and_old_ones_are_removed(alice: Person, stream: str, resources: Resources):
    first = ticket(alice, generation_id=generation_of(stream))
    age(resources, 1000)
    ticket(alice, generation_id=generation_of(stream))
    with resources.database.system() as tx:
        count = "SELECT count(*), max(CAST(t AS text)) AS told FROM stream_tickets t JOIN users u ON u.id = t.user_id"
        row = tx.execute(text(f"{count} WHERE u.subject = :subject"), {"subject": alice.subject}).one()
    assert row.count == 1
    assert first not in row.told


@pytest.mark.parametrize("limit", [{"ratelimit_reads": "2/minute"}, {"max_streams_per_user": 1}])
def test_a_limit_does_not_end_an_event_source_for_ever(make_app: Any, limit: dict[str, Any]):
    app = make_app(**limit)
    person = Person(app.test_client(), "patient")
    made = person.start()["generation"]["id"]
    text, path = ticket(person, generation_id=made), f"/api/v1/generations/{made}/stream"
    first = opened(app.test_client(), path, text)
    assert next(iter(first.response)).startswith(b"retry: 1000\n")
    assert come_back_in(opened(app.test_client(), path, text)) >= 1
    assert app.test_client().get(f"{path}?ticket={text}").status_code == 429, "others are told as ever"


def test_nor_does_a_database_that_is_away():
    app = create_app(make_settings("postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0"))
    path = f"/api/v1/generations/{uuid4()}/stream"
    assert come_back_in(opened(app.test_client(), path, "x" * 43)) == 2
    assert app.test_client().get(f"{path}?ticket={'x' * 43}").status_code == 503
    app.extensions[EXTENSION].close()


def come_back_in(answer: TestResponse) -> float:
    """The seconds after which an EventSource reconnects, from the response's retry field."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    line, _, rest = answer.get_data().partition(b"\n\n")
    assert not rest
    return int(line.removeprefix(b"retry: ")) / 1000


def test_no_log_line_tells_a_ticket(alice: Person, anybody: FlaskClient, stream: str, capfd: Any, resources: Resources):
    text = ticket(alice, generation_id=generation_of(stream))
    opened(anybody, stream, text).get_data()
    opened(anybody, stream, text + "x")
    told = capfd.readouterr()
    assert text not in told.out + told.err
    assert text not in without_secrets(f"GET {stream}?after=0-0&ticket={text} HTTP/1.1")


def test_a_running_answer_is_followed_with_a_ticket(alice: Person, anybody: FlaskClient, resources: Resources):
    made = alice.start()["generation"]["id"]
    hand = Hand(resources, made)
    hand.say(Token("before "))
    answer = opened(anybody, f"/api/v1/generations/{made}/stream", ticket(alice, generation_id=made))
    body = iter(answer.response)
    next(body)
    hand.finish()
    assert b'"type":"done"' in b"".join(body)
