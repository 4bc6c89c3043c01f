"""Streams over plain WSGI. The relay's own tests cover the streams of the hub."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from threading import Timer
from typing import Any

import pytest
import sseclient
from werkzeug.test import TestResponse

from app.api.web_process import EXTENSION
from app.config import Settings
from app.domain.events import Token
from app.relay import topics
from app.wiring import Resources
from tests.stack import until

from .conftest import Hand, Person, flush, token


def events(answer: TestResponse) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Id and data of each event, read by a foreign parser."""
    assert answer.status_code == 200, answer.text
    for event in sseclient.SSEClient(answer.response).events():
        yield event.id, json.loads(event.data)


def test_a_stream_opens_with_everything_one_needs_to_know(alice: Person, resources: Resources):
    made = alice.start()
    generation = made["generation"]
    Hand(resources, generation["id"]).run("Hello")
    answer = alice.get(f"/api/v1/generations/{generation['id']}/stream")
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "no-cache" in answer.headers["Cache-Control"]
    assert answer.headers["x-request-id"]
    first, *rest = events(answer)
    assert first == (
        None,
        {
            "type": "open",
            "generation_id": generation["id"],
            "conversation_id": made["conversation"]["id"],
            "message_id": generation["message_id"],
            "user_message_id": made["message"]["message_id"],
            "conversation_created": False,
            "status": "completed",
            "after": "0-0",
        },
    )
    assert [event["type"] for _, event in rest] == ["snapshot", "token", "usage", "done"]
    assert [identity for identity, _ in rest] == ["1-0", "1-1", "1-2", "1-3"]


@pytest.mark.parametrize("way", ["body", "accept"])
def test_a_message_is_sent_and_followed_in_one_call(alice: Person, resources: Resources, way: str):
    body: dict[str, Any] = {"message": "hi"} | ({"stream": True} if way == "body" else {})
    headers = {"Accept": "text/event-stream"} if way == "accept" else {}
    stream = events(alice.post("/api/v1/generations", json=body, headers=headers))
    _, opening = next(stream)
    assert opening["type"] == "open"
    assert opening["conversation_created"] is True
    assert opening["status"] == "queued"
    Hand(resources, opening["generation_id"]).run("a", "b")
    seen = [event for _, event in stream]
    assert [event["type"] for event in seen if event["type"] != "queued"] == [
        "snapshot", "token", "token", "usage", "done",
    ]  # fmt: skip


def test_the_first_event_comes_at_once(alice: Person):
    alice.get("/api/v1/me")
    began = time.perf_counter()
    stream = events(alice.post("/api/v1/generations", json={"message": "hi", "stream": True}))
    assert next(stream)[1]["type"] == "open"
    # No worker runs here. The first event waits for nothing, not even for a heartbeat.
    assert time.perf_counter() - began < 10


def test_who_waits_is_told_the_place_in_the_queue(alice: Person):
    stream = events(alice.post("/api/v1/generations", json={"message": "hi", "stream": True}))
    next(stream)
    _, waiting = next(stream)
    assert waiting["type"] == "queued"
    assert waiting["position"] >= 1


def test_a_repeated_key_attaches_to_the_same_stream_from_its_start(alice: Person, resources: Resources):
    made = alice.start(client_msg_id="again")
    Hand(resources, made["generation"]["id"]).run("x")
    body = {"message": "hello", "client_msg_id": "again", "stream": True}
    _, opening = next(stream := events(alice.post("/api/v1/generations", json=body)))
    assert opening["generation_id"] == made["generation"]["id"]
    assert [identity for identity, _ in stream] == ["1-0", "1-1", "1-2", "1-3"]


@pytest.mark.parametrize("redis", ["kept", "emptied"])
def test_every_position_resumes_exactly(alice: Person, resources: Resources, settings: Settings, redis: str):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}/stream"
    Hand(resources, made["generation"]["id"]).run("a", "b", "c")
    whole = [event for event in events(alice.get(path)) if event[0]]
    if redis == "emptied":
        flush(settings.redis_url)
    for number, (identity, _) in enumerate(whole[:-1]):
        rest = [event for event in events(alice.get(f"{path}?after={identity}")) if event[0]]
        assert rest == whole[number + 1 :]


def test_the_header_wins_over_the_query(alice: Person, resources: Resources):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}/stream?after=1-0"
    Hand(resources, made["generation"]["id"]).run("a", "b")
    stream = events(alice.get(path, headers={"Last-Event-ID": "1-2"}))
    assert next(stream)[1]["after"] == "1-2"
    assert next(stream)[0] == "1-3"


@pytest.mark.parametrize("position", ["1-3", "1-9999"])
def test_at_the_end_there_is_nothing_left_and_that_is_said(alice: Person, resources: Resources, position: str):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}/stream"
    Hand(resources, made["generation"]["id"]).run("x")
    assert alice.get(f"{path}?after={position}").status_code == 204
    assert alice.get(path, headers={"Last-Event-ID": position}).status_code == 204


