"""Operators see everybody's generations, without a word of them, and can stop, give up and try again."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.domain.events import Done, Mark, Token, decode
from app.services.finishing import Ending
from app.wiring import Resources
from tests.integration.api.conftest import Hand, Person, token

GENERATIONS = "/api/v1/ops/generations"


@pytest.fixture
def admin(app: OpenAPI) -> Person:
    person = Person(app.test_client(), f"admin-{uuid4().hex[:8]}")
    person.headers["Authorization"] = f"Bearer {token(person.subject, role='admin')}"
    return person


def dead(resources: Resources, person: Person) -> str:
    """A generation that has ended as an error, after some text."""
    generation_id: str = person.start(f"a secret {uuid4().hex}")["generation"]["id"]
    hand = Hand(resources, generation_id)
    hand.say(Token("half an "))
    hand.save()
    ending = Ending("error", "error", None, {"code": "upstream_error", "message": "It broke."})
    hand.say()
    resources.finisher.finish(hand.claimed, hand.payloads, hand.transcript, ending, [])
    return generation_id


# Always the same: every process of the tests has to find the same tests.
SOMETHING = "01930000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("method", "path"), [("get", ""), *(("post", f"/{SOMETHING}/{do}") for do in ("cancel", "fail", "requeue"))]
)
def test_only_operators_may(alice: Person, method: str, path: str) -> None:
    refused = getattr(alice, method)(GENERATIONS + path)
    assert refused.status_code == 403
    assert refused.json["type"].endswith("/forbidden")


@pytest.mark.parametrize("action", ["cancel", "fail", "requeue"])
def test_what_does_not_exist_cannot_be_acted_on(admin: Person, action: str) -> None:
    assert admin.post(f"{GENERATIONS}/{uuid4()}/{action}").status_code == 404


def test_an_operator_sees_whose_it_is_and_not_what_it_says(
    admin: Person, alice: Person, bob: Person, resources: Resources
) -> None:
    first, second = dead(resources, alice), bob.start("another secret")["generation"]["id"]
    seen = {item["id"]: item for item in admin.get(GENERATIONS).json["items"]}
    assert (seen[first]["user"], seen[first]["status"]) == (alice.subject, "error")
    assert seen[first]["error"]["code"] == "upstream_error"
    assert (seen[second]["user"], seen[second]["status"]) == (bob.subject, "queued")
    assert "secret" not in admin.get(GENERATIONS).text
    assert "half an" not in admin.get(GENERATIONS).text


def test_a_look_can_be_narrowed_and_turned_over(admin: Person, alice: Person, resources: Resources) -> None:
    ids = [dead(resources, alice) for _ in range(3)]
    alice.start()
    mine = f"{GENERATIONS}?user={alice.subject}"
    assert len(admin.get(mine).json["items"]) == 4
    page = admin.get(f"{mine}&status=error&limit=2").json
    assert [item["id"] for item in page["items"]] == ids[:0:-1]
    rest = admin.get(f"{mine}&status=error&limit=2&cursor={page['next_cursor']}").json
    assert [item["id"] for item in rest["items"]] == ids[:1]
    assert rest["next_cursor"] is None
    assert admin.get(f"{GENERATIONS}?status=lost").status_code == 422


def test_what_nobody_renews_is_stuck(admin: Person, alice: Person, resources: Resources) -> None:
    running = alice.start()["generation"]["id"]
    hand = Hand(resources, running)
    stuck = f"{GENERATIONS}?stuck=true&user={alice.subject}"
    assert admin.get(stuck).json["items"] == []
    hand.leases.leave(hand.claimed.lease)
    [item] = admin.get(stuck).json["items"]
    assert item["id"] == running
    assert item["lease_seconds"] < 0


def test_an_operator_cancels_for_the_owner(admin: Person, alice: Person, resources: Resources) -> None:
    generation_id = alice.start()["generation"]["id"]
    Hand(resources, generation_id).say(Token("so far"))
    for _ in range(2):
        answer = admin.post(f"{GENERATIONS}/{generation_id}/cancel")
        assert (answer.status_code, answer.json["status"]) == (200, "cancelled")
    assert alice.get(f"/api/v1/generations/{generation_id}").json["content"] == "so far"


def test_an_operator_gives_up_on_what_is_in_the_making(admin: Person, alice: Person, resources: Resources) -> None:
    generation_id = alice.start()["generation"]["id"]
    hand = Hand(resources, generation_id)
    hand.say(Token("so far"))
    answer = admin.post(f"{GENERATIONS}/{generation_id}/fail")
    assert (answer.status_code, answer.json["status"]) == (200, "error")
    assert answer.json["error"]["code"] == "failed_by_operator"
    shown = alice.get(f"/api/v1/generations/{generation_id}").json
    assert (shown["status"], shown["content"]) == ("error", "so far")
    done = decode(resources.log.read(generation_id)[-1].payload)
    assert isinstance(done, Done)
    assert done.status == "error"
    assert resources.log.append(generation_id, hand.epoch, 2, [b"{}"]).verdict == "FENCED"
    again = admin.post(f"{GENERATIONS}/{generation_id}/fail")
    assert again.status_code == 409
    assert again.json["type"].endswith("/wrong-state")


def test_what_waits_is_given_up_too(admin: Person, alice: Person) -> None:
    generation_id = alice.start()["generation"]["id"]
    assert admin.post(f"{GENERATIONS}/{generation_id}/fail").json["status"] == "error"


def test_a_dead_letter_is_tried_again_on_a_new_branch(admin: Person, alice: Person, resources: Resources) -> None:
    generation_id = dead(resources, alice)
    answer = admin.post(f"{GENERATIONS}/{generation_id}/requeue")
    assert answer.status_code == 202
    again = answer.json
    assert (again["status"], again["user"]) == ("queued", alice.subject)
    assert again["id"] != generation_id
    old, new = (alice.get(f"/api/v1/generations/{i}").json for i in (generation_id, again["id"]))
    assert new["user_message_id"] == old["user_message_id"]
    assert new["message_id"] != old["message_id"]
    assert admin.post(f"{GENERATIONS}/{generation_id}/requeue").json["id"] == again["id"], "twice is once"
    hand = Hand(resources, again["id"])
    hand.say(Token("whole"), Mark("stop", None))
    hand.finish()
    assert alice.get(f"/api/v1/generations/{again['id']}").json["content"] == "whole"


def test_what_has_not_failed_is_not_requeued(admin: Person, alice: Person, resources: Resources) -> None:
    generation_id = alice.start()["generation"]["id"]
    for _ in range(2):
        assert admin.post(f"{GENERATIONS}/{generation_id}/requeue").status_code == 409
        if alice.get(f"/api/v1/generations/{generation_id}").json["status"] == "queued":
            Hand(resources, generation_id).run("a", "b")
