"""The OpenAI-compatible routes at the level of HTTP: bytes, statuses, and requests of hostile or careless clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.api.web_process import EXTENSION, WebProcess
from app.domain.events import Token
from app.wiring import Resources
from dev.valkey import Valkey
from tests.integration.api.conftest import Hand, Person, app, make_app, make_settings, process, resources, settings

__all__ = ["app", "make_app", "process", "resources", "settings"]

BACKGROUND = {"model": "offline", "input": "Hello", "background": True}


@pytest.fixture
def alice(app: OpenAPI) -> Person:
    return Person(app.test_client(), f"alice-{uuid4().hex[:8]}")


def uuid_of(response_id: str) -> str:
    digits = response_id.partition("_")[2]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def ask(alice: Person, **body: Any) -> dict[str, Any]:
    answer = alice.post("/v1/responses", json={**BACKGROUND, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def finished(alice: Person, resources: Resources, **body: Any) -> dict[str, Any]:
    response = ask(alice, **body)
    Hand(resources, uuid_of(response["id"])).run("Hel", "lo")
    return response


def test_stream_begins_with_a_comment_and_every_block_has_event_data_and_id(
    alice: Person, resources: Resources
) -> None:
    response = finished(alice, resources)
    answer = alice.get(f"/v1/responses/{response['id']}?stream=true")
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache, no-transform"
    blocks = answer.data.removeprefix(b": hi\n").split(b"\n\n")
    assert blocks.pop() == b""
    for number, block in enumerate(blocks):
        event, data, event_id = block.split(b"\n")
        body = json.loads(data.removeprefix(b"data: "))
        assert event == b"event: " + body["type"].encode()
        assert event_id == b"id: %d" % body["sequence_number"] == b"id: %d" % number
    assert b"[DONE]" not in answer.data


def test_a_deleted_response_that_others_build_on_is_gone_and_the_others_are_not(
    alice: Person, resources: Resources
) -> None:
    first = finished(alice, resources)
    second = ask(alice, previous_response_id=first["id"], input="And?")
    Hand(resources, uuid_of(second["id"])).run("More")
    path = f"/v1/responses/{first['id']}"
    assert alice.get(path).status_code == 200
    assert alice.delete(path).status_code == 200
    for gone in (path, f"{path}?stream=true", f"{path}/input_items"):
        assert alice.get(gone).status_code == 404, gone
    assert alice.post(f"{path}/cancel").status_code == 404
    assert alice.post("/v1/responses", json={**BACKGROUND, "previous_response_id": first["id"]}).status_code in (
        400,
        404,
    )
    assert alice.get(f"/v1/responses/{second['id']}").json["output"][0]["content"][0]["text"] == "More"


def test_the_same_stream_twice_is_the_same_bytes(alice: Person, resources: Resources) -> None:
    response = finished(alice, resources)
    path = f"/v1/responses/{response['id']}?stream=true"
    assert alice.get(path).data == alice.get(path).data


def test_behind_the_last_event_the_sdk_gets_an_empty_200_and_eventsource_a_204(
    alice: Person, resources: Resources
) -> None:
    response = finished(alice, resources)
    path = f"/v1/responses/{response['id']}?stream=true"
    last = alice.get(path).data.count(b"\nid: ") - 1
    empty = alice.get(f"{path}&starting_after={last}")
    assert (empty.status_code, empty.data) == (200, b": hi\n")
    assert alice.get(path, headers={"Last-Event-ID": str(last)}).status_code == 204
    earlier = alice.get(f"{path}&starting_after={last}", headers={"Last-Event-ID": str(last - 1)})
    assert earlier.data.count(b"\nid: ") == 1


def test_eventsource_is_told_when_to_come_back_in_front_of_the_first_event(alice: Person, resources: Resources) -> None:
    response = finished(alice, resources)
    path = f"/v1/responses/{response['id']}?stream=true"
    told = alice.get(path, headers={"Accept": "text/event-stream"}).data
    assert told.startswith(b": hi\nretry: 1000\nevent: response.created\n")
    assert told.count(b"retry:") == 1


@pytest.mark.parametrize("place", ["x", "1-42", "-5", "1e3", "9" * 30])
def test_a_position_that_is_none_is_refused(alice: Person, resources: Resources, place: str) -> None:
    response = ask(alice)
    path = f"/v1/responses/{response['id']}?stream=true"
    if place != "9" * 30:
        assert alice.get(f"{path}&starting_after={place}").status_code == 400
    assert alice.get(path, headers={"Last-Event-ID": place}).status_code == 400


def test_empty_bodies_with_a_json_content_type_are_accepted_where_none_is_needed(alice: Person) -> None:
    response = ask(alice)
    empty = {"data": b"", "content_type": "application/json"}
    assert alice.post(f"/v1/responses/{response['id']}/cancel", **empty).json["status"] == "cancelled"
    assert alice.delete(f"/v1/responses/{response['id']}", **empty).json["deleted"] is True
    assert alice.post("/v1/conversations", **empty).status_code == 200


def test_retrieve_shows_what_was_said_so_far(alice: Person, resources: Resources) -> None:
    response = ask(alice, metadata={"a": "b"})
    hand = Hand(resources, uuid_of(response["id"]))
    hand.say(Token("Hel"))
    shown = alice.get(f"/v1/responses/{response['id']}").json
    assert (shown["status"], shown["output"][0]["content"][0]["text"]) == ("in_progress", "Hel")
    assert (shown["metadata"], "output_text" in shown) == ({"a": "b"}, False)


def test_a_response_is_followed_natively_and_a_generation_as_a_response(alice: Person, resources: Resources) -> None:
    response = finished(alice, resources)
    native = alice.get(f"/api/v1/generations/{uuid_of(response['id'])}").json
    assert (native["content"], native["status"]) == ("Hello", "completed")
    assert (
        alice.get(f"/api/v1/conversations/{native['conversation_id']}/messages").json["items"][0]["content"] == "Hello"
    )
    started = alice.start("Natively")
    Hand(resources, started["generation"]["id"]).run("Hi")
    shown = alice.get(f"/v1/responses/resp_{started['generation']['id'].replace('-', '')}").json
    assert (shown["status"], shown["output"][0]["content"][0]["text"]) == ("completed", "Hi")
    assert shown["conversation"]["id"] == f"conv_{started['conversation']['id'].replace('-', '')}"
    items = alice.get(f"/v1/conversations/{shown['conversation']['id']}/items?order=asc").json["data"]
    assert [item["role"] for item in items] == ["user", "assistant"]
    assert items[1] == shown["output"][0]


def test_several_items_become_the_conversation_they_are(alice: Person) -> None:
    said = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "One"}]},
        {"type": "message", "role": "assistant", "id": "msg_x", "status": "completed",
         "content": [{"type": "output_text", "text": "Two", "annotations": []}]},
        {"role": "user", "content": "Three"},
    ]  # fmt: skip
    response = ask(alice, input=said)
    native = alice.get(f"/api/v1/generations/{uuid_of(response['id'])}").json
    messages = alice.get(f"/api/v1/conversations/{native['conversation_id']}/messages").json["items"]
    assert [(m["role"], m["content"]) for m in messages][:3] == [
        ("user", "One"),
        ("assistant", "Two"),
        ("user", "Three"),
    ]
    listed = alice.get(f"/v1/responses/{response['id']}/input_items?order=asc").json["data"]
    assert [item["role"] for item in listed] == ["system", "user", "assistant", "user"]
    assert listed[2]["content"] == [{"annotations": [], "logprobs": [], "type": "output_text", "text": "Two"}]


def test_an_item_can_be_referred_to(alice: Person, resources: Resources) -> None:
    first = finished(alice, resources)
    answer = alice.get(f"/v1/responses/{first['id']}").json["output"][0]
    second = ask(alice, input=[{"type": "item_reference", "id": answer["id"]}, {"role": "user", "content": "More"}])
    listed = alice.get(f"/v1/responses/{second['id']}/input_items?order=asc").json["data"]
    assert [item["content"][0]["text"] for item in listed] == ["Hello", "More"]


def test_every_item_of_a_message_that_has_thousands_is_found_by_its_id_and_can_be_taken_out(alice: Person) -> None:
    made = alice.post("/v1/conversations", json={}).json["id"]
    said = [{"role": "system", "content": str(n)} for n in range(4098)]
    body = {"model": "offline", "input": said, "conversation": made, "background": True}
    assert alice.post("/v1/responses", json=body).status_code == 200
    path = f"/v1/conversations/{made}/items"
    last, *_, before = alice.get(f"{path}?limit=3").json["data"]
    assert [one["content"][0]["text"] for one in (last, before)] == ["4097", "4095"]
    for one in (last, before):
        assert alice.get(f"{path}/{one['id']}").json == one
        assert alice.delete(f"{path}/{one['id']}").status_code == 200
        assert alice.get(f"{path}/{one['id']}").status_code == 404


def test_no_more_than_a_hundred_items_can_be_referred_to(alice: Person, resources: Resources) -> None:
    answer = alice.get(f"/v1/responses/{finished(alice, resources)['id']}").json["output"][0]
    reference, asked = {"type": "item_reference", "id": answer["id"]}, {"role": "user", "content": "More"}
    refused = alice.post("/v1/responses", json={**BACKGROUND, "input": [*[reference] * 101, asked]})
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "input")
    assert ask(alice, input=[*[reference] * 100, asked])["status"] == "queued"


def test_an_empty_conversation_is_not_shown_natively_until_something_is_said(alice: Person) -> None:
    conversation = alice.post("/v1/conversations", json={"metadata": {"a": "b"}}).json
    native = f"/api/v1/conversations/{uuid_of(conversation['id'])}"
    assert alice.get(native).status_code == 404
    assert alice.get(f"/v1/conversations/{conversation['id']}/items").json["data"] == []
    response = ask(alice, conversation=conversation["id"])
    assert alice.get(native).json["metadata"] == {"a": "b"}
    assert alice.get(f"/v1/conversations/{conversation['id']}").json == conversation
    assert alice.get(f"/v1/conversations/{conversation['id']}/items").json["data"][0]["content"][0]["text"] == "Hello"
    alice.post(f"/v1/responses/{response['id']}/cancel")


def test_a_response_behind_a_running_one_waits_for_its_turn(alice: Person, resources: Resources) -> None:
    first = ask(alice)
    second = ask(alice, previous_response_id=first["id"], input="And?")
    assert second["status"] == "queued"
    Hand(resources, uuid_of(first["id"])).run("One")
    generation = resources.openai_responses.find(resources.users.user(alice.subject, None), uuid_of(second["id"])).row
    turns = resources.history.context(generation.conversation_id, generation.user_message_id)
    assert [turn.content for turn in turns] == ["Hello", "One", "And?"]


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    ({"model": None}, "model"),
    ({"model": 7}, "model"),
    ({"input": None}, None),
    ({"input": []}, "input"),
    ({"input": [7]}, "input[0]"),
    ({"input": [{"role": "pirate", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].file_id"),
    ({"input": [{"role": "user", "content": [{"type": []}]}]}, "input[0].content[0].type"),
    ({"input": [{"type": {"a": 1}}]}, "input[0].type"),
    ({"input": [{"type": "function_call", "call_id": 1}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "x"}]}, "input[0].output"),
    ({"input": "nul \0"}, None),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
    ({"temperature": 3}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [7]}, "tools[0]"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f"}], "tool_choice": "maybe"}, "tool_choice"),
    ({"tools": [{"type": "function", "name": "f", "parameters": {"n": 2**70}}]}, None),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": 7}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
    ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "text.format.name"),
    ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "no"}}}}, "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "name": "a", "strict": True, "schema": {}}}}, "text.format.schema"),
    ({"conversation": 7}, None),
    ({"conversation": {}}, "conversation"),
    ({"conversation": "conv_x", "previous_response_id": "resp_x"}, "previous_response_id"),
    ({"reasoning": {"effort": {"a": ["\0"]}}}, None),
]


@pytest.mark.parametrize(("change", "param"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_makes_no_sense_is_refused_by_name(alice: Person, change: dict[str, Any], param: str | None) -> None:
    answer = alice.post("/v1/responses", json={**BACKGROUND, **change})
    assert answer.status_code == 400, answer.text
    error = answer.json["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    if param is not None:
        assert error["param"] == param


def test_depth_and_broken_json_are_refused(alice: Person) -> None:
    deep = '{"model":"offline","input":"x","text":' + '{"a":' * 300 + "1" + "}" * 300 + "}"
    for body in (deep, "[" * 100_000, "{", '{"model": 1e999}', '"x"', b"\xff"):
        answer = alice.post("/v1/responses", data=body, content_type="application/json")
        assert answer.status_code == 400, answer.text
        assert answer.json["error"]["message"]


def test_everything_openai_documents_is_accepted(alice: Person) -> None:
    ask(
        alice,
        include=["reasoning.encrypted_content"], stream_options={"include_obfuscation": False}, max_tool_calls=3,
        top_logprobs=0, safety_identifier="s", prompt_cache_key="k", prompt_cache_retention="24h", service_tier="auto",
        truncation="auto", store=False, user="u", parallel_tool_calls=True, tool_choice="auto", tools=[], prompt=None,
        conversation=None, previous_response_id=None, reasoning={"effort": "low", "summary": "auto"}, metadata={},
        text={"format": {"type": "text"}, "verbosity": "low"}, stream=None,
    )  # fmt: skip


def test_every_refusal_has_openais_form(alice: Person, app: OpenAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    anybody = app.test_client()
    answers = [
        (anybody.get("/v1/models"), 401),
        (anybody.get("/v1/nowhere"), 404),
        (alice.get("/v1/responses/resp_x"), 404),
        (alice.patch("/v1/responses"), 405),
        (alice.post("/v1/responses", data=b"x" * 23_000_000, content_type="application/json"), 413),
        (alice.post("/v1/responses", data=b"x", content_type="text/plain"), 415),
        (alice.get("/v1/responses/resp_x/input_items?limit=1000"), 400),
    ]
    for answer, status in answers:
        assert answer.status_code == status, answer.text
        assert answer.content_type == "application/json"
        assert set(answer.json) == {"error"}
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
        assert answer.json["error"]["message"]
        assert answer.headers["x-request-id"]


def test_a_mistake_of_ours_is_a_500_in_openais_form(make_app: Any) -> None:
    broken = make_app()

    @broken.get("/v1/broken")
    def fail() -> None:
        raise RuntimeError("a mistake")

    answer = broken.test_client().get("/v1/broken")
    assert (answer.status_code, answer.json["error"]["type"]) == (500, "server_error")


@pytest.fixture
def without_upstream(database_url: str, valkey: Valkey) -> Iterator[OpenAPI]:
    from app.api.application import create_app

    made = create_app(make_settings(database_url, valkey.url()))
    yield made
    made.extensions[EXTENSION].close()


def test_an_unknown_model_is_not_found(alice: Person) -> None:
    answer = alice.post("/v1/responses", json={**BACKGROUND, "model": "gpt-unknown"})
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "model_not_found")
    assert alice.post("/api/v1/generations", json={"message": "x", "model": "gpt-unknown"}).status_code == 422


def test_the_document_has_every_route_and_its_refusals(app: OpenAPI) -> None:
    document = app.test_client().get("/openapi.json").json
    for path in (
        "/v1/responses", "/v1/responses/{response_id}", "/v1/responses/{response_id}/cancel",
        "/v1/responses/{response_id}/input_items", "/v1/conversations", "/v1/conversations/{conversation_id}/items",
        "/v1/conversations/{conversation_id}/items/{item_id}", "/v1/chat/completions", "/v1/models",
        "/v1/models/{model}",
    ):  # fmt: skip
        assert path in document["paths"]
    refusal = document["paths"]["/v1/responses"]["post"]["responses"]["404"]["content"]["application/json"]["schema"]
    assert refusal["$ref"].endswith("/OpenAIError")


def test_users_share_no_keys_and_routes_share_no_keys(alice: Person, app: OpenAPI) -> None:
    key = {"Idempotency-Key": "the same"}
    bob = Person(app.test_client(), f"bob-{uuid4().hex[:8]}")
    first = alice.post("/v1/responses", json=BACKGROUND, headers=key).json["id"]
    assert alice.post("/v1/responses", json=BACKGROUND, headers=key).json["id"] == first
    assert bob.post("/v1/responses", json=BACKGROUND, headers=key).json["id"] != first
    assert alice.post("/api/v1/generations", json={"message": "Hello"}, headers=key).status_code == 202
    reused = alice.post("/v1/responses", json={**BACKGROUND, "input": "Other"}, headers=key)
    assert (reused.status_code, reused.json["error"]["param"]) == (422, "Idempotency-Key")


def test_another_users_conversation_is_not_there(alice: Person, app: OpenAPI, process: WebProcess) -> None:
    conversation = alice.post("/v1/conversations", json={}).json["id"]
    bob = Person(app.test_client(), f"bob-{uuid4().hex[:8]}")
    for answer in (
        bob.get(f"/v1/conversations/{conversation}"),
        bob.delete(f"/v1/conversations/{conversation}"),
        bob.post(f"/v1/conversations/{conversation}", json={"metadata": {}}),
        bob.post(f"/v1/conversations/{conversation}/items", json={"items": [{"role": "user", "content": "x"}]}),
        bob.post("/v1/responses", json={**BACKGROUND, "conversation": conversation}),
    ):
        assert answer.status_code == 404, answer.text
    assert alice.get(f"/v1/conversations/{conversation}").status_code == 200
