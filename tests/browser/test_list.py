"""The list of conversations: previews, pinned ones, tags and filters, marks of what was not seen, and the keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from playwright.sync_api import Locator, expect

from tests.browser.conftest import ENDLESS, Site, Visitor
from tests.browser.looks import look
from tests.browser.test_page import choose, row
from tests.browser.test_views import account, show_list

Visit = Callable[..., Visitor]
MARKED = """
() => [...(CSS.highlights.get('found') ?? [])]
  .map(({startContainer, startOffset, endOffset}) => startContainer.data.slice(startOffset, endOffset))
"""


def zone_at_noon() -> str:
    """A time zone in which it is about noon: what is of today stays so while a test runs."""
    behind = datetime.now(UTC).hour - 12
    return f"Etc/GMT{behind:+d}" if behind else "Etc/UTC"


def section(visitor: Visitor, name: str) -> Locator:
    """The rows below a heading of the list."""
    return visitor.page.locator(f'.list ul[data-name="{name}"] > li')


def test_pinned_conversations_come_first_and_tags_are_a_filter(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False, timezone_id=zone_at_noon())
    site.behave(text="**Forty** degrees in the shade.", rate=0)
    for question in ("About deserts", "About oceans", "About forests"):
        site.finished(alice.name, question, model="fake")
    alice.sign_in()
    page = alice.page
    expect(row(alice, "About deserts").locator(".preview")).to_contain_text("Forty degrees in the shade.")
    expect(row(alice, "About deserts").locator("time")).to_have_text(re.compile(r"\d{1,2}[:.]\d{2}"))
    expect(section(alice, "Today")).to_have_count(3)

    choose(alice, "About deserts", "Pin to the top")
    expect(section(alice, "Pinned")).to_have_count(1)
    expect(section(alice, "Today")).to_have_count(2)
    choose(alice, "About deserts", "Tags")
    page.get_by_role("textbox", name="New tag").fill("sand")
    page.keyboard.press("Enter")
    page.get_by_role("textbox", name="New tag").fill("heat")
    look(alice, "tags")
    page.get_by_role("button", name="Save").click()
    expect(row(alice, "About deserts").locator(".tag")).to_have_text(["#sand", "#heat"])
    look(alice, "list-pinned")

    choose(alice, "About oceans", "Tags")
    page.get_by_role("button", name="Add the tag heat").click()
    page.get_by_role("button", name="Save").click()
    expect(row(alice, "About oceans").locator(".tag")).to_have_text("#heat")
    page.get_by_role("button", name="Filter conversations").click()
    page.get_by_role("menuitemradio", name="#heat").click()
    expect(row(alice, "About forests")).to_have_count(0)
    expect(row(alice, "About oceans")).to_be_visible()
    page.reload()
    expect(section(alice, "Pinned")).to_have_count(1)
    expect(row(alice, "About forests")).to_be_visible()
    page.get_by_role("button", name="Filter conversations").click()
    page.get_by_role("menuitemradio", name="#sand").click()
    expect(row(alice, "About oceans")).to_have_count(0)
    look(alice, "list-filtered")
    page.get_by_role("button", name="Remove the filter: #sand").click()
    expect(row(alice, "About oceans")).to_be_visible()


def test_an_answer_that_ended_elsewhere_is_marked_until_it_is_seen(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    other = site.finished(alice.name, "Somewhere else")["conversation"]["id"]
    alice.sign_in()
    site.behave(tokens=ENDLESS, rate=20)
    site.post("/generations", alice.name, {"message": "Go on", "conversation_id": other, "model": "fake"})
    expect(row(alice, "Somewhere else").get_by_text("answering", exact=True)).to_be_attached()
    site.enough()
    mark = row(alice, "Somewhere else").get_by_text("new answer")
    expect(mark).to_be_attached()
    alice.page.reload()
    expect(mark).to_be_attached()
    alice.picture("list-unread")
    row(alice, "Somewhere else").get_by_role("link").click()
    alice.is_answered()
    expect(mark).to_have_count(0)
    alice.until(lambda: not site.get(f"/conversations/{other}", alice.name)["unread"], "the server knows")
    # An answer that ends before the user's eyes is seen.
    site.finished(alice.name, "And on", conversation_id=other)
    alice.until(lambda: not site.get(f"/conversations/{other}", alice.name)["unread"], "it was seen at once")


def test_rows_are_moved_and_worked_by_keys_alone(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    for name in ("First", "Second", "Third"):
        site.finished(alice.name, name)
    alice.sign_in()
    keys = alice.page.keyboard
    link = {name: row(alice, name).get_by_role("link") for name in ("First", "Second", "Third")}
    expect(link["Third"]).to_be_visible()
    reached = alice.page.locator('.list a[tabindex="0"]')
    expect(reached).to_have_count(1)
    link["Third"].focus()
    keys.press("End")
    expect(link["First"]).to_be_focused()
    keys.press("p")
    expect(section(alice, "Pinned")).to_have_count(1)
    expect(link["First"]).to_be_focused()
    keys.press("ArrowDown")
    expect(link["Third"]).to_be_focused()
    keys.press("F2")
    alice.page.get_by_role("textbox", name="Name of the conversation").fill("Renamed")
    keys.press("Enter")
    expect(row(alice, "Renamed").get_by_role("link")).to_be_focused()
    keys.press("e")
    expect(row(alice, "Renamed")).to_have_count(0)
    # The focus of a row that is gone is on the next one.
    expect(link["Second"]).to_be_focused()
    keys.press("ArrowRight")
    expect(row(alice, "Second").get_by_role("button")).to_be_focused()
    keys.press("ArrowLeft")
    keys.press("Delete")
    alice.page.get_by_role("button", name="Delete", exact=True).click()
    expect(row(alice, "Second")).to_have_count(0)
    expect(link["First"]).to_be_focused()


def test_a_search_shows_every_place_and_marks_the_words_there(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.behave(text="The lighthouse keeper sleeps by day.", rate=0)
    begun = site.finished(alice.name, "Who lives in the lighthouse?", model="fake")
    conversation = begun["conversation"]["id"]
    site.finished(alice.name, "Is the lighthouse high?", model="fake", conversation_id=conversation)
    site.finished(alice.name, "Nothing of it", model="offline-fast")
    alice.sign_in()
    page = alice.page
    page.keyboard.press("Control+k")
    page.keyboard.type("lighthouse")
    hits = page.locator(".list li")
    expect(hits).to_have_count(3)
    expect(hits.first.locator("mark")).to_have_text("lighthouse")
    look(alice, "search-places")
    page.keyboard.press("ArrowDown")
    expect(hits.first.get_by_role("link")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{conversation}#"))
    alice.until(lambda: page.evaluate(MARKED) == ["lighthouse"], "the word is marked in the message")
    alice.picture("search-found")


def test_the_archive_is_a_filter(visit: Visit, site: Site) -> None:
    alice = visit(size="phone", signed_in=False)
    site.finished(alice.name, "Put away")
    site.finished(alice.name, "Kept")
    alice.sign_in()
    show_list(alice)
    expect(row(alice, "Kept")).to_be_visible()
    choose(alice, "Put away", "Archive")
    expect(row(alice, "Put away")).to_have_count(0)
    account(alice, "Archived conversations")
    expect(row(alice, "Put away")).to_be_visible()
    expect(row(alice, "Kept")).to_have_count(0)
    look(alice, "list-archived-phone")
    alice.page.get_by_role("button", name="Remove the filter: Archived").click()
    expect(row(alice, "Kept")).to_be_visible()


def test_a_temporary_chat_leaves_no_trace_on_the_page(visit: Visit, site: Site) -> None:
    alice = visit()
    page = alice.page
    switch = page.get_by_role("button", name="Temporary chat")
    alice.box.fill("between us")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "true")
    expect(alice.box).to_have_value("between us")
    page.reload()
    expect(page.get_by_role("note").filter(has_text="deleted a day after")).to_be_visible()
    look(alice, "temporary-new")
    alice.box.press("Enter")
    alice.is_answered()
    expect(page.get_by_role("heading", name="Temporary chat")).to_be_visible()
    expect(page).to_have_title("Chat · Unbroken")
    look(alice, "temporary")
    # The shared connection carries no temporary conversation: each answer has a stream of its own.
    with page.expect_request(re.compile(r"/generations/[^/]+/stream")):
        alice.send("go on")
    alice.is_answered()
    site.finished(alice.name, "In the list")
    expect(row(alice, "In the list")).to_be_visible()
    expect(row(alice, "between us")).to_have_count(0)
    page.reload()
    expect(page.get_by_label("You wrote").get_by_text("between us")).to_be_visible()
    expect(page.get_by_role("note").filter(has_text="deleted a day after")).to_be_visible()
