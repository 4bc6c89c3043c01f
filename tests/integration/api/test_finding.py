"""Conversations are pinned, tagged, unread, temporary and set up; a user has preferences."""

from __future__ import annotations

from typing import Any

import pytest
from flask_openapi3.openapi import OpenAPI

from app.services.feeds import USER
from app.store import feed
from app.store.database import fetch
from app.wiring import Resources
from tests.factories import owner

from .conftest import Hand, Person, token

LIST = "/api/v1/conversations"
PREFERENCES = "/api/v1/me/preferences"


def ids(person: Person, query: str) -> list[str]:
    return [item["id"] for item in person.get(f"{LIST}?{query}").json["items"]]


def begin(person: Person, message: str = "hello", **body: Any) -> str:
    found: str = person.start(message, **body)["conversation"]["id"]
    return found


def parameters_of(resources: Resources, started: dict[str, Any]) -> dict[str, Any]:
    """The parameters that the worker of an answer receives."""
    with resources.database.system() as tx:
        [row] = fetch(tx, "SELECT parameters FROM generations WHERE id = :id", id=started["generation"]["id"])
    return dict(row.parameters)


def newest_parameters(resources: Resources, person: Person) -> dict[str, Any]:
    """The parameters of the user's newest answer."""
    user = person.get("/api/v1/me").json["id"]
    with resources.database.user(user) as tx:
        rows = fetch(tx, "SELECT parameters FROM generations WHERE user_id = :u ORDER BY created_at DESC", u=user)
    return dict(rows[0].parameters)


def test_pinned_conversations_and_tags_are_found(alice: Person, bob: Person) -> None:
    plain, pinned, tagged = (begin(alice, f"message {n}") for n in range(3))
    changed = alice.patch(f"{LIST}/{pinned}", json={"pinned": True}).json
    assert (changed["pinned"], changed["tags"], changed["archived"]) == (True, [], False)
    both = alice.patch(f"{LIST}/{tagged}", json={"tags": ["work", " two\nlines ", "work"], "title": "T"}).json
    assert both["tags"] == ["work", "two lines"]
    assert ids(alice, "pinned=true") == [pinned]
    assert ids(alice, "pinned=false") == [tagged, plain]
    assert ids(alice, "tag=two lines") == [tagged]
    assert ids(alice, "tag=work&pinned=true") == ids(bob, "tag=work") == []
    assert alice.patch(f"{LIST}/{tagged}", json={"tags": []}).json["title"] == "T"
    assert ids(alice, "tag=work") == []
    assert bob.patch(f"{LIST}/{pinned}", json={"pinned": False}).status_code == 404
    assert ids(alice, "pinned=true") == [pinned]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tags": [str(n) for n in range(9)]}, "tags"),
        ({"tags": ["x" * 41]}, "tags.0"),
        ({"tags": [" "]}, "tags.0"),
        ({"pinned": 1}, "pinned"),
        ({"system_prompt": "x" * 8001}, "system_prompt"),
        ({"parameters": {"temperature": 2.1}}, "parameters.temperature"),
        ({"parameters": {"max_tokens": 0}}, "parameters.max_tokens"),
        ({"parameters": {"reasoning_effort": "some"}}, "parameters.reasoning_effort"),
        ({"parameters": {"seed": 1}}, "parameters.seed"),
    ],
)
def test_a_wrong_change_names_its_field(alice: Person, body: dict[str, Any], field: str) -> None:
    path = f"{LIST}/{begin(alice)}"
    before = alice.get(path).json
    answer = alice.patch(path, json=body)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert alice.get(path).json == before


def test_an_end_is_unread_until_it_is_seen(alice: Person, bob: Person, resources: Resources) -> None:
    started = alice.start()
    path = f"{LIST}/{started['conversation']['id']}"
    hand = Hand(resources, started["generation"]["id"])
    running = alice.get(path).json
    assert running["unread"] is False
    hand.run("a")
    ended = alice.get(path).json
    assert ended["unread"] is True
    # A reader that has seen the conversation while the answer was made has not seen its end.
    assert alice.put(f"{path}/seen", json={"seq": running["feed_seq"]}).json == ended
    assert bob.put(f"{path}/seen", json={}).status_code == 404
    seen = alice.put(f"{path}/seen").json
    assert seen["unread"] is False
    assert alice.put(f"{path}/seen", json={"seq": 0}).json == seen, "nothing is unread, so nothing changes"
    Hand(resources, alice.start("more", conversation_id=ended["id"])["generation"]["id"]).run("b")
    last = alice.get(path).json
    assert last["unread"] is True
    assert alice.put(f"{path}/seen", json={"seq": last["feed_seq"]}).json["unread"] is False


