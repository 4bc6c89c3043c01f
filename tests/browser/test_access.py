"""Accessibility: axe-core finds no serious fault on any view, in light and dark."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.axe import faults
from tests.browser.conftest import ENDLESS, Site, Visitor
from tests.browser.looks import in_both_lights

Visit = Callable[..., Visitor]
TEXT = (
    "## Rain\n\nIt **may** rain, see [the chart](https://e.com/c).\n\n```python\nrain = True  # for now\n```\n\n"
    "| day | rain |\n|---|---:|\n| Monday | 3 |\n\n> Take a coat.\n\n- [x] coat\n- [ ] hat\n\n1. Look\n2. Go"
)


class Inspection:
    """Collects the faults, so that one run shows all of them."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.found: list[str] = []

    def look(self, view: str) -> None:
        for light in in_both_lights(self.visitor):
            for fault in faults(self.visitor.page):
                self.found += [f"{view}, {light}: {fault['id']}: {where[:300]}" for where in fault["where"]]


def test_nothing_serious_on_any_view(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    page = alice.page
    inspection = Inspection(alice)
    alice.go("/")
    expect(alice.door).to_be_visible()
    inspection.look("door")

    site.behave(text=TEXT, rate=0, reasoning=20)
    alice.enter()
    inspection.look("new chat")
    alice.go("/m/fake/new")
    alice.send("Will it rain?")
    alice.is_answered()
    alice.answer.get_by_text("Reasoning").click()
    alice.answer.get_by_role("button", name="Answer again").click()
    expect(alice.answer.get_by_text("2 of 2")).to_be_visible()
    alice.is_answered()
    inspection.look("answer")
    page.get_by_role("button", name="Edit message").click()
    inspection.look("edit")
    page.keyboard.press("Escape")

    alice.send("And tomorrow?")
    expect(page.get_by_role("article", name="Answer")).to_have_count(2)
    alice.is_answered()
    site.behave(tokens=ENDLESS, rate=20)
    alice.send("And then?")
    expect(page.get_by_role("article", name="Answer")).to_have_count(3)
    alice.has_grown()
    inspection.look("streaming")
    page.get_by_role("button", name="Stop the answer").click()
    alice.is_answered()
    inspection.look("stopped")
    site.behave(status=400, error_message="The upstream refuses.")
    alice.send("And after that?")
    expect(page.get_by_role("article", name="Answer")).to_have_count(4)
    alice.is_answered()
    inspection.look("failed")

    page.get_by_role("heading", level=1).get_by_role("button").click()
    inspection.look("menu of the conversation")
    page.keyboard.press("Escape")
    page.get_by_role("button", name=re.compile("Account and settings")).click()
    inspection.look("menu of the account")
    page.get_by_role("menuitem", name="Archived conversations").click()
    inspection.look("archived")
    page.keyboard.press("Control+/")
    inspection.look("shortcuts")
    page.keyboard.press("Escape")
    alice.go("/nowhere")
    inspection.look("nothing here")
    assert inspection.found == []


def test_nothing_serious_on_a_phone(visit: Visit, site: Site) -> None:
    alice = visit(size="phone", signed_in=False)
    inspection = Inspection(alice)
    conversation = site.finished(alice.name, "In the pocket")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    expect(alice.answer).to_be_visible()
    inspection.look("conversation")
    alice.page.get_by_role("button", name="Show conversations").click()
    inspection.look("list")
    assert inspection.found == []


def test_planted_faults_are_found(module_page: Page) -> None:
    module_page.evaluate(
        """() => {
          const faint = Object.assign(document.createElement('p'), {textContent: 'hard to read'});
          faint.setAttribute('style', 'color: #bbb; background: #fff');
          document.body.append(document.createElement('input'), document.createElement('button'), faint);
        }"""
    )
    assert {"label", "button-name", "color-contrast"} <= {fault["id"] for fault in faults(module_page)}
