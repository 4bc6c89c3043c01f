"""An exported conversation is imported without a change. An invalid document is refused, and leaves no rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask_openapi3.openapi import OpenAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.domain.events import Token, Tool
from app.wiring import Resources
from tests.factories import add_conversation, insert, new_id, owner

from .conftest import Hand, Person, row_counts

IMPORT = "/api/v1/conversations/import"
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
NAMES = st.text(st.sampled_from("abcxyz_-/:é"), min_size=1, max_size=20)
TIMES = st.integers(0, 10**15).map(
    lambda us: (datetime(1971, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()
)
TOKENS = st.integers(0, 10**12)
ITEMS = st.one_of(
    st.none(),
    st.fixed_dictionaries({"type": st.just("function_call"), "call_id": NAMES, "name": NAMES, "arguments": TEXTS}),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": NAMES, "output": TEXTS}),
    st.builds(
        lambda text: {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}, TEXTS
    ),
)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A strategy for objects with some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """An exported conversation with branches, in the service's form: empty fields are left out."""
    messages = []
    for number in range(1, draw(st.integers(1, 8)) + 1):
        earlier = st.integers(1, number - 1) if number > 1 else st.none()
        messages.append(
            {
                "parent": draw(st.none() | earlier),
                "role": draw(st.sampled_from(["user", "assistant"])),
                "status": draw(st.sampled_from(["completed", "error", "cancelled"])),
                "content": draw(TEXTS),
                "created_at": draw(TIMES),
                **draw(
                    optional(
                        reasoning=TEXTS.filter(bool),
                        model=NAMES,
                        client_msg_id=NAMES,
                        metadata=st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3),
                        usage=optional(input_tokens=TOKENS, output_tokens=TOKENS, cost=st.floats(0, 1e6)).filter(bool),
                        items=st.lists(ITEMS, min_size=1, max_size=3),
                        tools=st.lists(
                            st.fixed_dictionaries(
                                {
                                    "call_id": NAMES,
                                    "tool": NAMES,
                                    "state": st.sampled_from(["started", "finished", "failed"]),
                                    "arguments": TEXTS,
                                    "result": st.none() | TEXTS,
                                }
                            ),
                            min_size=1,
                            max_size=2,
                        ),
                    )
                ),
            }
        )
    past = {
        "title": draw(st.none() | NAMES),
        "model": draw(st.none() | NAMES),
        "metadata": draw(st.dictionaries(NAMES, TEXTS, max_size=3)),
        "created_at": draw(TIMES),
        "archived_at": draw(st.none() | TIMES),
        **draw(
            optional(
                pinned=st.just(True),
                tags=st.lists(NAMES, min_size=1, max_size=3, unique=True),
                system_prompt=TEXTS.filter(bool),
                parameters=optional(max_tokens=st.integers(1, 10**6), temperature=st.floats(0, 2)).filter(bool),
            )
        ),
    }
    return {"format": "unbroken.conversation", "version": 1, "conversation": past, "messages": messages}


def canonical(document: dict[str, Any]) -> dict[str, Any]:
    """The document with each time as a datetime, so that equal times in different forms are equal."""

    def times(part: dict[str, Any]) -> dict[str, Any]:
        return {n: datetime.fromisoformat(v) if n.endswith("_at") and v else v for n, v in part.items()}

    messages = [times(message) for message in document["messages"]]
    return {**document, "conversation": times(document["conversation"]), "messages": messages}


def bring(person: Person, document: dict[str, Any]) -> dict[str, Any]:
    answer = person.post(IMPORT, json=document)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    assert answer.headers["Location"].endswith(f"/api/v1/conversations/{found['id']}")
    return found


