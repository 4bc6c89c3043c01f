"""Conversations are shared as snapshots without names; answers have feedback."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.config import Settings
from app.wiring import Resources
from tests.factories import owner

from .conftest import Hand, Person
from .test_erasing import admin, admin_of_holds, id_of  # noqa: F401  # fixtures
from .test_export import export

LIST = "/api/v1/conversations"


@pytest.fixture
def talk(alice: Person, resources: Resources) -> dict[str, Any]:
    """A conversation with a finished answer."""
    started = alice.start("What is <b>a pier</b>?")
    Hand(resources, started["generation"]["id"]).run("A **pier**", " & more")
    return started


def share_of(person: Person, started: dict[str, Any], **body: str) -> dict[str, Any]:
    answer = person.post(f"{LIST}/{started['conversation']['id']}/share", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_everybody_reads_the_copy_until_it_ends(
    alice: Person, bob: Person, anybody: FlaskClient, resources: Resources, talk: dict[str, Any]
) -> None:
    path = f"{LIST}/{talk['conversation']['id']}/share"
    assert alice.get(path).status_code == 404
    share = share_of(alice, talk)
    assert re.fullmatch(r"/s/[A-Za-z0-9_-]{43}", share["url"])
    assert share["messages"] == 2
    page = anybody.get(share["url"])
    assert page.status_code == 200
    assert "What is &lt;b&gt;a pier&lt;/b&gt;?" in page.text
    assert "A **pier** &amp; more" in page.text
    assert "noindex" in page.headers["X-Robots-Tag"]
    assert page.headers["Cache-Control"] == "no-store"
    assert "trusted-types 'none'" in page.headers["Content-Security-Policy"]
    for secret in (alice.subject, id_of(alice), talk["conversation"]["id"], talk["message"]["message_id"]):
        assert secret not in page.text
    more = alice.start("A later message", conversation_id=talk["conversation"]["id"])
    Hand(resources, more["generation"]["id"]).run("x")
    assert "A later message" not in anybody.get(share["url"]).text
    known = {name: value for name, value in share.items() if name != "url"}
    assert alice.get(path).json == known
    assert alice.get("/api/v1/shares").json == {"items": [known]}
    assert bob.get("/api/v1/shares").json == {"items": []}
    for foreign in (bob.get(path), bob.delete(path), bob.post(path, json={})):
        assert foreign.status_code == 404
    assert alice.delete(path).status_code == 204
    assert alice.delete(path).status_code == 404
    gone = anybody.get(share["url"])
    assert (gone.status_code, "Not shared" in gone.text) == (404, True)


def test_a_copy_has_the_language_of_its_reader(alice: Person, anybody: FlaskClient, talk: dict[str, Any]) -> None:
    url = share_of(alice, talk)["url"]
    german = anybody.get(url, headers={"Accept-Language": "de"})
    assert '<html lang="de" dir="ltr">' in german.text
    assert "Geteilte Unterhaltung" in german.text
    assert "/texts/de.js" in german.text
    unknown = anybody.get(f"/s/{'x' * 43}", headers={"Accept-Language": "ar"})
    assert (unknown.status_code, 'dir="rtl"' in unknown.text, "غير مشتركة" in unknown.text) == (404, True, True)


def test_a_second_share_replaces_the_first(alice: Person, anybody: FlaskClient, talk: dict[str, Any]) -> None:
    first, second = share_of(alice, talk), share_of(alice, talk)
    assert [anybody.get(one["url"]).status_code for one in (first, second)] == [404, 200]
    assert len(alice.get("/api/v1/shares").json["items"]) == 1


@pytest.mark.parametrize("path", ["/s/x", "/s/" + "a" * 43, "/s/" + "a" * 5000, "/s/%00", "/s/%F0%9F%A6%9C"])
def test_an_unknown_address_is_not_found(anybody: FlaskClient, path: str) -> None:
    assert anybody.get(path).status_code == 404


def test_one_branch_is_shared(alice: Person, anybody: FlaskClient, resources: Resources, talk: dict[str, Any]) -> None:
    first = talk["generation"]["message_id"]
    again = alice.post(f"/api/v1/messages/{first}/regenerate", json={}).json
    Hand(resources, again["generation"]["id"]).run("Another answer")
    assert "Another answer" in anybody.get(share_of(alice, talk)["url"]).text
    shown = anybody.get(share_of(alice, talk, branch=first)["url"]).text
    assert "Another answer" not in shown
    unknown = alice.post(f"{LIST}/{talk['conversation']['id']}/share", json={"branch": talk["conversation"]["id"]})
    assert unknown.status_code == 404


def test_no_text_and_too_much_are_refused_and_so_is_one_share_too_many(make_app: Any) -> None:
    app = make_app(max_shares_per_user=1, max_share_bytes=1024)
    person = Person(app.test_client(), "sharer")
    first, second, long = (person.start(text) for text in ("one", "two", "x" * 1025))
    too_long = person.post(f"{LIST}/{long['conversation']['id']}/share", json={})
    assert (too_long.status_code, "MAX_SHARE_BYTES" in too_long.json["detail"]) == (422, True)
    share = share_of(person, first)
    many = person.post(f"{LIST}/{second['conversation']['id']}/share", json={})
    assert (many.status_code, "MAX_SHARES_PER_USER" in many.json["detail"]) == (409, True)
    assert share_of(person, first)["url"] != share["url"], "renewed, not one more"


def test_a_share_ends_with_its_conversation_its_user_and_under_a_hold(
    alice: Person,
    bob: Person,
    anybody: FlaskClient,
    resources: Resources,
    settings: Settings,
    talk: dict[str, Any],
    admin_of_holds: Callable[[str, bool], None],  # noqa: F811
) -> None:
    deleted = share_of(alice, talk)
    alice.delete(f"{LIST}/{talk['conversation']['id']}")
    held = bob.start("held")
    kept = share_of(bob, held)
    admin_of_holds(id_of(bob), True)
    bob.delete(f"{LIST}/{held['conversation']['id']}")
    assert [anybody.get(one["url"]).status_code for one in (deleted, kept)] == [404, 404]
    blocked = share_of(alice, alice.start("blocked"))
    [row] = export(alice)["shares"]
    assert [message["content"] for message in row["messages"]] == ["blocked"]
    with owner(settings.database_url) as cursor:
        cursor.execute("UPDATE users SET blocked_at = now() WHERE id = %s", (id_of(alice),))
    assert anybody.get(blocked["url"]).status_code == 404


def test_no_log_line_has_the_address(
    alice: Person, anybody: FlaskClient, talk: dict[str, Any], logged: Callable[[], str]
) -> None:
    url = share_of(alice, talk)["url"]
    anybody.get(url)
    anybody.get(f"{url}/x")
    lines = logged()
    assert "/s/" in lines
    assert url.removeprefix("/s/") not in lines


def test_shares_are_audited(alice: Person, talk: dict[str, Any]) -> None:
    share_of(alice, talk)
    alice.delete(f"{LIST}/{talk['conversation']['id']}/share")
    actions = [row["action"] for row in alice.get("/api/v1/me/audit").json["items"]]
    assert actions[:2] == ["share.ended", "conversation.shared"]


# --- feedback --------------------------------------------------------------------------------------------------------


def test_feedback_is_kept_replaced_and_taken_back(alice: Person, bob: Person, talk: dict[str, Any]) -> None:
    path = f"/api/v1/messages/{talk['generation']['message_id']}/feedback"
    messages = f"{LIST}/{talk['conversation']['id']}/messages"
    given = alice.put(path, json={"rating": -1, "comment": "Too short."})
    assert given.json["feedback"] == {"rating": -1, "comment": "Too short."}
    assert alice.get(messages).json["items"][1] == given.json
    assert export(alice)["messages"][1]["feedback"]["comment"] == "Too short."
    exported = alice.get(f"{LIST}/{talk['conversation']['id']}/export").json
    assert exported["messages"][1]["feedback"] == given.json["feedback"]
    copy = alice.post(f"{LIST}/import", json=exported).json["id"]
    assert alice.get(f"{LIST}/{copy}/export").json == exported
    assert alice.put(path, json={"rating": 1}).json["feedback"] == {"rating": 1, "comment": None}
    assert bob.put(path, json={"rating": 1}).status_code == 404
    assert alice.put(path, json={"rating": None}).json["feedback"] is None


@pytest.mark.parametrize(
    "body", [{}, {"rating": 0}, {"rating": 2}, {"rating": True}, {"rating": 1, "comment": "x" * 2001}]
)
def test_other_feedback_is_refused(alice: Person, talk: dict[str, Any], body: dict[str, Any]) -> None:
    assert alice.put(f"/api/v1/messages/{talk['generation']['message_id']}/feedback", json=body).status_code == 422


def test_only_an_answer_has_feedback(alice: Person, talk: dict[str, Any]) -> None:
    answer = alice.put(f"/api/v1/messages/{talk['message']['message_id']}/feedback", json={"rating": 1})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "message_id")


# --- imports of other programs ---------------------------------------------------------------------------------------


def foreign(title: str, *texts: str) -> dict[str, Any]:
    """A conversation as ChatGPT exports it, with one branch."""
    nodes: dict[str, Any] = {}
    for n, text in enumerate(texts):
        role = "assistant" if n % 2 else "user"
        content = {"content_type": "text", "parts": [text]}
        message = {"author": {"role": role}, "content": content, "create_time": 1_700_000_000 + n}
        nodes[str(n)] = {"message": message, "parent": str(n - 1) if n else None}
    return {"title": title, "conversation_id": title, "create_time": 1_700_000_000, "mapping": nodes}


def test_an_export_of_chatgpt_is_imported_once(alice: Person, bob: Person) -> None:
    body = [foreign("A", "apple?", "Yes."), {"title": "Broken", "mapping": None}, foreign("B", "berry?")]
    first = alice.post(f"{LIST}/import", json=body)
    assert first.status_code == 201, first.text
    summary = first.json
    assert [made["title"] for made in summary["conversations"]] == ["A", "B"]
    assert (summary["messages"], [one["title"] for one in summary["skipped"]]) == (3, ["Broken"])
    made = summary["conversations"][0]
    assert made["last_message_at"].startswith("2023-11-14")
    assert made["metadata"] == {"imported_from": "chatgpt", "original_id": "A"}
    messages = alice.get(f"{LIST}/{made['id']}/messages").json["items"]
    assert [(one["role"], one["content"]) for one in messages] == [("user", "apple?"), ("assistant", "Yes.")]
    assert [hit["title"] for hit in alice.get("/api/v1/search?q=berry").json["items"]] == ["B"]
    again = alice.post(f"{LIST}/import", json=[*body, foreign("A", "apple?", "Yes.", "Sure?")])
    assert [made["title"] for made in again.json["conversations"]] == ["A"]
    assert len(again.json["skipped"]) == 3
    assert alice.post(f"{LIST}/import", json=body).status_code == 200
    assert bob.post(f"{LIST}/import", json=body[0]).status_code == 201


def test_an_export_of_librechat_is_imported(alice: Person) -> None:
    message = {"messageId": "1", "isCreatedByUser": True, "text": "q", "children": []}
    body = {"conversationId": "l", "title": "L", "messages": [message], "options": {"promptPrefix": "Be brief."}}
    [made] = alice.post(f"{LIST}/import", json=body).json["conversations"]
    assert (made["title"], made["system_prompt"]) == ("L", "Be brief.")


def test_too_many_conversations_are_refused(make_app: Any) -> None:
    person = Person(make_app(max_import_conversations=1).test_client(), "mover")
    answer = person.post(f"{LIST}/import", json=[foreign("A", "a"), foreign("B", "b")])
    assert answer.status_code == 422
    assert "MAX_IMPORT_CONVERSATIONS" in answer.text
