"""The routes of the AI SDK, requested in the form of its transport."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from werkzeug.test import TestResponse

from app.domain.events import Mark, Reasoning, Token, Tool
from app.services.finishing import Ending
from app.wiring import Resources
from tests.unit.aisdk.client import Client, chunks

from .conftest import Hand, Person, row_counts


def said(words: str, name: str | None = None, role: str = "user") -> dict[str, Any]:
    """A UIMessage with one part of text."""
    return {"id": name or uuid4().hex[:16], "role": role, "parts": [{"type": "text", "text": words}]}


def output(value: Any) -> dict[str, Any]:
    """An assistant's message with the output of a tool that the client has run."""
    call = {"type": "dynamic-tool", "toolName": "t", "toolCallId": "c", "state": "output-available", "input": {}}
    return {"id": "m", "role": "assistant", "parts": [{**call, "output": value}]}


def send(person: Person, chat: str, *messages: dict[str, Any], **body: Any) -> TestResponse:
    """Post a chat in the form of the SDK's sendMessage."""
    return person.post("/api/chat", json={"id": chat, "messages": list(messages), "trigger": "submit-message", **body})


def read(answer: TestResponse) -> Client:
    """Read the whole body with the client of the AI SDK's protocol."""
    assert answer.status_code == 200, answer.text
    return Client().read(answer.get_data(), resumed=True)


def begun(answer: TestResponse) -> dict[str, Any]:
    """The start chunk of a stream. The rest of the stream is not read."""
    assert answer.status_code == 200, answer.text
    start: dict[str, Any] = chunks(next(iter(answer.response)))[0]
    assert start["type"] == "start"
    return start


def generation_of(answer: TestResponse) -> str:
    found: str = begun(answer)["messageMetadata"]["generation_id"]
    return found


def content(person: Person, generation_id: str) -> dict[str, Any]:
    found: dict[str, Any] = person.get(f"/api/v1/generations/{generation_id}").json
    return found


def thread(person: Person, chat: str) -> list[tuple[str, str]]:
    """Role and text of each message in the history that useChat loads."""
    shown = person.get(f"/api/chat/{chat}").json["messages"]
    return [(m["role"], "".join(p["text"] for p in m["parts"] if p["type"] == "text")) for m in shown]


def ask_and_answer(person: Person, resources: Resources, chat: str, question: dict[str, Any], *words: str) -> str:
    """Send a question and answer it with these words. Returns the generation's id."""
    made = generation_of(send(person, chat, question))
    Hand(resources, made).run(*words)
    return made


@pytest.fixture
def chat() -> str:
    return f"chat-{uuid4().hex[:8]}"


def test_a_message_is_answered_as_a_ui_message_stream(alice: Person, resources: Resources, chat: str):
    answer = send(alice, chat, said("hello"))
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    body = iter(answer.response)
    start, step = chunks(next(body))
    assert step == {"type": "start-step"}
    generation = content(alice, start["messageMetadata"]["generation_id"])
    assert start["messageId"] == generation["message_id"]
    Hand(resources, generation["id"]).run("Hel", "lo")
    rest = chunks(b"".join(body))
    assert [c["type"] for c in rest] == [
        "text-start", "text-delta", "text-delta", "text-end", "finish-step", "finish", "[DONE]",
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["whole", "reduced"])
def test_both_bodies_are_understood(alice: Person, resources: Resources, chat: str, form: str):
    first, second = said("one"), said("two")
    ask_and_answer(alice, resources, chat, first, "1")
    body = {"id": chat, "messages": [first, second]} if form == "whole" else {"id": chat, "message": second}
    made = generation_of(alice.post("/api/chat", json=body))
    Hand(resources, made).run("2")
    assert thread(alice, chat) == [("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2")]


def test_the_same_message_posted_again_attaches_to_its_answer(alice: Person, resources: Resources, chat: str):
    question = said("once")
    made = ask_and_answer(alice, resources, chat, question, "only")
    before = row_counts(resources)
    again = read(send(alice, chat, question))
    assert again.text() == "only"
    assert again.answer["id"] == content(alice, made)["message_id"]
    assert row_counts(resources) == before


def test_resuming_tells_everything_from_the_first_chunk(alice: Person, resources: Resources, chat: str):
    answer = send(alice, chat, said("hello"))
    hand = Hand(resources, generation_of(answer))
    hand.say(Reasoning("hm "), Token("half "))
    body = iter(alice.get(f"/api/chat/{chat}/stream").response)
    seen = [next(body), next(body)]
    hand.say(Token("and half"))
    hand.finish()
    resumed = b"".join([*seen, *body])
    assert Client().read(resumed).text() == "half and half"
    first = b"".join(answer.response)
    assert resumed.endswith(first), "the same chunks, in the same bytes"