@pytest.mark.parametrize("position", ["1-4", "1-5", "1-9999"])
@pytest.mark.parametrize("with_other", [False, True], ids=["alone", "beside another reader"])
def test_a_position_at_which_the_log_then_ends_gets_the_end(
    alice: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch, position: str, with_other: bool
):
    monkeypatch.setattr(topics, "IDLE_SECONDS", 0.5)
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}/stream"
    hand = Hand(resources, made["generation"]["id"])
    hand.say(Token("before "))
    other = events(alice.get(path)) if with_other else iter(())
    stream = events(alice.get(f"{path}?after={position}"))
    assert next(stream)[1]["type"] == "open"
    hand.say(Token("after"))
    hand.finish()
    assert [(identity, event["type"]) for identity, event in stream] == [("1-4", "done")]
    assert [identity for identity, _ in other] == ([None, "1-0", "1-1", "1-2", "1-3", "1-4"] if with_other else [])


def test_live_events_follow_the_replay(alice: Person, resources: Resources):
    made = alice.start()
    hand = Hand(resources, made["generation"]["id"])
    hand.say(Token("before "))
    stream = events(alice.get(f"/api/v1/generations/{made['generation']['id']}/stream"))
    assert [next(stream)[0] for _ in range(3)] == [None, "1-0", "1-1"]
    Timer(0.2, lambda: (hand.say(Token("after")), hand.finish())).start()
    assert [identity for identity, _ in stream] == ["1-2", "1-3", "1-4"]


def test_a_cancel_ends_every_stream_with_the_text_so_far(alice: Person, resources: Resources):
    made = alice.start()
    Hand(resources, made["generation"]["id"]).say(Token("half"))
    path = f"/api/v1/generations/{made['generation']['id']}"
    stream = events(alice.get(f"{path}/stream?after=1-1"))
    next(stream)
    alice.post(f"{path}/cancel")
    told = [(identity, event["type"]) for identity, event in stream]
    assert told == [("2-0", "snapshot"), ("2-1", "done")]


def test_no_more_streams_than_allowed_and_nothing_is_started_for_one_too_many(make_app: Any):
    app = make_app(max_streams_per_user=2)
    person = Person(app.test_client(), "greedy")
    made = person.start()
    path = f"/api/v1/generations/{made['generation']['id']}/stream"
    open_streams = [events(person.get(path)) for _ in range(2)]
    for stream in open_streams:
        next(stream)
    refused = person.get(path)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    again = person.post("/api/v1/generations", json={"message": "hi", "stream": True})
    assert again.status_code == 429
    assert len(person.get("/api/v1/conversations").json["items"]) == 1
    person.post(f"/api/v1/generations/{made['generation']['id']}/cancel")
    for stream in open_streams:
        list(stream)
    until(lambda: person.get(f"{path}?after=0-0").status_code == 200)


def test_a_stream_ends_when_its_token_does(make_app: Any):
    app = make_app()
    person = Person(app.test_client(), "brief")
    made = person.start()
    # A busy machine needs some seconds until the stream is open.
    person.headers["Authorization"] = f"Bearer {token('brief', exp=int(time.time()) + 7)}"
    answer = person.get(f"/api/v1/generations/{made['generation']['id']}/stream")
    seen = []
    with pytest.raises(ConnectionResetError):
        seen.extend(piece for piece in answer.response)
    assert b'"type":"auth"' in b"".join(seen)


def test_no_session_is_open_while_a_stream_is(make_app: Any):
    app = make_app(database_pool=1)
    person = Person(app.test_client(), "many")
    made = person.start()
    path = f"/api/v1/generations/{made['generation']['id']}/stream"
    streams = [events(person.get(path)) for _ in range(8)]
    for stream in streams:
        next(stream)
    # A thread beside the streams reads the queue positions of waiting answers from time to time, in a short session.
    pool = app.extensions[EXTENSION].resources.database.engine.pool
    until(lambda: pool.checkedout() == 0, what="every session given back")
    assert person.get("/api/v1/me").status_code == 200


def test_without_redis_a_stream_opens_and_reaches_the_end_that_postgresql_knows(make_app: Any):
    person = Person(make_app(redis_url="redis://127.0.0.1:1/0").test_client(), "alone")
    stream = events(person.post("/api/v1/generations", json={"message": "hi", "stream": True}))
    _, opening = next(stream)
    path = f"/api/v1/generations/{opening['generation_id']}"
    assert person.get(f"{path}?after=0-0&wait=0.2").json["status"] == "queued"
    assert person.post(f"{path}/cancel").json["status"] == "cancelled"
    told = [(identity, event["type"]) for identity, event in stream if event["type"] != "queued"]
    assert told == [("1-0", "snapshot"), ("1-1", "done")]
