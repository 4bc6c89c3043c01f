"""The native API's generations: start, read, poll and cancel."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event

from app.api.web_process import WebProcess
from app.config import Settings
from app.domain.events import Token
from app.wiring import Resources

from .conftest import Hand, Person, flush, row_counts

GENERATION = {
    "id", "conversation_id", "message_id", "model", "status", "cursor", "epoch", "content", "reasoning", "tools",
    "queue_position", "attempts", "finish_reason", "error", "usage", "latency_ms", "created_at", "started_at",
    "last_updated", "finished_at", "sha256",
}  # fmt: skip


def test_a_first_message_makes_everything_at_once(alice: Person):
    answer = alice.post("/api/v1/generations", json={"message": "hello"})
    assert answer.status_code == 202
    made = answer.json
    assert answer.headers["Location"] == f"/api/v1/generations/{made['generation']['id']}"
    assert made["generation"].keys() >= GENERATION
    assert made["generation"]["status"] == "queued"
    assert made["generation"]["cursor"] == "0-0"
    assert made["generation"]["conversation_id"] == made["conversation"]["id"]
    assert made["message"]["content"] == "hello"
    assert made["message"]["role"] == "user"
    assert UUID(made["generation"]["id"]).version == 7
    listed = alice.get("/api/v1/conversations").json
    assert [item["id"] for item in listed["items"]] == [made["conversation"]["id"]]
    assert listed["items"][0]["has_active_generation"] is True


def test_a_repeated_key_finds_what_it_made(alice: Person, resources: Resources):
    first = alice.post("/api/v1/generations", json={"message": "hi", "client_msg_id": "k1"})
    before = row_counts(resources)
    again = alice.post("/api/v1/generations", json={"message": "hi"}, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json["generation"]["id"] == first.json["generation"]["id"]
    assert again.headers["Location"] == first.headers["Location"]
    assert row_counts(resources) == before


def test_a_key_with_another_body_is_refused(alice: Person):
    alice.post("/api/v1/generations", json={"message": "hi", "client_msg_id": "k2"})
    refused = alice.post("/api/v1/generations", json={"message": "ho", "client_msg_id": "k2"})
    assert refused.status_code == 422
    assert refused.json["errors"][0]["field"] == "client_msg_id"


def test_keys_of_two_people_are_independent(alice: Person, bob: Person):
    mine = alice.post("/api/v1/generations", json={"message": "hi", "client_msg_id": "same"})
    other = bob.post("/api/v1/generations", json={"message": "hi", "client_msg_id": "same"})
    assert mine.status_code == other.status_code == 202
    assert mine.json["generation"]["id"] != other.json["generation"]["id"]


@pytest.mark.usefixtures("patient_locks")
def test_twelve_simultaneous_sends_with_one_key_make_one_generation(alice: Person, resources: Resources):
    alice.get("/api/v1/me")
    before = row_counts(resources)
    key = uuid4().hex
    begin = threading.Barrier(12)

    def send(_: int) -> tuple[int, str]:
        begin.wait()
        answer = Person(alice.client.application.test_client(), alice.subject).post(
            "/api/v1/generations", json={"message": "once", "client_msg_id": key}
        )
        return answer.status_code, answer.json["generation"]["id"]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(12)))
    assert sorted(status for status, _ in answers) == [200] * 11 + [202]
    assert len({generation for _, generation in answers}) == 1
    after = row_counts(resources)
    assert {table: after[table] - before[table] for table in after} == {
        "conversations": 1,
        "messages": 2,
        "generations": 1,
    }


def test_a_second_message_while_one_is_answered_is_refused(alice: Person):
    made = alice.start()
    refused = alice.post("/api/v1/generations", json={"message": "and?", "conversation_id": made["conversation"]["id"]})
    assert refused.status_code == 409
    assert refused.json["type"] == "/problems/conversation-busy"


def test_content_grows_and_ends_as_what_its_digest_says(alice: Person, resources: Resources):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}"
    hand = Hand(resources, made["generation"]["id"])
    hand.say(Token("Hel"), Token("lo"))
    hand.save()
    running = alice.get(path).json
    assert (running["status"], running["content"], running["cursor"]) == ("running", "Hello", "1-2")
    hand.say(Token(" wörld"))
    hand.finish()
    ended = alice.get(path).json
    assert (ended["status"], ended["content"]) == ("completed", "Hello wörld")
    assert ended["sha256"] == hashlib.sha256("Hello wörld".encode()).hexdigest()
    assert ended["usage"] == {"input_tokens": 3, "output_tokens": 5}
    assert ended["cursor"] == "1-5"
    assert ended["attempts"] == 1
    assert ended["latency_ms"]["first_token"] is not None
    assert ended["latency_ms"]["total"] >= ended["latency_ms"]["first_token"]
    assert ended["finished_at"].endswith("Z")


def test_a_poll_past_a_position_has_the_streams_events(alice: Person, resources: Resources):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}"
    hand = Hand(resources, made["generation"]["id"])
    hand.say(Token("a"))
    hand.save()
    hand.say(Token("b"))
    poll = alice.get(f"{path}?after=0-0").json
    assert [event["id"] for event in poll["events"]] == ["1-0", "1-1", "1-2"]
    assert poll["events"][1] == {"id": "1-1", "type": "token", "content": "a"}
    # Content and events belong to one moment, also when the checkpoint is behind the log.
    assert (poll["cursor"], poll["content"]) == ("1-2", "ab")
    assert alice.get(f"{path}?after=1-2").json["events"] == []
    assert "events" not in alice.get(path).json


def test_polling_by_the_cursor_gets_every_event_once(alice: Person, resources: Resources):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}"
    hand = Hand(resources, made["generation"]["id"])
    seen, cursor = [], "0-0"
    for step in range(6):
        hand.say(Token(f"{step} "))
        if step % 2:
            hand.save()
        poll = alice.get(f"{path}?after={cursor}").json
        seen += [event["id"] for event in poll["events"]]
        cursor = poll["cursor"]
    hand.finish()
    last = alice.get(f"{path}?after={cursor}").json
    seen += [event["id"] for event in last["events"]]
    assert seen == [f"1-{n}" for n in range(9)]
    assert last["events"][-1]["type"] == "done"
    assert last["events"][-1]["sha256"] == last["sha256"]


def test_a_long_poll_returns_with_the_next_event(alice: Person, resources: Resources):
    made = alice.start()
    generation = made["generation"]["id"]
    hand = Hand(resources, generation)
    timer = threading.Timer(0.4, lambda: hand.say(Token("late")))
    began = time.monotonic()
    timer.start()
    poll = alice.get(f"/api/v1/generations/{generation}?after=1-0&wait=30").json
    waited = time.monotonic() - began
    assert [event["content"] for event in poll["events"]] == ["late"]
    assert 0.3 < waited < 20


def test_a_long_poll_without_news_ends_with_its_time(alice: Person):
    made = alice.start()
    began = time.monotonic()
    poll = alice.get(f"/api/v1/generations/{made['generation']['id']}?after=0-0&wait=0.5")
    assert poll.status_code == 200
    assert poll.json["events"] == []
    assert 0.4 < time.monotonic() - began < 20


def test_a_long_poll_with_an_old_tag_answers_at_once(alice: Person, resources: Resources):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}?wait=30"
    old = alice.get(path.partition("?")[0]).headers["ETag"]
    hand = Hand(resources, made["generation"]["id"])
    hand.say(Token("x"))
    hand.save()
    began = time.monotonic()
    assert alice.get(path, headers={"If-None-Match": old}).json["content"] == "x"
    assert time.monotonic() - began < 20


def test_what_has_not_changed_is_not_sent_again(alice: Person, resources: Resources):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}"
    first = alice.get(path)
    again = alice.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    Hand(resources, made["generation"]["id"]).run("x")
    assert alice.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_the_events_of_a_finished_answer_survive_redis(alice: Person, resources: Resources, settings: Settings):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}?after=0-0"
    Hand(resources, made["generation"]["id"]).run("one ", "two")
    before = alice.get(path).json
    flush(settings.redis_url)
    assert alice.get(path).json == before


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_cancel_keeps_what_was_said_and_twice_is_once(alice: Person, resources: Resources, state: str):
    made = alice.start()
    path = f"/api/v1/generations/{made['generation']['id']}"
    if state == "running":
        Hand(resources, made["generation"]["id"]).say(Token("half"))
    cancelled = alice.post(f"{path}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json["status"] == "cancelled"
    assert cancelled.json["content"] == ("half" if state == "running" else "")
    assert alice.post(f"{path}/cancel").json == cancelled.json
    assert alice.get(path).json == cancelled.json


def test_cancel_needs_no_body_and_minds_none(alice: Person):
    made = alice.start()
    answer = alice.post(
        f"/api/v1/generations/{made['generation']['id']}/cancel", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200


def test_regenerating_and_editing_make_branches(alice: Person, resources: Resources):
    made = alice.start("first")
    Hand(resources, made["generation"]["id"]).run("answer")
    again = alice.post(f"/api/v1/messages/{made['generation']['message_id']}/regenerate")
    assert again.status_code == 202, again.text
    assert again.json["message"]["message_id"] == made["message"]["message_id"]
    Hand(resources, again.json["generation"]["id"]).run("other answer")
    edited = alice.post(f"/api/v1/messages/{made['message']['message_id']}/edit", json={"message": "second"})
    assert edited.status_code == 202, edited.text
    assert edited.json["message"]["content"] == "second"
    assert edited.json["conversation"]["id"] == made["conversation"]["id"]


def test_a_client_that_waits_is_told_that_its_turn_comes_nearer(alice: Person):
    earlier, waiting = alice.start("one"), alice.start("two")
    path = f"/api/v1/generations/{waiting['generation']['id']}"
    before = alice.get(path)
    assert alice.get(path, headers={"If-None-Match": before.headers["ETag"]}).status_code == 304
    assert alice.post(f"/api/v1/generations/{earlier['generation']['id']}/cancel").status_code == 200
    after = alice.get(path, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.json["queue_position"] < before.json["queue_position"]


def test_a_message_is_accepted_and_answered_in_one_transaction(process: WebProcess, alice: Person):
    alice.start("the first one of this user", model="offline")
    begun: list[str] = []
    requesting = threading.current_thread()

    def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        # Threads of the application, such as the reader of revocations, have transactions of their own.
        if statement.startswith("BEGIN") and threading.current_thread() is requesting:
            begun.append(statement)

    event.listen(process.resources.database.engine, "before_cursor_execute", look)
    try:
        made = alice.start("the second one", model="offline")["generation"]
    finally:
        event.remove(process.resources.database.engine, "before_cursor_execute", look)
    assert len(begun) == 1, begun
    read = alice.get(f"/api/v1/generations/{made['id']}").json
    assert made == {**read, "waiting": None}
    assert read["waiting"]["reason"] == "queue", "a reading of one generation says what it waits for"