def take(person: Person, conversation_id: str, **query: str) -> Any:
    answer = person.get(f"/api/v1/conversations/{conversation_id}/export", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer


def sample() -> dict[str, Any]:
    """A small document."""
    at = "2026-01-01T00:00:00Z"
    messages = [
        {"parent": None, "role": "user", "status": "completed", "content": "Hello", "created_at": at},
        {"parent": 1, "role": "assistant", "status": "completed", "content": "Hi", "created_at": at},
    ]
    past = {"title": "T", "model": None, "metadata": {}, "created_at": at, "archived_at": None}
    return {"format": "unbroken.conversation", "version": 1, "conversation": past, "messages": messages}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(document=documents())
def test_what_was_brought_in_is_taken_out_the_same_and_again_byte_for_byte(app: OpenAPI, document: dict[str, Any]):
    person = Person(app.test_client(), "traveller")
    first = take(person, bring(person, document)["id"])
    assert canonical(json.loads(first.data)) == canonical(document)
    again = take(person, bring(person, first.json)["id"])
    assert again.data == first.data


def test_a_conversation_held_here_goes_through_and_can_be_continued(alice: Person, bob: Person, resources: Resources):
    made = alice.start("one", metadata={"colour": "blue"})
    hand = Hand(resources, made["generation"]["id"])
    hand.say(Token("tick"), Tool("c1", "clock", "finished", "{}", "noon"))
    hand.finish()
    again = alice.post(f"/api/v1/messages/{made['generation']['message_id']}/regenerate").json
    Hand(resources, again["generation"]["id"]).run("tock")
    exported = take(alice, made["conversation"]["id"])
    assert exported.headers["Content-Disposition"].startswith("attachment; filename=")
    assert [m["parent"] for m in exported.json["messages"]] == [None, 1, 1]
    theirs = bring(bob, exported.json)
    assert take(bob, theirs["id"]).data == exported.data
    items = bob.get(f"/api/v1/conversations/{theirs['id']}/messages").json["items"]
    assert [m["content"] for m in items] == ["one", "tick", "tock"]
    assert items[1]["parent_id"] == items[2]["parent_id"] == items[0]["message_id"]
    assert items[0]["metadata"] == {"colour": "blue"}
    assert bob.get("/api/v1/conversations").json["items"][0]["preview"] == "tock"
    more = bob.start("two", conversation_id=theirs["id"])
    assert more["message"]["parent_id"] == items[2]["message_id"]


def test_an_answer_in_the_making_comes_back_as_cancelled(alice: Person):
    exported = take(alice, alice.start("wait")["conversation"]["id"]).json
    assert exported["messages"][1]["status"] == "queued"
    again = take(alice, bring(alice, exported)["id"]).json
    assert again["messages"][1]["status"] == "cancelled"


def test_markdown_is_one_branch_to_be_read(alice: Person, resources: Resources):
    made = alice.start("What is it?", model="offline-fast")
    conversation = made["conversation"]["id"]
    Hand(resources, made["generation"]["id"]).run("A **tick**.")
    again = alice.post(f"/api/v1/messages/{made['generation']['message_id']}/regenerate").json
    Hand(resources, again["generation"]["id"]).run("A tock.")
    alice.patch(f"/api/v1/conversations/{conversation}", json={"title": "Clocks"})
    newest = take(alice, conversation, format="md")
    assert newest.content_type == "text/markdown; charset=utf-8"
    assert newest.text.startswith("# Clocks\n\n## You\n")
    assert "A tock." in newest.text
    assert "tick" not in newest.text
    other = take(alice, conversation, format="md", branch=made["generation"]["message_id"]).text
    assert "## offline-fast" in other
    assert "A **tick**." in other
    assert "tock" not in other


def test_markdown_closes_a_code_block_that_a_message_leaves_open(alice: Person, resources: Resources):
    made = alice.start("```\nmy log", model="offline-fast")
    conversation = made["conversation"]["id"]
    Hand(resources, made["generation"]["id"]).run("Here is code:\n\n```python\nfor i in x:")
    alice.post("/api/v1/generations", json={"conversation_id": conversation, "message": "And?", "model": "offline"})
    text = take(alice, conversation, format="md").text
    headings = [token.tag for token in MarkdownIt("commonmark").parse(text) if token.type == "heading_open"]
    assert headings == ["h1", "h2", "h2", "h2", "h2"]


def test_what_is_not_there_or_not_ones_own_is_not_exported(alice: Person, bob: Person):
    path = f"/api/v1/conversations/{alice.start()['conversation']['id']}/export"
    assert bob.get(path).status_code == 404
    assert bob.get(path, query_string={"format": "md"}).status_code == 404
    assert alice.get(path, query_string={"format": "md", "branch": new_id()}).status_code == 404
    assert alice.get(path, query_string={"format": "pdf"}).status_code == 422


def test_a_huge_conversation_leaves_in_parts(alice: Person, resources: Resources, module_database_url: str):
    user = alice.get("/api/v1/me").json["id"]
    with owner(module_database_url) as cursor:
        conversation, parent = add_conversation(cursor, user)
        for seq in range(2, 8):
            values = {"id": new_id(), "conversation_id": conversation, "user_id": user, "parent_id": parent, "seq": seq}
            insert(cursor, "messages", {**values, "role": "user", "status": "completed", "content": "x" * 2_000_000})
            parent = values["id"]
    answer = alice.get(f"/api/v1/conversations/{conversation}/export", buffered=False)
    sizes = [len(part) for part in answer.response]
    assert sum(sizes) > 12_000_000
    assert max(sizes) < 2_100_000


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = sample()
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d.update(version=2), "version"),
        (lambda d: d.update(format="other"), "format"),
        (lambda d: d.update(messages=[]), "messages"),
        (lambda d: d.update(messages=[d["messages"][0]] * 10_001), "messages"),
        (lambda d: d["messages"][0].update(parent=1), "messages"),
        (lambda d: d["messages"][0].update(parent=2), "messages"),
        (lambda d: d["messages"][1].update(parent=3), "messages"),
        (lambda d: d["messages"][1].update(parent=0), "messages.1.parent"),
        (lambda d: d["messages"][1].update(parent="1"), "messages.1.parent"),
        (lambda d: d["messages"][1].update(role="system"), "messages.1.role"),
        (lambda d: d["messages"][1].update(content="a\0b"), "messages.1.content"),
        (lambda d: d["messages"][1].update(content="\ud800"), "messages.1.content"),
        (lambda d: d["messages"][1].update(content="x" * 4_000_001), "messages.1.content"),
        (lambda d: d["messages"][1].update(created_at="2999-01-01T00:00:00Z"), "messages.1.created_at"),
        (lambda d: d["messages"][1].update(created_at="2026-01-01T00:00:00"), "messages.1.created_at"),
        (lambda d: d["messages"][1].update(created_at="0001-01-01T00:00:00+14:00"), "messages.1.created_at"),
        (lambda d: d["messages"][1].update(created_at=17), "messages.1.created_at"),
        (lambda d: d["messages"][1].update(usage={"input_tokens": -1}), "messages.1.usage.input_tokens"),
        (lambda d: d["messages"][1].update(usage={"other": 1}), "messages.1.usage.other"),
        (lambda d: d["messages"][1].update(tools=[{"call_id": "a"}]), "messages.1.tools.0.tool"),
        (lambda d: d["messages"][1].update(items=[{"type": "strange"}]), "messages.1.items.0.type"),
        (lambda d: d["messages"][1].update(items=[{"type": "item_reference", "id": "a"}]), "messages.1.items.0"),
        (lambda d: d["messages"][1].update(items=[{"type": "function_call"}]), "messages.1.items.0.call_id"),
        (lambda d: d["messages"][1].update(extra=1), "messages.1.extra"),
        (lambda d: d["conversation"].update(title=""), "conversation.title"),
        (lambda d: d["conversation"].update(metadata={"a": 1}), "conversation.metadata.a"),
    ],
)
def test_what_is_no_conversation_is_refused_by_name_and_leaves_nothing(
    alice: Person, resources: Resources, change: Callable[[dict[str, Any]], object], field: str
):
    before = row_counts(resources)
    body = json.dumps(broken(change))
    refused = alice.post(IMPORT, data=body, content_type="application/json")
    assert refused.status_code == 422, refused.text
    assert refused.json["errors"][0]["field"] == field
    assert row_counts(resources) == before


