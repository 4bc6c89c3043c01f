"""One branch of a conversation: the path up to a message, and on to the newest message that follows it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from app.wiring import Resources

from .conftest import Hand, Person


@pytest.fixture
def tree(alice: Person, resources: Resources) -> dict[str, str]:
    """The ids of a tree's messages by their text, and of its "conversation": one ─ 1a ─ two ─ 2a, 2b; 1a ─ TWO ─ 2c."""
    made = alice.start("one")
    ids = {"conversation": made["conversation"]["id"], "one": made["message"]["message_id"]}

    def answer(begun: dict[str, Any], name: str) -> None:
        Hand(resources, begun["generation"]["id"]).run(name)
        ids[name] = begun["generation"]["message_id"]

    answer(made, "1a")
    second = alice.start("two", conversation_id=ids["conversation"])
    ids["two"] = second["message"]["message_id"]
    answer(second, "2a")
    edited = alice.post(f"/api/v1/messages/{ids['two']}/edit", json={"message": "TWO"}).json
    ids["TWO"] = edited["message"]["message_id"]
    answer(edited, "2c")
    answer(alice.post(f"/api/v1/messages/{ids['2a']}/regenerate").json, "2b")
    return ids


def path_of(tree: dict[str, str]) -> str:
    return f"/api/v1/conversations/{tree['conversation']}/messages"


@pytest.mark.parametrize(
    ("name", "branch"),
    [
        ("one", ["one", "1a", "two", "2b"]),
        ("1a", ["one", "1a", "two", "2b"]),
        ("two", ["one", "1a", "two", "2b"]),
        ("2a", ["one", "1a", "two", "2a"]),
        ("2b", ["one", "1a", "two", "2b"]),
        ("TWO", ["one", "1a", "TWO", "2c"]),
        ("2c", ["one", "1a", "TWO", "2c"]),
    ],
)
def test_a_branch_leads_through_a_message_to_its_newest_descendant(
    alice: Person, tree: dict[str, str], name: str, branch: list[str]
):
    page = alice.get(path_of(tree), query_string={"branch": tree[name]}).json
    assert [message["content"] for message in page["items"]] == branch
    assert page["next_seq"] is None


def test_a_branch_has_pages(alice: Person, tree: dict[str, str]):
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        query = {"branch": tree["2c"], "limit": 1, "after_seq": after}
        page = alice.get(path_of(tree), query_string=query).json
        seen += [message["content"] for message in page["items"]]
        after = page["next_seq"]
    assert seen == ["one", "1a", "TWO", "2c"]
    behind = alice.get(path_of(tree), query_string={"branch": tree["2c"], "after_seq": 1000}).json
    assert behind == {"items": [], "next_seq": None}


def test_without_it_there_is_everything(alice: Person, tree: dict[str, str]):
    assert len(alice.get(path_of(tree)).json["items"]) == 7


def test_what_is_not_in_this_conversation_is_not_there(alice: Person, bob: Person, tree: dict[str, str]):
    elsewhere = alice.start("elsewhere")["message"]["message_id"]
    theirs = bob.start("theirs")["message"]["message_id"]
    for branch in (elsewhere, theirs, str(uuid4())):
        answer = alice.get(path_of(tree), query_string={"branch": branch})
        assert (answer.status_code, answer.json["title"]) == (404, "Not found"), branch
    assert bob.get(path_of(tree), query_string={"branch": tree["one"]}).status_code == 404
    refused = alice.get(path_of(tree), query_string={"branch": "nonsense"})
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "branch")


@pytest.mark.parametrize(
    ("name", "branch"),
    [
        ("1a", ["one", "1a", "two", "2b"]),
        ("2a", ["one", "1a", "two", "2a"]),
        ("TWO", ["one", "1a", "TWO", "2c"]),
    ],
)
def test_a_branch_is_exported_as_it_is_read(alice: Person, tree: dict[str, str], name: str, branch: list[str]):
    path = f"/api/v1/conversations/{tree['conversation']}/export"
    text = alice.get(path, query_string={"format": "md", "branch": tree[name]}).text
    said = {"one", "1a", "two", "TWO", "2a", "2b", "2c"}
    assert [line for line in text.splitlines() if line in said] == branch
