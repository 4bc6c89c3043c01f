"""Operators see all users' generations without their text, and can cancel, fail and requeue them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.domain.events import Done, Mark, Token, decode
from app.services.finishing import Ending
from app.store import admin_generations
from app.store.database import fetch
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


# A fixed id: all test processes have to collect equal tests.
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


def listed(admin: Person, **filters: Any) -> list[str]:
    return [item["id"] for item in admin.get(GENERATIONS, query_string=filters).json["items"]]


def test_each_filter_finds_what_it_names(admin: Person, alice: Person, bob: Person, resources: Resources) -> None:
    begun = datetime.now(UTC)
    failed, waiting = dead(resources, alice), alice.start()["generation"]["id"]
    other = bob.start()["generation"]["id"]
    shown = admin.get(f"{GENERATIONS}/{failed}").json
    assert listed(admin, user=shown["user_id"]) == listed(admin, user=alice.subject) == [waiting, failed]
    assert listed(admin, user=alice.subject, worker="hand") == [failed]
    assert listed(admin, user=alice.subject, model=shown["model"], status="error") == [failed]
    assert listed(admin, user=alice.subject, model="no-such-model") == []
    assert listed(admin, user="nobody-of-this-name") == []
    assert listed(admin, request_id=shown["request_id"]) == [failed]
    assert listed(admin, user=alice.subject, since=begun.isoformat()) == [waiting, failed]
    assert listed(admin, user=alice.subject, since=(begun + timedelta(hours=1)).isoformat()) == []
    assert listed(admin, user=alice.subject, until=begun.isoformat()) == []
    assert listed(admin, user=bob.subject, stuck="false") == [other]
    assert admin.get(f"{GENERATIONS}?since=yesterday").status_code == 422
    first, last = "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"
    assert listed(admin, user=alice.subject, since=first, until=last) == [waiting, failed]
    assert listed(admin, user=alice.subject, since=last, until=first) == []
    for strange in ("' OR true --", "%", "100%s", "{}", '"'):
        assert listed(admin, user=strange) == listed(admin, model=strange, worker=strange, request_id=strange) == []


def test_pages_go_through_live_and_ended_ones_alike(admin: Person, alice: Person, resources: Resources) -> None:
    ids = [dead(resources, alice) if n % 2 else alice.start()["generation"]["id"] for n in range(5)]
    found, cursor = list[str](), {}
    while cursor is not None:
        page = admin.get(GENERATIONS, query_string={"user": alice.subject, "limit": 2, **cursor}).json
        found += [item["id"] for item in page["items"]]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert found == ids[::-1]


def test_a_filter_that_matches_few_is_looked_through_in_bounded_pages(
    admin: Person, alice: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_generations, "MOST_LOOKS", 2)
    ids = [dead(resources, alice) for _ in range(5)]
    wanted = admin.get(f"{GENERATIONS}/{ids[0]}").json["request_id"]
    query: dict[str, Any] = {"user": alice.subject, "model": "no-such-model"}
    pages = 0
    while query.get("cursor", "") is not None:
        page = admin.get(GENERATIONS, query_string=query).json
        assert page["items"] == []
        query["cursor"], pages = page["next_cursor"], pages + 1
    assert pages == 3
    assert listed(admin, request_id=wanted) == [ids[0]]


def test_one_generation_has_its_line_of_life(admin: Person, alice: Person, resources: Resources) -> None:
    generation_id = dead(resources, alice)
    shown = admin.get(f"{GENERATIONS}/{generation_id}")
    assert "secret" not in shown.text
    assert "half an" not in shown.text
    line = shown.json["timeline"]
    assert [one["what"] for one in line] == ["queued", "claimed", "first_token", "checkpoint", "end"]
    assert line[1]["worker"] == "hand"
    assert line[-1]["detail"] == {"status": "error", "finish_reason": "error", "error": "upstream_error"}
    assert shown.json["celery_id"] == generation_id
    assert (shown.json["trace_id"], shown.json["trace_url"]) == (None, None)
    assert shown.json["latency_ms"]["total"] >= 0
    assert admin.get(f"{GENERATIONS}/{uuid4()}").status_code == 404


def test_support_reads_a_text_and_its_user_sees_that(
    app: OpenAPI, admin: Person, alice: Person, resources: Resources
) -> None:
    support = Person(app.test_client(), f"support-{uuid4().hex[:8]}")
    support.headers["Authorization"] = f"Bearer {token(support.subject, role='support')}"
    begun = alice.start("What is a tide?")["generation"]["id"]
    hand = Hand(resources, begun)
    hand.say(Token("A wave "))
    hand.save()
    path = f"{GENERATIONS}/{begun}/text"
    assert support.post(path).status_code == 400
    assert support.post(path, json={"reason": ""}).status_code == 422
    assert alice.get("/api/v1/me/audit").json["items"] == []
    shown = support.post(path, json={"reason": "Ticket 7"})
    assert shown.json == {"content": "A wave ", "reasoning": "", "prompt": "What is a tide?"}
    [row] = alice.get("/api/v1/me/audit").json["items"]
    assert (row["action"], row["object_id"], row["details"]) == ("generation.text_read", begun, {"reason": "Ticket 7"})
    assert support.post(f"{GENERATIONS}/{uuid4()}/text", json={"reason": "x"}).status_code == 404
    for act in ("cancel", "fail", "requeue"):
        assert support.post(f"{GENERATIONS}/{begun}/{act}").status_code == 403
    assert support.get(GENERATIONS).status_code == 200
    hand.finish()
    assert support.post(path, json={"reason": "Ticket 7"}).json["content"] == "A wave "


def test_the_reason_of_an_action_stands_in_the_audit(admin: Person, alice: Person) -> None:
    generation_id = alice.start()["generation"]["id"]
    assert admin.post(f"{GENERATIONS}/{generation_id}/fail", json={"reason": "It hangs."}).status_code == 200
    [row] = admin.get(f"/api/v1/ops/audit?object={generation_id}").json["items"]
    assert (row["action"], row["details"]) == ("generation.failed", {"reason": "It hangs."})
    for wrong in ({"reason": "x" * 501}, {"reason": ""}, {"why": "x"}):
        assert admin.post(f"{GENERATIONS}/{generation_id}/cancel", json=wrong).status_code == 422


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


def test_a_requeued_json_answer_has_the_schema_of_the_first(admin: Person, alice: Person, resources: Resources) -> None:
    schema = {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "integer"}}, "required": ["z"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    generation_id = alice.start("x", model="offline", response_format=wanted)["generation"]["id"]
    assert admin.post(f"{GENERATIONS}/{generation_id}/fail").status_code == 200
    again = admin.post(f"{GENERATIONS}/{generation_id}/requeue")
    assert again.status_code == 202, again.text
    with resources.database.system() as tx:
        sql = "SELECT parameters FROM generations WHERE id IN (:first, :second)"
        first, second = fetch(tx, sql, first=generation_id, second=again.json["id"])
    assert first == second


def test_what_has_not_failed_is_not_requeued(admin: Person, alice: Person, resources: Resources) -> None:
    generation_id = alice.start()["generation"]["id"]
    for _ in range(2):
        assert admin.post(f"{GENERATIONS}/{generation_id}/requeue").status_code == 409
        if alice.get(f"/api/v1/generations/{generation_id}").json["status"] == "queued":
            Hand(resources, generation_id).run("a", "b")
