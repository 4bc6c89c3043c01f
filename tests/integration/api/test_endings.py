"""The fate of an answer, as messages and generations show it: its end, the reason of a wait, its continuation."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.events import Token, Tool
from app.services.finishing import Ending
from app.wiring import Resources
from tests.factories import owner

from .conftest import Hand, Person


def answer_of(alice: Person, made: dict[str, Any]) -> dict[str, Any]:
    path = f"/api/v1/conversations/{made['conversation']['id']}/messages"
    found: dict[str, Any] = alice.get(path).json["items"][1]
    return found


def waiting(alice: Person, made: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = alice.get(f"/api/v1/generations/{made['generation']['id']}").json["waiting"]
    return found


def test_a_message_says_how_its_answer_ended(alice: Person, resources: Resources):
    made = alice.start()
    assert answer_of(alice, made)["finish_reason"] is None
    Hand(resources, made["generation"]["id"]).run("word")
    said = answer_of(alice, made)
    assert (said["status"], said["finish_reason"], said["error"]) == ("completed", "stop", None)


def test_a_message_has_the_error_of_its_answer(alice: Person, resources: Resources):
    made = alice.start()
    hand = Hand(resources, made["generation"]["id"])
    error = {"code": "upstream_timeout", "message": "Too late."}
    ending = Ending("error", "error", None, error)
    resources.finisher.finish(hand.claimed, hand.payloads, hand.transcript, ending, [])
    said = answer_of(alice, made)
    assert (said["status"], said["finish_reason"], said["error"]) == ("error", "error", error)


def test_a_queued_answer_says_what_it_waits_for(alice: Person):
    made = alice.start()
    found = waiting(alice, made)
    assert found is not None
    assert found["reason"] == "queue"
    body = {"message": "more", "conversation_id": made["conversation"]["id"], "on_busy": "enqueue"}
    second = alice.post("/api/v1/generations", json=body).json
    assert waiting(alice, second) == {"reason": "conversation", "until": None, "error": None, "attempt": None}


def test_a_worker_that_misses_its_heartbeats_is_told_of_with_the_end_of_its_lease(
    alice: Person, resources: Resources, module_database_url: str
):
    made = alice.start()
    hand = Hand(resources, made["generation"]["id"])
    assert waiting(alice, made) is None
    tag = alice.get(f"/api/v1/generations/{hand.id}").headers["ETag"]
    with owner(module_database_url) as cursor:
        cursor.execute("UPDATE generations SET lease_until = now() + interval '1 second' WHERE id = %s", (hand.id,))
    found = waiting(alice, made)
    assert found is not None
    assert found["reason"] == "worker"
    assert found["until"] is not None
    again = alice.get(f"/api/v1/generations/{hand.id}", headers={"If-None-Match": tag})
    assert again.status_code == 200


def test_a_pause_is_told_until_the_model_has_begun(alice: Person, resources: Resources):
    made = alice.start()
    hand = Hand(resources, made["generation"]["id"])
    hand.leases.note_pause(hand.claimed.lease, "upstream_rate_limited", 2, 3.5)
    found = waiting(alice, made)
    assert found is not None
    assert (found["reason"], found["error"], found["attempt"]) == ("retry", "upstream_rate_limited", 2)
    hand.say(Token("word"))
    hand.save()
    assert waiting(alice, made) is None


def test_a_stopped_answer_is_continued_beside_it(alice: Person, resources: Resources):
    made = alice.start()
    hand = Hand(resources, made["generation"]["id"])
    hand.say(Token("one "))
    hand.save()
    busy = alice.post(f"/api/v1/messages/{made['generation']['message_id']}/continue")
    assert busy.status_code == 409
    alice.post(f"/api/v1/generations/{hand.id}/cancel")
    first = alice.post(f"/api/v1/messages/{made['generation']['message_id']}/continue", json={"client_msg_id": "more"})
    assert first.status_code == 202, first.text
    assert first.json["message"]["message_id"] == made["message"]["message_id"]
    assert first.json["generation"]["message_id"] != made["generation"]["message_id"]
    again = alice.post(f"/api/v1/messages/{made['generation']['message_id']}/continue", json={"client_msg_id": "more"})
    assert (again.status_code, again.json["generation"]["id"]) == (200, first.json["generation"]["id"])


@pytest.mark.parametrize("events", [[], [Token("a "), Tool("c", "clock", "finished", "{}", "noon")]])
def test_an_answer_without_text_or_with_calls_is_not_continued(alice: Person, resources: Resources, events: list[Any]):
    made = alice.start()
    hand = Hand(resources, made["generation"]["id"])
    hand.say(*events)
    hand.save()
    hand.finish()
    refused = alice.post(f"/api/v1/messages/{made['generation']['message_id']}/continue")
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "message_id")
    refused = alice.post(f"/api/v1/messages/{made['message']['message_id']}/continue")
    assert refused.status_code == 422


def test_a_refusal_names_its_limit(make_app: Any):
    app = make_app(max_queued_per_user=1, ratelimit_generations="2/hour")
    eve = Person(app.test_client(), "eve")
    eve.start()
    full = eve.post("/api/v1/generations", json={"message": "two"})
    assert (full.status_code, full.json["limit"]) == (429, "MAX_QUEUED_PER_USER")
    fast = eve.post("/api/v1/generations", json={"message": "three"})
    assert (fast.status_code, fast.json["limit"]) == (429, "RATELIMIT_GENERATIONS")
    assert "limit" not in eve.get("/api/v1/conversations/nothing").json