def test_the_feed_carries_what_has_changed(alice: Person, resources: Resources) -> None:
    started = alice.start()
    conversation = started["conversation"]["id"]
    Hand(resources, started["generation"]["id"]).run("a")
    user = alice.get("/api/v1/me").json["id"]
    with resources.database.user(user) as tx:
        before = feed.tops_of_users(tx, [user])[user]
    alice.put(f"{LIST}/{conversation}/seen")
    alice.put(f"{LIST}/{conversation}/seen")
    alice.patch(f"{LIST}/{conversation}", json={"pinned": True, "tags": ["t"], "system_prompt": "Be brief."})
    with resources.database.user(user) as tx:
        changes = USER.changes(tx, user, before, 10)
    bodies = [change.body or {} for change in changes]
    names = ("unread", "pinned", "tags", "system_prompt", "parameters")
    assert [[body[name] for name in names] for body in bodies] == [
        [False, False, [], None, {}],
        [False, True, ["t"], "Be brief.", {}],
    ]
    assert all(change.size > 50 for change in changes)


def test_settings_of_a_conversation_are_frozen_with_each_answer(alice: Person, resources: Resources) -> None:
    first = alice.start()
    path = f"{LIST}/{first['conversation']['id']}"
    assert parameters_of(resources, first) == {}
    given = {"temperature": 0, "max_tokens": 50, "reasoning_effort": "low"}
    shown = alice.patch(path, json={"system_prompt": "Answer in French.", "parameters": given}).json
    assert (shown["system_prompt"], shown["parameters"]) == ("Answer in French.", given)
    Hand(resources, first["generation"]["id"]).run("a")
    wanted = {**given, "instructions": "Answer in French."}
    second = alice.start("more", conversation_id=shown["id"])
    Hand(resources, second["generation"]["id"]).run("b")
    again = alice.post(f"/api/v1/messages/{second['generation']['message_id']}/regenerate", json={}).json
    Hand(resources, again["generation"]["id"]).run("c")
    edited = alice.post(f"/api/v1/messages/{second['message']['message_id']}/edit", json={"message": "other"}).json
    cleared = alice.patch(path, json={"system_prompt": None, "parameters": None}).json
    assert (cleared["system_prompt"], cleared["parameters"]) == (None, {})
    assert [parameters_of(resources, one) for one in (second, again, edited)] == [wanted] * 3
    assert parameters_of(resources, first) == {}


def test_a_request_of_a_program_keeps_its_own_parameters(alice: Person, resources: Resources) -> None:
    first = alice.start(system_prompt="Be kind.", parameters={"temperature": 1, "max_tokens": 9})
    Hand(resources, first["generation"]["id"]).run("a")
    body = {"input": "x", "background": True, "model": "offline", "temperature": 0.5, "instructions": "Be brief."}
    conversation = f"conv_{first['conversation']['id'].replace('-', '')}"
    reply = alice.post("/v1/responses", json={**body, "conversation": conversation})
    assert reply.status_code == 200, reply.text
    assert newest_parameters(resources, alice) == {"temperature": 0.5, "max_tokens": 9, "instructions": "Be brief."}


def test_a_new_conversation_begins_with_its_settings(alice: Person, resources: Resources) -> None:
    started = alice.start(system_prompt="Be kind.", parameters={"top_p": 0.5})
    assert parameters_of(resources, started) == {"top_p": 0.5, "instructions": "Be kind."}
    assert started["conversation"]["system_prompt"] == "Be kind."
    assert started["conversation"]["parameters"] == {"top_p": 0.5}
    for name, value in (("system_prompt", "x"), ("parameters", {}), ("temporary", True)):
        body = {"message": "more", "conversation_id": started["conversation"]["id"], name: value}
        answer = alice.post("/api/v1/generations", json=body)
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, name)


def test_a_repeat_with_other_settings_is_another_request(alice: Person) -> None:
    body = {"message": "x", "client_msg_id": "one", "system_prompt": "a"}
    assert alice.post("/api/v1/generations", json=body).status_code == 202
    assert alice.post("/api/v1/generations", json=body).status_code == 200
    assert alice.post("/api/v1/generations", json={**body, "system_prompt": "b"}).status_code == 422


def test_a_temporary_conversation_is_in_no_list_search_or_feed(alice: Person, resources: Resources) -> None:
    before = alice.get(LIST).json["feed_seq"]
    started = alice.start("quicksilver", temporary=True)
    Hand(resources, started["generation"]["id"]).run("quicksilver")
    found = alice.get(f"{LIST}/{started['conversation']['id']}").json
    assert found["temporary"] is True
    page = alice.get(LIST).json
    assert (page["items"], page["feed_seq"]) == ([], before)
    assert alice.get("/api/v1/search?q=quicksilver").json["items"] == []
    more = alice.start("more", conversation_id=found["id"])
    assert more["conversation"]["temporary"] is True
    assert alice.delete(f"{LIST}/{found['id']}").status_code == 204


