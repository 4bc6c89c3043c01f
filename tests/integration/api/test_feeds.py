"""Feeds: what was missed, then what happens, numbered without a gap."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from app.wiring import Resources
from tests.integration.api.conftest import Hand, Person


@dataclass
class Said:
    """One event of a feed."""

    name: str
    id: int | None
    data: dict[str, Any]


@contextmanager
def following(person: Person, path: str, **options: Any) -> Iterator[Iterator[Said]]:
    """The events of a feed, as they come."""
    answer = person.get(path, **options)
    assert answer.status_code == 200, answer.text
    try:
        yield parsed(answer.iter_encoded())
    finally:
        answer.close()


def parsed(pieces: Iterator[bytes]) -> Iterator[Said]:
    buffer = b""
    for piece in pieces:
        buffer += piece
        while b"\n\n" in buffer:
            block, _, buffer = buffer.partition(b"\n\n")
            fields = [line.partition(b": ")[::2] for line in block.split(b"\n") if not line.startswith(b":")]
            found = {name.decode(): value for name, value in fields}
            if "data" in found:
                number = int(found["id"]) if "id" in found else None
                yield Said(found.get("event", b"message").decode(), number, json.loads(found["data"]))


def up_to(feed: Iterator[Said], name: str) -> list[Said]:
    """Everything up to the first event of this name, and that one."""
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
