"""The overview and the workers of the operators' page: live figures, old data, plots, drains."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from playwright.sync_api import Route, expect

from tests.browser.conftest import ENDLESS, Site, Visitor
from tests.browser.operators import Operator

Visit = Callable[..., Visitor]


def test_the_overview_follows_the_service_and_tells_when_it_is_old(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page
    olga.go("/ops")
    now = page.get_by_role("region", name="Now")
    running = now.locator(".figure").filter(has_text="Running").locator("b")
    expect(running).to_have_text("0")
    site.behave(tokens=ENDLESS, rate=20)
    site.post("/generations", f"ann-{olga.name}", {"message": "Go on", "model": "fake"})
    expect(running).to_have_text("1")
    site.enough()
    expect(running).to_have_text("0")
    expect(page.get_by_text("Ready", exact=True)).to_be_visible()

    # The server refuses for a while: what is shown stays, with its age and the reason.
    def refuse(route: Route) -> None:
        body = json.dumps({"title": "Down", "detail": "PostgreSQL does not answer."})
        route.fulfill(status=503, body=body, content_type="application/problem+json")

    page.route("**/api/v1/ops/overview", refuse)
    age = page.locator(".freshness")
    expect(age).to_have_text(re.compile(r"^Last updated .+ ago\. PostgreSQL does not answer\.$"))
    # Screen readers are told once, and not each second.
    expect(page.locator("#announcer")).to_have_text(re.compile("^Last updated"))
    expect(running).to_have_text("0")
    page.unroute("**/api/v1/ops/overview")
    expect(age).to_have_text("Updates every 2 s")


def test_a_plot_is_read_with_pointer_keys_and_as_a_table(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page

    def points(route: Route) -> None:
        shown = [
            {
                "at": f"2026-11-30T10:{minute:02}:00Z",
                "completed": 10 + minute,
                "failed": minute % 2,
                "first_token_ms": {"p50": 400.0 + minute, "p95": None},
                "total_ms": {"p50": None, "p95": None},
            }
            for minute in range(60)
        ]
        route.fulfill(json={"span": "hour", "step_seconds": 60, "points": shown})

    page.route("**/api/v1/ops/series?**", points)
    olga.go("/ops")
    plot = page.get_by_role("slider", name="Answers: time")
    expect(plot).to_have_attribute("aria-valuetext", re.compile(r": completed 69, failed 1, cancelled –"))
    plot.focus()
    for key in ("ArrowLeft", "ArrowLeft", "Home", "ArrowRight"):
        page.keyboard.press(key)
    expect(plot).to_have_attribute("aria-valuetext", re.compile(r": completed 11, failed 1, "))
    expect(plot).to_have_attribute("aria-valuenow", "1")
    page.keyboard.press("Escape")
    expect(plot).to_have_attribute("aria-valuenow", "59")
    # It waits until the page stands still, as a reader does.
    plot.hover(position={"x": 53, "y": 60})
    expect(plot).to_have_attribute("aria-valuetext", re.compile(r": completed 10, failed 0, "))
    # A plot without values says so.
    expect(page.get_by_role("slider", name="Whole answer: time").get_by_text("No values yet")).to_have_count(1)
    card = page.get_by_role("region", name=re.compile("^First token"))
    card.get_by_text("Table").click()
    expect(card.get_by_role("row")).to_have_count(61)
    expect(card.get_by_role("row").nth(1)).to_contain_text("459 ms")
    page.get_by_role("link", name="Last day").click()
    expect(page.get_by_role("link", name="Last day")).to_have_attribute("aria-current", "true")
    assert olga.address == "/ops?span=day"
    page.go_back()
    expect(page.get_by_role("link", name="Last hour")).to_have_attribute("aria-current", "true")


def test_a_worker_is_drained_and_undrained_with_a_reason(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    page = olga.page
    olga.go("/ops/workers")
    row = olga.row(site.worker.name)
    expect(row.get_by_text("working", exact=True)).to_be_visible()
    row.get_by_role("button", name=f"Drain {site.worker.name}").click()
    page.get_by_role("dialog").get_by_label(re.compile("^Hand over")).check()
    olga.give_reason("A new kernel", "Drain the worker")
    try:
        expect(row.get_by_text("may be stopped", exact=True)).to_be_visible()
        expect(row.get_by_text("hands its answers over")).to_be_visible()
        expect(row.get_by_text("A new kernel")).to_be_visible()
    finally:
        # The next tests need the worker.
        row.get_by_role("button", name=f"Undrain {site.worker.name}").click()
        olga.give_reason("The kernel is new", "Undrain the worker")
    expect(row.get_by_text("working", exact=True)).to_be_visible()
    site.finished(f"ann-{olga.name}", "It works again")
    olga.go("/ops/audit?object=" + site.worker.name)
    expect(olga.row("A new kernel")).to_be_visible()
    expect(olga.row("The kernel is new")).to_be_visible()


def test_a_session_that_ends_and_a_role_that_is_taken_away_stop_the_page(visit: Visit, site: Site) -> None:
    olga = Operator(visit)
    olga.go("/ops/workers")
    site.end_sessions(olga.name, 0)
    expect(olga.page.get_by_role("dialog", name="Your session has ended")).to_be_visible()

    oscar = Operator(visit, "oscar", "operator")
    oscar.go("/ops")

    def demoted(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json={**reply.json(), "role": None})

    oscar.page.route("**/api/v1/me", demoted)
    oscar.page.route("**/api/v1/ops/**", lambda route: route.fulfill(status=403, json={"detail": "Not for you."}))
    expect(oscar.page.get_by_role("heading", name="This page is for operators")).to_be_visible()