def test_an_import_may_be_larger_than_a_message_and_not_without_end(make_app: Any):
    app = make_app(max_body_bytes=2048)
    person = Person(app.test_client(), "mover")
    document = sample()
    document["messages"][1]["content"] = "x" * 100_000
    bring(person, document)
    too_large = person.post(IMPORT, data=b"[" + b" " * (33 * 1024 * 1024), content_type="application/json")
    assert too_large.status_code == 413
    assert person.post("/api/v1/generations", json={"message": "x" * 3000}).status_code == 413


def test_an_import_counts_as_a_new_conversation(make_app: Any):
    person = Person(make_app(ratelimit_new_conversations="1/minute").test_client(), "collector")
    bring(person, sample())
    refused = person.post(IMPORT, json=sample())
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert len(person.get("/api/v1/conversations").json["items"]) == 1


def test_an_import_sent_twice_under_one_key_makes_one_conversation(alice: Person, resources: Resources):
    headers = {"Idempotency-Key": "import-1"}
    first = alice.post(IMPORT, json=sample(), headers=headers)
    counts = row_counts(resources)
    again = alice.post(IMPORT, json=sample(), headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    # The import has made a change in the feed meanwhile.
    told = {"feed_seq": 1, "last_updated": again.json["last_updated"]}
    assert again.json == first.json | told
    assert again.headers["Location"] == first.headers["Location"]
    assert row_counts(resources) == counts


def test_a_key_of_an_import_belongs_to_its_document_and_to_its_user(alice: Person, bob: Person):
    headers = {"Idempotency-Key": "import-2"}
    first = alice.post(IMPORT, json=sample(), headers=headers).json
    other = broken(lambda document: document["messages"][0].update(content="something else"))
    refused = alice.post(IMPORT, json=other, headers=headers)
    assert refused.status_code == 422
    assert refused.content_type == "application/problem+json"
    theirs = bob.post(IMPORT, json=sample(), headers=headers)
    assert theirs.status_code == 201
    assert theirs.json["id"] != first["id"]


def test_a_key_of_an_import_is_not_one_of_a_message(alice: Person):
    headers = {"Idempotency-Key": "either"}
    assert alice.post("/api/v1/generations", json={"message": "hello"}, headers=headers).status_code == 202
    assert alice.post(IMPORT, json=sample(), headers=headers).status_code == 201


@pytest.mark.usefixtures("patient_locks")
def test_imports_sent_at_the_same_time_under_one_key_make_one_conversation(app: OpenAPI, alice: Person):
    def bring_once(_: int) -> tuple[int, str]:
        person = Person(app.test_client(), alice.subject)
        answer = person.post(IMPORT, json=sample(), headers={"Idempotency-Key": "at once"})
        return answer.status_code, answer.json["id"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(bring_once, range(8)))
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    assert len({id for _, id in answers}) == 1
    assert len(alice.get("/api/v1/conversations").json["items"]) == 1


def test_an_import_that_is_repeated_does_not_count_again(make_app: Any):
    alice = Person(make_app(ratelimit_new_conversations="1/minute").test_client(), "alice")
    headers = {"Idempotency-Key": "once"}
    answers = [alice.post(IMPORT, json=sample(), headers=headers).status_code for _ in range(3)]
    assert answers == [201, 200, 200]


@pytest.mark.parametrize("key", ["x" * 201, "a\tb"])
def test_what_is_no_key_of_an_import_is_refused(alice: Person, key: str):
    refused = alice.post(IMPORT, json=sample(), headers={"Idempotency-Key": key})
    assert refused.status_code == 422
    assert refused.json["errors"][0]["field"] == "Idempotency-Key"