# --- preferences -----------------------------------------------------------------------------------------------------


def test_preferences_are_kept_and_taken_back(alice: Person, bob: Person) -> None:
    nothing = {"theme": None, "language": None, "model": None, "system_prompt": None, "parameters": None}
    assert alice.get(PREFERENCES).json == nothing
    assert alice.patch(PREFERENCES, json={"theme": "dark", "language": "de-CH"}).json == {
        **nothing, "theme": "dark", "language": "de-CH",
    }  # fmt: skip
    assert alice.patch(PREFERENCES, json={"theme": None, "model": "offline-fast"}).json == {
        **nothing, "language": "de-CH", "model": "offline-fast",
    }  # fmt: skip
    assert bob.get(PREFERENCES).json == nothing
    for name, value in (("theme", "pink"), ("language", "d"), ("model", "none such"), ("system_prompt", "x" * 8001)):
        answer = alice.patch(PREFERENCES, json={name: value})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, name)


def test_preferred_parameters_fill_in_what_a_new_conversation_leaves_out(alice: Person, resources: Resources) -> None:
    chosen = {"temperature": 0.5, "max_tokens": 100}
    every = {"top_p": None, "reasoning_effort": None, **chosen}
    assert alice.patch(PREFERENCES, json={"parameters": every}).json["parameters"] == chosen
    plain = alice.start()
    assert plain["conversation"]["parameters"] == chosen
    assert parameters_of(resources, plain) == chosen
    other = alice.start(parameters={"temperature": 1})
    assert parameters_of(resources, other) == {"temperature": 1, "max_tokens": 100}
    assert alice.post("/v1/responses", json={"input": "x", "background": True, "model": "offline"}).status_code == 200
    assert newest_parameters(resources, alice) == {}
    for empty in ({}, {"temperature": None}, None):
        alice.patch(PREFERENCES, json={"parameters": chosen})
        assert alice.patch(PREFERENCES, json={"parameters": empty}).json["parameters"] is None
    assert parameters_of(resources, alice.start()) == {}
    for name, value in (
        ("temperature", 3),
        ("top_p", -1),
        ("max_tokens", 0),
        ("reasoning_effort", "much"),
        ("seed", 1),
    ):
        answer = alice.patch(PREFERENCES, json={"parameters": {name: value}})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, f"parameters.{name}")


def test_preferences_are_for_new_conversations_of_people(alice: Person, resources: Resources) -> None:
    alice.patch(PREFERENCES, json={"model": "offline-fast", "system_prompt": "Be brief."})
    plain = alice.start()
    assert plain["generation"]["model"] == "offline-fast"
    assert plain["conversation"]["model"] is None
    assert plain["conversation"]["system_prompt"] == "Be brief."
    assert parameters_of(resources, plain) == {"instructions": "Be brief."}
    Hand(resources, plain["generation"]["id"]).run("a")
    assert alice.start("more", conversation_id=plain["conversation"]["id"])["generation"]["model"] == "offline-fast"
    other = alice.start(model="offline", system_prompt="")
    assert (other["generation"]["model"], other["conversation"]["system_prompt"]) == ("offline", None)
    assert parameters_of(resources, other) == {}
    assert alice.post("/v1/responses", json={"input": "x", "background": True, "model": "offline"}).status_code == 200
    assert newest_parameters(resources, alice) == {}


def test_a_preferred_model_that_is_gone_gives_way_to_the_default(
    app: OpenAPI, alice: Person, resources: Resources
) -> None:
    admin = Person(alice.client, alice.subject, {"Authorization": f"Bearer {token(alice.subject, role='admin')}"})
    name = f"passing-{alice.subject}"
    made = admin.post("/api/v1/models", json={"name": name, "provider": "offline", "upstream_name": "offline"})
    assert made.status_code == 201, made.text
    alice.patch(PREFERENCES, json={"model": name})
    assert alice.start()["generation"]["model"] == name
    admin.delete(f"/api/v1/models/{name}")
    assert alice.start()["generation"]["model"] == "offline"


def test_preferences_are_exported_and_erased(alice: Person, settings: Any, resources: Resources) -> None:
    from .test_export import export

    alice.patch(PREFERENCES, json={"system_prompt": "Be brief."})
    [row] = export(alice)["preferences"]
    assert row["chosen"] == {"system_prompt": "Be brief."}
    with owner(settings.database_url) as cursor:
        cursor.execute("SELECT count(*) FROM preferences WHERE chosen->>'system_prompt' = 'Be brief.'")
        assert cursor.fetchone()[0] >= 1
