"""Feeds: missed changes, then live ones, numbered without a gap."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from time import sleep, time
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from werkzeug.test import TestResponse

from app.eventlog import expiring_members
from app.eventlog.expiring_members import ExpiringMembers
from app.eventlog.feed_notifier import FeedNotifier
from app.relay import topics
from app.relay.event_stream import StreamBroken
from app.wiring import Resources
from dev.server import free_port
from tests.integration.api.conftest import Hand, Person, token
from tests.stack import until


@dataclass
class Said:
    """One event of a feed."""

    name: str
    id: int | None
    data: dict[str, Any]


@contextmanager
def following(person: Person, path: str, *, presence: bool = False, **options: Any) -> Iterator[Iterator[Said]]:
    """The events of a feed in the order of their arrival. Presence has no fixed place; it is included on request."""
    answer = person.get(path, **options)
    assert answer.status_code == 200, answer.text
    feed = parsed(answer, presence=presence)
    try:
        yield feed
    finally:
        # The iterator is closed, too: it keeps the connection open.
        feed.close()
        answer.close()


def parsed(answer: TestResponse, *, presence: bool = False) -> Generator[Said, None, None]:
    pieces = answer.iter_encoded()
    buffer = b""
    for piece in pieces:
        buffer += piece
        while b"\n\n" in buffer:
            block, _, buffer = buffer.partition(b"\n\n")
            fields = [line.partition(b": ")[::2] for line in block.split(b"\n") if not line.startswith(b":")]
            found = {name.decode(): value for name, value in fields}
            if "data" in found:
                number = int(found["id"]) if "id" in found else None
                said = Said(found.get("event", b"message").decode(), number, json.loads(found["data"]))
                if presence or said.name != "presence":
                    yield said


def up_to(feed: Iterator[Said], name: str) -> list[Said]:
    """The events of a feed up to the first one of this name, with that one."""
    seen = []
    for said in feed:
        seen.append(said)
        if said.name == name:
            return seen
    raise AssertionError(f"it ended without {name}: {[one.name for one in seen]}")


def events_of(conversation_id: str) -> str:
    return f"/api/v1/conversations/{conversation_id}/events"


def test_a_feed_replays_what_was_missed_and_says_so(alice: Person) -> None:
    begun = alice.start("What is new?")
    conversation_id = begun["conversation"]["id"]
    with following(alice, events_of(conversation_id)) as feed:
        established, question, answer, end = up_to(feed, "replay.end")
    assert established.name == "connection.established"
    assert established.id is None
    assert established.data["conversation_id"] == conversation_id
    assert established.data["from_seq"] == 0
    assert {"connection_id", "timestamp"} <= established.data.keys()
    assert [(e.name, e.id, e.data["type"]) for e in (question, answer)] == [
        ("message.replay", 1, "message.new"),
        ("message.replay", 2, "message.new"),
    ]
    assert question.data["content"] == "What is new?"
    assert (answer.data["role"], answer.data["status"], answer.data["content"]) == ("assistant", "queued", "")
    assert answer.data["generation_id"] == begun["generation"]["id"]
    assert end.id is None
    assert (end.data["last_replayed_seq"], end.data["total_available"], end.data["missed"]) == (2, 2, 0)


def test_a_feed_tells_an_answers_end_live_with_the_whole_message(alice: Person, resources: Resources) -> None:
    begun = alice.start("Go on")
    with following(alice, events_of(begun["conversation"]["id"]) + "?from_seq=2") as feed:
        assert [one.name for one in up_to(feed, "replay.end")] == ["connection.established", "replay.end"]
        Hand(resources, begun["generation"]["id"]).run("It ", "goes.")
        updated = next(feed)
    assert (updated.name, updated.id) == ("message.updated", 3)
    stored = alice.get(f"/api/v1/conversations/{begun['conversation']['id']}/messages").json["items"][1]
    assert {name: updated.data[name] for name in stored} == stored
    assert stored["content"] == "It goes."


def test_replayed_and_live_events_are_the_same(alice: Person, resources: Resources) -> None:
    begun = alice.start("One")
    conversation_id = begun["conversation"]["id"]
    with following(alice, events_of(conversation_id) + "?from_seq=2") as feed:
        up_to(feed, "replay.end")
        Hand(resources, begun["generation"]["id"]).run("answer")
        alice.patch(f"/api/v1/conversations/{conversation_id}", json={"title": "A title"})
        alice.start("Two", conversation_id=conversation_id)
        live = [next(feed) for _ in range(4)]
    with following(alice, events_of(conversation_id) + "?from_seq=2") as feed:
        replayed = up_to(feed, "replay.end")[1:-1]
    assert [(e.id, e.data) for e in live] == [(e.id, e.data) for e in replayed]
    assert [e.id for e in live] == [3, 4, 5, 6]
    assert [e.name for e in live] == ["message.updated", "conversation.updated", "message.new", "message.new"]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"title": "Renamed"}, {"title": "Renamed"}),
        ({"archived": True}, {"archived": True}),
        ({"model": "offline-fast"}, {"model": "offline-fast"}),
    ],
)
def test_a_change_of_a_conversation_is_told(alice: Person, change: dict[str, Any], shown: dict[str, Any]) -> None:
    conversation_id = alice.start()["conversation"]["id"]
    alice.patch(f"/api/v1/conversations/{conversation_id}", json=change)
    with following(alice, events_of(conversation_id) + "?from_seq=2") as feed:
        updated = up_to(feed, "replay.end")[1]
    assert updated.name == "conversation.updated"
    assert updated.data.items() >= {"conversation_id": conversation_id, **shown}.items()
    now = alice.get(f"/api/v1/conversations/{conversation_id}").json
    told = {name: value for name, value in updated.data.items() if name in now}
    assert told == {name: now[name] for name in told}
    assert told.keys() >= {"title", "model", "archived", "archived_at", "metadata", "last_updated", "feed_seq"}


def test_a_change_of_nothing_is_not_told(alice: Person) -> None:
    conversation_id = alice.start()["conversation"]["id"]
    alice.patch(f"/api/v1/conversations/{conversation_id}", json={})
    assert alice.get(f"/api/v1/conversations/{conversation_id}").json["feed_seq"] == 2


def test_a_deleted_conversation_says_so_and_its_feed_ends(alice: Person) -> None:
    conversation_id = alice.start()["conversation"]["id"]
    with following(alice, events_of(conversation_id) + "?from_seq=2") as feed:
        up_to(feed, "replay.end")
        alice.delete(f"/api/v1/conversations/{conversation_id}")
        rest = list(feed)
    assert rest[-1].name == "conversation.deleted"
    assert [one.id for one in rest] == list(range(3, 3 + len(rest)))
    assert alice.get(events_of(conversation_id)).status_code == 404


def test_what_is_left_of_a_deleted_conversation_is_that_it_was_deleted(alice: Person) -> None:
    conversation_id = alice.start("a secret")["conversation"]["id"]
    alice.patch(f"/api/v1/conversations/{conversation_id}", json={"title": "a secret title"})
    alice.delete(f"/api/v1/conversations/{conversation_id}")
    with following(alice, "/api/v1/feed") as feed:
        seen = up_to(feed, "replay.end")
    numbered = [one for one in seen if one.id]
    assert [one.id for one in numbered] == list(range(1, len(numbered) + 1))
    assert {one.data["conversation_id"] for one in numbered} == {conversation_id}
    assert numbered[-1].name == "conversation.deleted"
    assert "secret" not in json.dumps([one.data for one in seen])


def test_the_feed_of_everything_has_all_conversations_and_numbers_of_its_own(
    alice: Person, resources: Resources
) -> None:
    first, second = alice.start("one"), alice.start("two")
    with following(alice, "/api/v1/feed?from_seq=4") as feed:
        up_to(feed, "replay.end")
        for begun in (first, second):
            Hand(resources, begun["generation"]["id"]).run("yes")
        alice.start("three")
        live = [next(feed) for _ in range(6)]
    assert [one.id for one in live] == [5, 6, 7, 8, 9, 10]
    names = ["generation.updated", "message.updated"] * 2 + ["message.new"] * 2
    assert [one.name for one in live] == names
    assert live[0].data["status"] == "running"
    assert live[0].data["generation_id"] == first["generation"]["id"]
    assert [one.data["feed_seq"] for one in live] == [None, 3, None, 3, 1, 2]
    with following(alice, "/api/v1/feed", headers={"Last-Event-ID": "4"}) as feed:
        replayed = up_to(feed, "replay.end")[1:-1]
    assert [(one.id, one.data) for one in replayed] == [(one.id, one.data) for one in live]


def test_a_list_says_where_its_feed_goes_on(alice: Person) -> None:
    begun = alice.start()
    page = alice.get("/api/v1/conversations").json
    assert page["feed_seq"] == 2
    assert page["items"][0]["feed_seq"] == 2
    alice.start("next", conversation_id=begun["conversation"]["id"], on_busy="enqueue")
    with following(alice, f"/api/v1/feed?from_seq={page['feed_seq']}") as feed:
        assert [one.id for one in up_to(feed, "replay.end") if one.id] == [3, 4]


def test_more_than_is_replayed_is_said_to_be_missed(alice: Person, resources: Resources) -> None:
    conversation_id = alice.start()["conversation"]["id"]
    for n in range(210):
        alice.patch(f"/api/v1/conversations/{conversation_id}", json={"title": f"title {n}"})
    with following(alice, events_of(conversation_id)) as feed:
        seen = up_to(feed, "replay.end")
    assert [one.id for one in seen if one.id] == list(range(13, 213))
    assert seen[0].data["missed"] == 12
    assert seen[-1].data.items() >= {"last_replayed_seq": 212, "total_available": 212, "missed": 12}.items()


def test_a_replay_has_not_more_than_a_megabyte_of_messages(alice: Person, resources: Resources) -> None:
    begun = alice.start("x")
    for _ in range(3):
        Hand(resources, begun["generation"]["id"]).run("0123456789" * 60_000)
        begun = alice.start("x", conversation_id=begun["conversation"]["id"])
    with following(alice, events_of(begun["conversation"]["id"])) as feed:
        seen = up_to(feed, "replay.end")
    ids = [one.id for one in seen if one.id]
    assert ids[-1] == 11
    assert all(b == a + 1 for a, b in pairwise(ids))
    assert seen[-1].data["missed"] == 11 - len(ids) > 0
    assert sum(len(json.dumps(one.data)) for one in seen) < 1_300_000


@pytest.mark.parametrize("cursor", ["x", "-1", "1-2", "01", "+1", " 1", "", "9" * 30, "1.0"])
def test_a_cursor_that_is_not_a_number_is_refused(alice: Person, cursor: str) -> None:
    conversation_id = alice.start()["conversation"]["id"]
    for path in (events_of(conversation_id), "/api/v1/feed"):
        refused = alice.get(path, query_string={"from_seq": cursor})
        assert refused.status_code == 400
        assert refused.content_type == "application/problem+json"
        assert refused.json["errors"][0]["field"] == "from_seq"


@pytest.mark.parametrize("where", ["events", "feed"])
def test_a_cursor_above_the_top_is_refused(alice: Person, where: str) -> None:
    conversation_id = alice.start()["conversation"]["id"]
    path = events_of(conversation_id) if where == "events" else "/api/v1/feed"
    assert alice.get(path, query_string={"from_seq": "3"}).status_code == 400
    refused = alice.get(path, headers={"Last-Event-ID": "3"})
    assert refused.status_code == 400
    assert refused.json["errors"][0]["field"] == "Last-Event-ID"


def test_last_event_id_wins(alice: Person) -> None:
    conversation_id = alice.start()["conversation"]["id"]
    with following(alice, events_of(conversation_id) + "?from_seq=0", headers={"Last-Event-ID": "1"}) as feed:
        assert [one.id for one in up_to(feed, "replay.end") if one.id] == [2]


def test_a_foreign_feed_is_answered_like_one_that_does_not_exist(alice: Person, bob: Person) -> None:
    theirs = alice.start()["conversation"]["id"]
    answers = [bob.get(events_of(one)) for one in (theirs, str(uuid4()), "nonsense")]
    assert [one.status_code for one in answers] == [404, 404, 404]
    bodies = [{k: v for k, v in one.json.items() if k != "request_id"} for one in answers[:2]]
    assert bodies[0] == bodies[1]


def test_nobody_hears_of_others(alice: Person, bob: Person, resources: Resources) -> None:
    with following(bob, "/api/v1/feed") as feed:
        assert up_to(feed, "replay.end")[-1].data["total_available"] == 0
        Hand(resources, alice.start("a secret")["generation"]["id"]).run("yes")
        mine = bob.start("my own")
        assert next(feed).data["conversation_id"] == mine["conversation"]["id"]


@pytest.mark.parametrize("where", ["events", "feed"])
def test_a_ticket_opens_a_feed_and_its_reconnects_and_no_other(
    alice: Person, bob: Person, anybody: FlaskClient, where: str
) -> None:
    conversation_id, other = (alice.start()["conversation"]["id"] for _ in range(2))
    wanted = {"conversation_id": conversation_id} if where == "events" else {"feed": True}
    paths = {"events": events_of(conversation_id), "feed": "/api/v1/feed"}
    ticket = alice.post("/api/v1/stream-tickets", json=wanted).json["ticket"]
    for cursor in ("0", "1"):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": cursor}
        answer = anybody.get(f"{paths[where]}?ticket={ticket}", headers=headers)
        seen = up_to(parsed(answer), "replay.end")
        answer.close()
        assert next(one.id for one in seen if one.id) == int(cursor) + 1
    others = [events_of(other), paths["feed" if where == "events" else "events"]]
    assert [anybody.get(f"{path}?ticket={ticket}").status_code for path in others] == [401, 401]


def test_a_feed_counts_as_a_stream_of_its_user(make_app: Any) -> None:
    app = make_app(max_streams_per_user=2)
    alice = Person(app.test_client(), "alice")
    conversation_id = alice.start()["conversation"]["id"]
    with following(alice, "/api/v1/feed") as one, following(alice, events_of(conversation_id)) as two:
        next(one)
        next(two)
        refused = alice.get("/api/v1/feed")
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0

    def has_room() -> bool:
        with alice.get("/api/v1/feed") as answer:
            return answer.status_code == 200

    # The place of a stream that has ended is released a moment later.
    until(has_room)


def test_a_feed_ends_when_its_token_does(app: OpenAPI, alice: Person) -> None:
    # A busy machine needs some seconds until the feed is open.
    brief = Person(
        app.test_client(), alice.subject, {"Authorization": f"Bearer {token(alice.subject, exp=time() + 6)}"}
    )
    with following(brief, "/api/v1/feed") as feed:
        assert up_to(feed, "message")[-1].data == {"type": "auth", "detail": "token expired"}
        with pytest.raises(StreamBroken):
            next(feed)


def test_those_who_follow_a_conversation_are_told_how_many_they_are(alice: Person) -> None:
    conversation_id = alice.start()["conversation"]["id"]
    with following(alice, events_of(conversation_id), presence=True) as first:
        assert up_to(first, "presence")[-1].data["connections"] == 1
        with following(alice, events_of(conversation_id), presence=True) as second:
            assert next(first).data == {"type": "presence", "conversation_id": conversation_id, "connections": 2}
            told = up_to(second, "presence")[-1]
            assert (told.id, told.data["connections"]) == (None, 2)
        assert next(first).data["connections"] == 1


def test_a_feed_of_everything_counts_for_the_conversations_it_names(alice: Person, bob: Person) -> None:
    first, second = (alice.start(name)["conversation"]["id"] for name in ("one", "two"))
    foreign = bob.start()["conversation"]["id"]
    with following(alice, f"/api/v1/feed?presence={first},{second},{foreign}", presence=True) as feed:
        assert feed_user(feed) == alice.get("/api/v1/me").json["id"]
        counts = [up_to(feed, "presence")[-1].data for _ in range(2)]
        assert {(one["conversation_id"], one["connections"]) for one in counts} == {(first, 1), (second, 1)}
        with following(alice, events_of(second), presence=True) as other:
            assert up_to(other, "presence")[-1].data["connections"] == 2
            assert up_to(feed, "presence")[-1].data["connections"] == 2
        assert up_to(feed, "presence")[-1].data == {"type": "presence", "conversation_id": second, "connections": 1}
    with following(bob, events_of(foreign), presence=True) as feed:
        assert up_to(feed, "presence")[-1].data["connections"] == 1


def feed_user(feed: Iterator[Said]) -> str:
    return str(next(feed).data["user_id"])


@pytest.mark.parametrize("named", ["", "x", f"{UUID(int=1)},", ",".join([str(UUID(int=1))] * 51)])
def test_what_is_no_list_of_conversations_is_refused_by_its_name(alice: Person, named: str) -> None:
    answer = alice.get(f"/api/v1/feed?presence={named}")
    if named:
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (400, "presence")
    else:
        assert answer.status_code == 200
        answer.close()


def test_who_has_died_is_not_counted_for_long_and_no_key_stays(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis.Redis.from_url(redis_url, socket_timeout=30)
    book = ExpiringMembers.of_feeds(client, "test")
    assert book.renew("c", ["dead"]) == (1, 0)
    assert book.renew("c", ["alive"]) == (2, 1)
    assert client.pttl("test:{c}:presence") > 0
    monkeypatch.setattr(expiring_members, "TTL_SECONDS", 0.3)
    book.renew("c", ["dead"])
    sleep(0.4)
    monkeypatch.setattr(expiring_members, "TTL_SECONDS", 60)
    assert book.renew("c", ["alive"])[0] == 1
    monkeypatch.setattr(expiring_members, "TTL_SECONDS", 0.3)
    book.renew("c", ["alive"])
    sleep(0.4)
    assert client.keys("test:*") == []


def test_without_redis_a_feed_is_served_from_postgresql(make_app: Any) -> None:
    app = make_app(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    alice = Person(app.test_client(), "alice")
    conversation_id = alice.start()["conversation"]["id"]
    with following(alice, events_of(conversation_id)) as feed:
        assert [one.id for one in up_to(feed, "replay.end") if one.id] == [1, 2]
        alice.patch(f"/api/v1/conversations/{conversation_id}", json={"title": "Still here"})
        assert next(feed).data["title"] == "Still here"


def test_a_ring_nobody_heard_is_made_up_for(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeedNotifier, "notify", lambda self, keys: None)
    monkeypatch.setattr(topics, "IDLE_SECONDS", 0.5)
    alice = Person(make_app().test_client(), "alice")
    conversation_id = alice.start()["conversation"]["id"]
    with following(alice, events_of(conversation_id) + "?from_seq=2", presence=True) as feed:
        up_to(feed, "presence")
        for title in ("one", "two"):
            alice.patch(f"/api/v1/conversations/{conversation_id}", json={"title": title})
        assert [(one.id, one.data["title"]) for one in (next(feed), next(feed))] == [(3, "one"), (4, "two")]


def test_an_item_that_is_taken_out_is_not_told_again(alice: Person) -> None:
    made = alice.post("/v1/conversations", json={"items": [{"role": "user", "content": "a secret"}]}).json["id"]
    conversation_id = str(UUID(made.removeprefix("conv_")))
    item = alice.get(f"/v1/conversations/{made}/items").json["data"][0]["id"]
    alice.delete(f"/v1/conversations/{made}/items/{item}")
    with following(alice, events_of(conversation_id)) as feed:
        seen = up_to(feed, "replay.end")
    assert [one.name for one in seen if one.id] == ["message.replay", "message.deleted"]
    assert "secret" not in json.dumps([one.data for one in seen])
