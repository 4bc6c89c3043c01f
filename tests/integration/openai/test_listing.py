"""Chat completions of programs are not among the conversations of a person, unless the program wants them there."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.domain.commands import User
from app.wiring import Resources
from tests.integration.api.conftest import Hand, Person, app, resources, settings

__all__ = ["app", "resources", "settings"]


@pytest.fixture
def alice(app: OpenAPI) -> Person:
    return Person(app.test_client(), f"alice-{uuid4().hex[:8]}")


def completed(alice: Person, resources: Resources, headers: dict[str, str] | None = None, **body: Any) -> str:
    """The generation of a finished chat completion whose question and answer have the word zebra."""
    question = {"model": "offline", "messages": [{"role": "user", "content": "### Task: name a zebra"}], "stream": True}
    answer = alice.post("/v1/chat/completions", json={**question, **body}, headers=headers or {})
    assert answer.status_code == 200, answer.text
    digits = next(answer.iter_encoded()).partition(b'"id":"chatcmpl-')[2][:32].decode()
    answer.close()
    generation_id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    Hand(resources, generation_id).run("A ", "zebra ")
    return generation_id


def listed(alice: Person) -> tuple[list[str], int]:
    """The conversations in the list, and the number of the newest change in the feed."""
    page = alice.get("/api/v1/conversations").json
    return [item["id"] for item in page["items"]], page["feed_seq"]


def found(alice: Person) -> set[str]:
    """The conversations that a search for the word zebra finds."""
    return {item["conversation_id"] for item in alice.get("/api/v1/search?q=zebra").json["items"]}


def test_a_completion_is_in_no_list_no_search_and_no_feed(alice: Person, resources: Resources):
    alice.start("a message of the person")
    before = listed(alice)
    generation = alice.get(f"/api/v1/generations/{completed(alice, resources)}").json
    assert listed(alice) == before
    assert found(alice) == set()
    conversation = generation["conversation_id"]
    # A title that a client sets makes no difference.
    assert alice.patch(f"/api/v1/conversations/{conversation}", json={"title": "zebra"}).status_code == 200
    assert (listed(alice), found(alice)) == (before, set())
    assert alice.get("/api/v1/conversations/active?model=offline").status_code == 404
    assert alice.delete(f"/api/v1/conversations/{conversation}").status_code == 204
    assert listed(alice) == before


def test_a_completion_is_reachable_by_its_ids_and_counted(alice: Person, resources: Resources):
    generation = alice.get(f"/api/v1/generations/{completed(alice, resources)}").json
    assert generation["content"] == "A zebra "
    conversation = generation["conversation_id"]
    assert alice.get(f"/api/v1/conversations/{conversation}").status_code == 200
    contents = [m["content"] for m in alice.get(f"/api/v1/conversations/{conversation}/messages").json["items"]]
    assert sorted(contents) == ["### Task: name a zebra", "A zebra "]
    assert [day["generations"] for day in alice.get("/api/v1/usage").json["items"]] == [1]


@pytest.mark.parametrize(
    ("body", "headers", "shown"),
    [
        ({"store": True}, {}, True),
        ({}, {"X-Unbroken-Listed": "1"}, True),
        ({"store": False}, {"X-Unbroken-Listed": "1"}, True),
        ({"store": False}, {}, False),
        ({"store": None}, {"X-Unbroken-Listed": "0"}, False),
    ],
)
def test_a_program_decides(alice: Person, resources: Resources, body: Any, headers: Any, shown: bool):
    generation = alice.get(f"/api/v1/generations/{completed(alice, resources, headers, **body)}").json
    expected = {generation["conversation_id"]} if shown else set()
    ids, feed_seq = listed(alice)
    assert set(ids) == found(alice) == expected
    assert (feed_seq > 0) == shown


def test_a_running_completion_is_not_among_the_live_answers_of_the_page(alice: Person, resources: Resources):
    body = {"model": "offline", "messages": [{"role": "user", "content": "x"}], "stream": True}
    alice.post("/v1/chat/completions", json=body).close()
    alice.post("/v1/responses", json={"model": "offline", "input": "x", "background": True})
    user = resources.users.user(alice.subject, None)
    assert isinstance(user, User)
    assert len(resources.generations.underway(user, {})) == 1


def test_a_nonsense_header_is_refused_by_its_name(alice: Person):
    body = {"model": "offline", "messages": [{"role": "user", "content": "x"}]}
    refused = alice.post("/v1/chat/completions", json=body, headers={"X-Unbroken-Listed": "perhaps"})
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "X-Unbroken-Listed")
