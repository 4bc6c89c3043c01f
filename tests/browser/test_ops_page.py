"""The operators' page over a real deployment: who may see it, what it shows, and what it lets administrators do."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import ENDLESS, Site, Visitor
from tests.browser.operators import Operator
from tests.factories import owner

Visit = Callable[..., Visitor]


def _requests_to_assets(visitor: Visitor) -> list[str]:
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url.partition("/static/")[2].partition("/")[2]))
    return asked


def test_the_page_is_for_operators_and_says_so_to_others(visit: Visit, site: Site) -> None:
    eve = visit("eve", signed_in=False)
    asked = _requests_to_assets(eve)
    eve.go("/ops/workers")
    expect(eve.door).to_be_visible()
    eve.use_link(eve.page)
    # The page of users has nothing of this one: no byte, and no entry of a menu.
    assert [name for name in asked if name.startswith("ops/")]
    asked.clear()
    eve.go("/")
    expect(eve.box).to_be_visible()
    assert [name for name in asked if name.startswith("ops/")] == []
    assert "main.js" in asked
    eve.page.get_by_role("button", name=re.compile("Account and settings")).click()
    expect(eve.page.get_by_role("menuitem", name="Sign out")).to_be_visible()
    expect(eve.page.get_by_role("menuitem", name="Operators’ page")).to_have_count(0)
    eve.go("/ops/workers")
    expect(eve.page.get_by_role("heading", name="This page is for operators")).to_be_visible()
    expect(eve.page.get_by_text(f"You are signed in as {eve.name}, who has no role here (403).")).to_be_visible()
    eve.page.get_by_role("link", name="Back to the chat").click()
    expect(eve.box).to_be_visible()

    olga = Operator(visit)
    olga.page.get_by_role("button", name=re.compile("Account and settings")).click()
    olga.page.get_by_role("menuitem", name="Operators’ page").click()
    expect(olga.page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    assert olga.address == "/ops"


def test_filters_and_pages_are_in_the_address(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page
    user = f"ann-{olga.name}"
    ids = [site.finished(user, f"Question {number}")["generation"]["id"] for number in range(3)]
    site.finished(f"ben-{olga.name}", "Another")
    olga.go("/ops/generations")
    page.get_by_role("searchbox", name="User").fill(user)
    expect(page.get_by_text("3 generations", exact=True)).to_be_visible()
    page.get_by_role("combobox", name="Status").select_option("completed")
    page.get_by_role("combobox", name="Created").select_option("1h")
    expect(page.get_by_role("row")).to_have_count(4)
    assert olga.address == f"/ops/generations?status=completed&user={user}&last=1h"
    # A step back takes one filter away, and the form shows it.
    page.go_back()
    expect(page.get_by_role("combobox", name="Created")).to_have_value("")
    expect(page.get_by_role("combobox", name="Status")).to_have_value("completed")
    assert olga.address == f"/ops/generations?status=completed&user={user}"

    # An address that somebody was sent shows the same page; the pages are links.
    olga.go(f"/ops/generations?user={user}&limit=2")
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("searchbox", name="User")).to_have_value(user)
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("row")).to_have_count(2)
    # A reload has the second page, too; the oldest is there.
    page.reload()
    expect(page.get_by_role("link", name="First page")).to_be_visible()
    opened = page.get_by_role("rowheader").get_by_role("link")
    expect(opened).to_have_attribute("title", ids[0])
    page.go_back()
    expect(page.get_by_role("row")).to_have_count(3)

    # Keys: from the filter to the first row, down, and into it.
    page.get_by_role("rowheader").get_by_role("link").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name=re.compile(f"^{ids[1][:8]}.*{ids[1][-4:]}$")).last).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Generation")).to_be_focused()
    assert olga.address == f"/ops/generations/{ids[1]}"
    page.go_back()
    assert olga.address == f"/ops/generations?user={user}&limit=2"


def test_one_generation_is_followed_to_its_end_and_its_text_is_not_shown(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page
    site.behave(tokens=ENDLESS, rate=20)
    started = site.post("/generations", f"ann-{olga.name}", {"message": "A secret question", "model": "fake"})
    olga.go(f"/ops/generations/{started['generation']['id']}")
    life = page.get_by_role("region", name="Line of life").get_by_role("listitem")
    expect(life.filter(has_text="First token")).to_be_visible()
    expect(life.last).to_have_text("Running…")
    site.enough()
    expect(life.last).to_contain_text("Completed")
    expect(page.get_by_text("completed", exact=True).first).to_be_visible()
    facts = page.get_by_role("region", name="Facts")
    expect(facts.get_by_role("link", name=f"ann-{olga.name}")).to_be_visible()
    expect(facts.get_by_text(re.compile(r"^\d+ read, \d+ written$"))).to_be_visible()
    expect(page.get_by_role("region", name="Attempts", exact=True).first.get_by_text("fake").first).to_be_visible()
    # Administrators may act, and may not read.
    expect(page.get_by_role("region", name="Text").get_by_role("button")).to_have_count(0)
    assert "A secret question" not in page.locator("body").inner_text()

    susan = Operator(visit, "susan", "support")
    susan.go(olga.address)
    susan.page.get_by_role("button", name="Show the text…").click()
    susan.give_reason("The user asked for help", "Show the text")
    expect(susan.page.get_by_text("A secret question")).to_be_visible()
    expect(susan.page.get_by_role("button", name=re.compile("^(Cancel|Fail|Requeue)"))).to_have_count(0)
    susan.page.get_by_role("button", name="Hide the text").click()
    expect(susan.page.get_by_text("A secret question")).to_have_count(0)
    olga.go("/ops/audit?action=generation.text_read")
    expect(olga.row("The user asked for help")).to_be_visible()


def test_an_administrator_acts_with_a_reason_and_an_operator_only_looks(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page
    site.behave(tokens=ENDLESS, rate=20)
    started = site.post("/generations", f"ann-{olga.name}", {"message": "Go on", "model": "fake"})
    address = f"/ops/generations/{started['generation']['id']}"
    oscar = Operator(visit, "oscar", "operator")
    oscar.go(address)
    expect(oscar.page.get_by_role("region", name="Facts")).to_be_visible()
    expect(oscar.page.get_by_role("button", name=re.compile("^(Cancel|Fail|Requeue)"))).to_have_count(0)

    olga.go(address)
    page.get_by_role("button", name=re.compile("^Fail…")).click()
    page.get_by_role("dialog").get_by_role("button", name="End it as an error").click()
    expect(page.get_by_text("A reason is needed: the audit keeps it.")).to_be_visible()
    olga.give_reason("The provider loops", "End it as an error")
    # The page that only looks sees it without a reload.
    for each in (page, oscar.page):
        expect(each.get_by_role("region", name="Line of life").get_by_role("listitem").last).to_contain_text(
            "Ended as an error"
        )
    olga.go("/ops/dead-letters")
    olga.row("failed_by_operator").first.get_by_role("button", name=re.compile("^Requeue")).click()
    site.enough()
    olga.give_reason("It works again", "Start a new answer")
    expect(page.get_by_role("region", name="Line of life").get_by_role("listitem").last).to_contain_text("Completed")
    olga.go("/ops/audit?action=generation.failed")
    expect(olga.row("The provider loops").get_by_role("link").last).to_be_visible()


def test_a_dead_webhook_delivery_is_sent_again_for_a_reason(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page
    user = f"ann-{olga.name}"
    site.get("/conversations", user)
    with owner(site.stack.settings.database_url) as cursor:
        cursor.execute(
            """INSERT INTO webhook_deliveries (id, user_id, url, event_id, event_type, body, state, reason, attempts,
                   finished_at)
               SELECT gen_random_uuid(), id, 'https://receiver.invalid/hook?secret=1', 'evt_1', 'response.failed', '',
                   'dead', 'attempts_exhausted', 10, now() FROM users WHERE subject = %s""",
            (user,),
        )
    olga.go(f"/ops/dead-letters?of=webhooks&user={user}")
    row = olga.row("https://receiver.invalid")
    expect(row.get_by_text("attempts exhausted")).to_be_visible()
    row.get_by_role("button", name=re.compile("^Replay")).click()
    olga.give_reason("The receiver is back", "Send it again")
    expect(page.get_by_role("main").get_by_text("No delivery is dead.")).to_be_visible()
    assert "secret=1" not in page.content()
    olga.go("/ops/audit")
    expect(olga.row("The receiver is back")).to_be_visible()
    with owner(site.stack.settings.database_url) as cursor:
        cursor.execute("SELECT attempts_before FROM webhook_deliveries WHERE event_id = 'evt_1'")
        assert cursor.fetchone() == (10,), "its schedule begins anew"


def test_a_user_is_found_and_blocked_for_a_reason(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page
    user = f"mallory-{olga.name}"
    assert "items" in site.get("/conversations", user)
    olga.go("/ops/users")
    page.get_by_role("searchbox", name="Search").fill(user)
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("link", name=user).click()
    expect(page.get_by_role("heading", level=1, name=user)).to_be_visible()
    page.get_by_role("button", name="Block…").click()
    olga.give_reason("Attacks others", "Block the user")
    expect(page.get_by_role("button", name="Unblock…")).to_be_visible()
    # A web process reads revocations several times a second.
    olga.visitor.until(lambda: site.get("/conversations", user) == 403, "the user is refused")
    page.get_by_role("link", name="Actions on this user").click()
    expect(olga.row("Attacks others")).to_be_visible()