def test_two_readers_are_told_the_same(alice: Person, resources: Resources, chat: str):
    made = generation_of(send(alice, chat, said("hello")))
    readers = [alice.get(f"/api/chat/{chat}/stream") for _ in range(2)]
    Hand(resources, made).run("x", "y")
    first, second = (reader.get_data() for reader in readers)
    assert first == second


def test_nothing_to_resume_is_204_for_everybody_alike(alice: Person, bob: Person, resources: Resources, chat: str):
    send(alice, chat, said("hello")).close()
    assert alice.get(f"/api/chat/{uuid4()}/stream").status_code == 204
    assert bob.get(f"/api/chat/{chat}/stream").status_code == 204
    assert bob.get(f"/api/chat/{chat}").json == {"id": chat, "messages": []}


def test_another_users_chat_of_the_same_id_is_another_conversation(
    alice: Person, bob: Person, resources: Resources, chat: str
):
    ask_and_answer(alice, resources, chat, said("alice's", "m1"), "for alice")
    ask_and_answer(bob, resources, chat, said("bob's", "m1"), "for bob")
    assert thread(alice, chat) == [("user", "alice's"), ("assistant", "for alice")]
    assert thread(bob, chat) == [("user", "bob's"), ("assistant", "for bob")]


def test_another_user_cannot_stop_an_answer(alice: Person, bob: Person, resources: Resources, chat: str):
    made = generation_of(send(alice, chat, said("hello")))
    assert bob.post(f"/api/chat/{chat}/stop").json == {"success": True}
    assert content(alice, made)["status"] == "queued"


def test_a_finished_answer_is_told_again_for_some_minutes(alice: Person, resources: Resources, chat: str):
    made = ask_and_answer(alice, resources, chat, said("hello"), "all of it")
    again = read(alice.get(f"/api/chat/{chat}/stream"))
    assert (again.text(), again.status) == ("all of it", "ready")
    with resources.database.system() as tx:
        tx.execute(
            text("UPDATE generations SET finished_at = now() - interval '6 minutes' WHERE id = :id"), {"id": made}
        )
    assert alice.get(f"/api/chat/{chat}/stream").status_code == 204


def test_once_something_newer_was_said_the_older_answer_is_not_told_again(
    alice: Person, resources: Resources, chat: str
):
    ask_and_answer(alice, resources, chat, said("one"), "1")
    second = generation_of(send(alice, chat, said("two")))
    answer = begun(alice.get(f"/api/chat/{chat}/stream"))
    assert answer["messageMetadata"]["generation_id"] == second


def test_a_failed_answer_is_told_again_as_failed(alice: Person, resources: Resources, chat: str):
    made = generation_of(send(alice, chat, said("hello")))
    hand = Hand(resources, made)
    hand.say(Token("half"))
    error = {"code": "upstream_rejected", "message": "It was refused."}
    resources.finisher.finish(hand.claimed, hand.payloads, hand.transcript, Ending("error", "error", None, error), [])
    again = read(alice.get(f"/api/chat/{chat}/stream"))
    assert (again.text(), again.status, again.error) == ("half", "error", "It was refused.")


def test_stop_stops_the_generation_and_then_there_is_nothing_to_resume(alice: Person, resources: Resources, chat: str):
    answer = send(alice, chat, said("hello"))
    made = generation_of(answer)
    Hand(resources, made).say(Token("half"))
    assert alice.post(f"/api/chat/{chat}/stop", json={"activeStreamId": "x"}).json == {"success": True}
    assert content(alice, made)["status"] == "cancelled"
    rest = chunks(b"".join(answer.response))
    assert [c["type"] for c in rest][-2:] == ["abort", "[DONE]"]
    assert alice.get(f"/api/chat/{chat}/stream").status_code == 204
    assert alice.post(f"/api/chat/{chat}/stop").json == {"success": True}
    assert thread(alice, chat) == [("user", "hello"), ("assistant", "half")]


def test_a_closed_connection_stops_nothing(alice: Person, resources: Resources, chat: str):
    answer = send(alice, chat, said("hello"))
    made = generation_of(answer)
    answer.close()
    Hand(resources, made).run("still ", "here")
    assert read(alice.get(f"/api/chat/{chat}/stream")).text() == "still here"


