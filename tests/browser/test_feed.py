"""Changes in another tab or on another device are shown without a request of the user."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, Request, expect

from tests.browser.conftest import ENDLESS, Site, Visitor
from tests.browser.test_page import row

Visit = Callable[..., Visitor]


def test_the_list_follows_what_other_devices_do(visit: Visit, site: Site) -> None:
    alice = visit()
    expect(alice.page.get_by_text("Your conversations will be here.")).to_be_visible()
    site.behave(tokens=ENDLESS, rate=20)
    begun = site.post("/generations", alice.name, {"message": "Written on the phone", "model": "fake"})
    conversation = begun["conversation"]["id"]
    expect(row(alice, "Written on the phone")).to_be_visible()
    expect(row(alice, "Written on the phone").get_by_text("answering")).to_be_attached()
    site.post(f"/generations/{begun['generation']['id']}/cancel", alice.name, {})
    expect(row(alice, "Written on the phone").get_by_text("answering")).to_have_count(0)
    site.patch(f"/conversations/{conversation}", alice.name, {"title": "Renamed on the phone"})
    expect(row(alice, "Renamed on the phone")).to_be_visible()
    site.patch(f"/conversations/{conversation}", alice.name, {"archived": True})
    expect(row(alice, "Renamed on the phone")).to_have_count(0)
    site.patch(f"/conversations/{conversation}", alice.name, {"archived": False})
    expect(row(alice, "Renamed on the phone")).to_be_visible()
    site.delete(f"/conversations/{conversation}", alice.name)
    expect(row(alice, "Renamed on the phone")).to_have_count(0)


def test_a_conversation_goes_on_while_somebody_looks_at_it(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Hello")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    expect(alice.answer).to_have_attribute("aria-busy", "false")
    site.behave(tokens=ENDLESS, rate=20)
    site.post("/generations", alice.name, {"message": "And now?", "conversation_id": conversation, "model": "fake"})
    expect(alice.page.get_by_label("You wrote").get_by_text("And now?")).to_be_visible()
    alice.has_grown()
    site.enough()
    alice.is_answered()
    assert [each["status"] for each in site.messages(conversation, alice.name)] == ["completed"] * 4
    expect(alice.page.get_by_role("article", name="Answer")).to_have_count(2)
    site.patch(f"/conversations/{conversation}", alice.name, {"title": "Named elsewhere"})
    expect(alice.page.get_by_role("heading", name="Named elsewhere")).to_be_visible()
    site.delete(f"/conversations/{conversation}", alice.name)
    # The note goes away by itself after a while.
    expect(alice.page.get_by_text("deleted elsewhere")).to_be_visible()
    expect(alice.page).to_have_url(re.compile("/new$"))


def test_tabs_share_one_feed_and_the_next_one_reads_on(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    readers: list[Page] = []

    def note(request: Request) -> None:
        if "/api/v1/feed" in request.url:
            readers.append(request.frame.page)

    alice.context.on("request", note)
    alice.sign_in()
    other = alice.tab()
    other.goto(site.url + "/new")
    site.finished(alice.name, "For both tabs")
    for page in (alice.page, other):
        expect(page.get_by_role("link", name="For both tabs")).to_be_visible()
    alice.until(lambda: site.streams(alice.name) == 1, "the tabs have one connection")
    # The new tab takes over from an older one that a busy machine kept from its answer to a question.
    reader = readers[-1]
    alice.page = other if reader is alice.page else alice.page
    reader.close()
    alice.until(lambda: readers[-1] is alice.page, "the other tab reads")
    site.finished(alice.name, "For the one that is left")
    expect(alice.page.get_by_role("link", name="For the one that is left")).to_be_visible()


def test_the_tabs_of_a_session_share_though_one_began_with_the_name_of_an_older_one(visit: Visit) -> None:
    alice = visit()
    name = f"unbroken.tabs.{alice.stored()['unbroken.session']} "
    alice.page.evaluate("localStorage.setItem('unbroken.session', 'older')")
    alice.page.reload()
    alice.until(
        lambda: alice.stored().get("unbroken.leader", "").startswith(name), "the page leads the tabs of its session"
    )


def test_who_else_has_the_conversation_open_is_said_quietly(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Hello")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    elsewhere = visit("alice", signed_in=False)
    elsewhere.sign_in(f"/c/{conversation}")
    expect(alice.page.get_by_text("Also open in one other place")).to_be_visible()
    alice.picture("also-open")
    elsewhere.page.get_by_role("link", name="New chat").click()
    expect(alice.page.get_by_text("Also open in one other place")).to_be_hidden()


def test_what_happened_while_the_web_server_was_away_is_caught_up_with(visit: Visit, site: Site) -> None:
    alice = visit()
    site.restart_web()
    site.finished(alice.name, "In between")
    expect(row(alice, "In between")).to_be_visible()
