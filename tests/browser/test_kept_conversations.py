"""Actions on a conversation: share it, rate an answer, bring others in."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Route, expect

from tests.browser.conftest import Site, Visitor
from tests.browser.looks import look
from tests.browser.test_page import choose, row
from tests.browser.test_views import account, choose_file

Visit = Callable[..., Visitor]


def test_a_conversation_is_shared_and_its_link_ends(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "To be shown around")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    choose(alice, "To be shown around", "Share")
    dialog = alice.page.get_by_role("dialog", name="Share")
    expect(dialog.get_by_text("without signing in")).to_be_visible()
    look(alice, "share-before")
    dialog.get_by_role("button", name="Make a link").click()
    link = dialog.get_by_role("textbox", name="Link to this conversation")
    expect(link).to_have_value(re.compile("/s/"))
    look(alice, "share-link")
    address = link.input_value()
    stranger = visit("bob", signed_in=False)
    stranger.page.goto(address)
    expect(stranger.page.get_by_text("To be shown around").first).to_be_visible()
    assert "alice" not in stranger.page.content()
    dialog.get_by_role("button", name="Close").click()
    choose(alice, "To be shown around", "Share")
    expect(dialog.get_by_text("with 2 messages")).to_be_visible()
    look(alice, "share-again")
    dialog.get_by_role("button", name="End the link").click()
    expect(dialog.get_by_role("button", name="Make a link")).to_be_visible()
    gone = stranger.page.goto(address)
    assert gone is not None
    assert gone.status == 404


def test_an_answer_is_rated_with_a_comment(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Rate me")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    good, bad = (alice.answer.get_by_role("button", name=name) for name in ("Good answer", "Bad answer"))
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    alice.page.keyboard.press("Escape")
    expect(good).to_be_focused()
    bad.click()
    expect(good).to_have_attribute("aria-pressed", "false")
    alice.answer.get_by_role("textbox", name="What was wrong").fill("It is not about the sea")
    look(alice, "feedback")
    alice.answer.get_by_role("button", name="Send").click()
    expect(alice.answer.get_by_role("textbox")).to_have_count(0)
    expected = {"rating": -1, "comment": "It is not about the sea"}
    kept = site.messages(conversation, alice.name)[-1]["feedback"]
    assert {name: kept[name] for name in expected} == expected
    alice.page.reload()
    expect(bad).to_have_attribute("aria-pressed", "true")
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "false")
    assert site.messages(conversation, alice.name)[-1]["feedback"] is None


def chat_gpt(*titles: str) -> str:
    """An export of ChatGPT with a question and an answer in each conversation."""

    def message(role: str, text: str, parent: str | None, child: str | None) -> dict[str, object]:
        said = {"author": {"role": role}, "create_time": 1.7e9, "content": {"content_type": "text", "parts": [text]}}
        return {"message": {"id": role, **said}, "parent": parent, "children": [child] if child else []}

    def conversation(title: str) -> dict[str, object]:
        mapping = {
            "user": message("user", f"What about {title}?", None, "assistant"),
            "assistant": message("assistant", f"All about {title}.", "user", None),
        }
        for name, node in mapping.items():
            node["id"] = name
        return {"title": title, "create_time": 1.7e9, "current_node": "assistant", "mapping": mapping}

    return json.dumps([conversation(title) for title in titles])


def test_conversations_of_chat_gpt_come_in_from_their_archive(visit: Visit, tmp_path: Path) -> None:
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("user.json", "{}")
        file.writestr("conversations.json", chat_gpt("Rivers", "Lakes"))
    alice = visit()
    account(alice, "Import conversations")
    dialog = alice.page.get_by_role("dialog", name="Import")
    look(alice, "import")
    choose_file(alice, archive)
    expect(dialog.get_by_text("2 conversations")).to_be_visible()
    look(alice, "import-done")
    dialog.get_by_role("button", name="Close").click()
    row(alice, "Rivers").get_by_role("link").click()
    expect(alice.answer).to_contain_text("All about Rivers.")


def test_an_import_that_breaks_off_shows_what_came_in_before(visit: Visit, tmp_path: Path) -> None:
    alice = visit()
    first = {
        "conversations": [{"id": "c1", "title": "Lake"}, {"id": "c2", "title": "Sea"}],
        "messages": 4,
        "skipped": [],
    }
    parts = [lambda route: route.fulfill(json=first), lambda route: route.fulfill(status=503, json={"title": "Busy"})]
    sent: list[Route] = []

    def answer(route: Route) -> None:
        sent.append(route)
        parts[len(sent) - 1](route)

    alice.page.route("**/api/v1/conversations/import", answer)
    many = tmp_path / "conversations.json"
    many.write_text(chat_gpt(*(f"Trip {number}" for number in range(501))))
    account(alice, "Import conversations")
    choose_file(alice, many)
    dialog = alice.page.get_by_role("dialog", name="Import")
    expect(dialog.get_by_role("alert")).to_be_visible()
    expect(dialog.get_by_text("2 conversations with 4 messages came in.")).to_be_visible()
    look(alice, "import-broken-off")
    assert len(sent) == 2