@pytest.mark.parametrize("named", ["answer", "question", "nothing"])
def test_regenerating_answers_the_same_message_on_a_new_branch(
    alice: Person, resources: Resources, chat: str, named: str
):
    question = said("hello")
    first = ask_and_answer(alice, resources, chat, question, "first")
    ids = {"answer": content(alice, first)["message_id"], "question": question["id"], "nothing": None}
    body = {"trigger": "regenerate-message", "messageId": ids[named]}
    second = generation_of(send(alice, chat, question, **body))
    Hand(resources, second).run("second")
    assert second != first
    assert thread(alice, chat) == [("user", "hello"), ("assistant", "second")]
    assert content(alice, second)["user_message_id"] == content(alice, first)["user_message_id"]


def test_regenerating_what_never_arrived_sends_it(alice: Person, resources: Resources, chat: str):
    made = generation_of(send(alice, chat, said("lost"), trigger="regenerate-message"))
    Hand(resources, made).run("found")
    assert thread(alice, chat) == [("user", "lost"), ("assistant", "found")]


def test_an_edited_message_begins_a_branch_and_a_retry_of_it_attaches(alice: Person, resources: Resources, chat: str):
    first = said("one", "m1")
    ask_and_answer(alice, resources, chat, first, "1")
    ask_and_answer(alice, resources, chat, said("two", "m2"), "2")
    edited = said("one, but better", "m1")
    made = generation_of(send(alice, chat, edited, messageId="m1"))
    Hand(resources, made).run("1!")
    assert thread(alice, chat) == [("user", "one, but better"), ("assistant", "1!")]
    before = row_counts(resources)
    assert generation_of(send(alice, chat, edited, messageId="m1")) == made
    assert row_counts(resources) == before
    back = generation_of(send(alice, chat, first, messageId="m1"))
    assert back != made


def test_a_new_message_while_an_answer_is_made_takes_its_place(alice: Person, resources: Resources, chat: str):
    first = generation_of(send(alice, chat, said("one")))
    second = generation_of(send(alice, chat, said("two")))
    assert content(alice, first)["status"] == "cancelled"
    third = send(alice, chat, said("three"), on_busy="reject")
    assert third.status_code == 409
    assert third.json["type"] == "/problems/conversation-busy"
    assert content(alice, second)["status"] == "queued"


def test_a_history_from_elsewhere_comes_along(alice: Person, resources: Resources, chat: str):
    history = [said("Be kind.", role="system"), said("one"), said("1", role="assistant"), said("two")]
    made = generation_of(send(alice, chat, *history))
    hand = Hand(resources, made)
    assert hand.claimed.parameters == {"instructions": "Be kind."}
    hand.run("2")
    assert thread(alice, chat) == [("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2")]


def test_a_message_behind_an_older_answer_follows_that_answer(alice: Person, resources: Resources, chat: str):
    question = said("hello", "q")
    first = ask_and_answer(alice, resources, chat, question, "first")
    Hand(resources, generation_of(send(alice, chat, question, trigger="regenerate-message"))).run("second")
    seen = said("first", content(alice, first)["message_id"], role="assistant")
    made = generation_of(send(alice, chat, question, seen, said("and?")))
    Hand(resources, made).run("so")
    assert thread(alice, chat) == [("user", "hello"), ("assistant", "first"), ("user", "and?"), ("assistant", "so")]


def test_a_conversation_of_ours_is_a_chat_under_its_own_id(alice: Person, resources: Resources):
    made = alice.start("native")
    Hand(resources, made["generation"]["id"]).run("yes")
    chat = made["conversation"]["id"]
    assert read(alice.get(f"/api/chat/{chat}/stream")).text() == "yes"
    ask_and_answer(alice, resources, chat, said("more"), "and more")
    assert thread(alice, chat) == [
        ("user", "native"),
        ("assistant", "yes"),
        ("user", "more"),
        ("assistant", "and more"),
    ]


def test_a_deleted_conversation_frees_its_chat_id(alice: Person, resources: Resources, chat: str):
    made = ask_and_answer(alice, resources, chat, said("gone"), "gone")
    alice.delete(f"/api/v1/conversations/{content(alice, made)['conversation_id']}")
    assert thread(alice, chat) == []
    ask_and_answer(alice, resources, chat, said("new"), "new")
    assert thread(alice, chat) == [("user", "new"), ("assistant", "new")]


def test_an_answer_goes_on_when_the_client_has_run_its_tools(alice: Person, resources: Resources, chat: str):
    question = said("weather?")
    tools = {"weather": {"description": "Looks outside", "parameters": {"type": "object"}}}
    first = generation_of(send(alice, chat, question, tools=tools))
    hand = Hand(resources, first)
    (function,) = hand.claimed.parameters["tools"]
    assert function["function"]["name"] == "weather"
    hand.say(Token("I look."), Tool("c1", "weather", "started", '{"city":"Bonn"}'))
    usage = {"input_tokens": 1, "output_tokens": 1}
    hand.say(Mark("tool_calls", usage))
    resources.finisher.finish(
        hand.claimed, hand.payloads, hand.transcript, Ending("completed", "tool_calls", usage), []
    )
    answer = read(alice.get(f"/api/chat/{chat}/stream")).answer
    assert answer["parts"][-1]["state"] == "input-available"

    # The client's addToolOutput, and the request of its sendAutomaticallyWhen.
    answer["parts"][-1] |= {"state": "output-available", "output": {"sky": "blue"}}
    posted = send(alice, chat, question, answer, messageId=answer["id"])
    start = begun(posted)
    assert start["messageId"] == answer["id"], "it is the same message to the client"
    second = start["messageMetadata"]["generation_id"]
    assert generation_of(send(alice, chat, question, answer)) == second, "a retry attaches"
    Hand(resources, second).run("Blue.")

    replayed = read(alice.get(f"/api/chat/{chat}/stream"))
    assert replayed.answer["id"] == answer["id"]
    assert [part["type"] for part in replayed.answer["parts"]] == [
        "step-start", "text", "dynamic-tool", "step-start", "text",
    ]  # fmt: skip
    assert replayed.answer["parts"][2]["output"] == {"sky": "blue"}
    assert replayed.text() == "I look.Blue."
    shown = alice.get(f"/api/chat/{chat}").json["messages"]
    assert [m["id"] for m in shown] == [question["id"], answer["id"]]
    assert shown[1]["parts"][2]["output"] == {"sky": "blue"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": [said("x")]}, 422),
        ({"id": "a"}, 422),
        ({"id": "a", "messages": []}, 422),
        ({"id": "a", "messages": [{"id": "m", "role": "user", "parts": []}]}, 422),
        ({"id": "a", "messages": [said(" ")]}, 422),
        ({"id": "a", "messages": [said("\0")]}, 422),
        ({"id": "a\0", "messages": [said("x")]}, 422),
        ({"id": "a", "messages": [said("x" * 10_001)]}, 422),
        ({"id": "a", "messages": [said("x")], "trigger": "resume-stream"}, 422),
        ({"id": "a", "messages": [said("x")], "model": "no-such-model"}, 422),
        ({"id": "a", "messages": [{**said("x"), "parts": [{"type": "file", "url": "data:,"}]}]}, 422),
        ({"id": "a", "messages": [{**said("x"), "role": "assistant"}]}, 422),
        ({"id": "a", "messages": [{**said("x"), "role": "system"}]}, 422),
        ({"id": "a", "messages": [said("x")], "tools": {"t": {"description": "\0"}}}, 422),
        ({"id": "a", "messages": [said("x")], "tools": {"t": {"parameters": {"maximum": 2**70}}}}, 422),
        ({"id": "a", "messages": [output("\0")]}, 422),
        ({"id": "a", "messages": [output({"half": "\ud800"})]}, 422),
        ({"id": "a", "messages": [output("of nobody's call")]}, 422),
        ({"id": "a", "messages": [output(2**70), {**said("be kind"), "role": "system"}]}, 422),
        ({"id": "a", "messages": [said("x" * 10_001), {**said("be kind"), "role": "system"}]}, 422),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(alice: Person, body: dict[str, Any], status: int):
    answer = alice.post("/api/chat", json=body)
    assert answer.status_code == status, answer.text
    assert json.loads(answer.text)["detail"], "the SDK shows the body as it is"


def test_nobody_is_answered_without_a_token(anybody: Any, chat: str):
    assert anybody.post("/api/chat", json={"id": chat, "messages": [said("x")]}).status_code == 401
    assert anybody.get(f"/api/chat/{chat}/stream").status_code == 401
    assert anybody.post(f"/api/chat/{chat}/stop").status_code == 401


@pytest.mark.parametrize("odd", ["with space", "a/b", "ü", "..", "a%2Fb", "x" * 200])
def test_chat_ids_are_whatever_the_client_likes(alice: Person, resources: Resources, odd: str):
    from urllib.parse import quote

    chat = odd[:190] + uuid4().hex[:8] if odd != ".." else odd
    made = generation_of(send(alice, chat, said("hello")))
    Hand(resources, made).run("yes")
    if odd != "..":
        assert read(alice.get(f"/api/chat/{quote(chat, safe='')}/stream")).text() == "yes"


def test_the_longest_chat_id_has_its_limit(alice: Person):
    assert send(alice, "x" * 201, said("hello")).status_code == 422
    assert alice.get(f"/api/chat/{'x' * 201}/stream").status_code in (204, 404)
