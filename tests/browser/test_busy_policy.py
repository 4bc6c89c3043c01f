"""The policy for a message that is sent while an answer is being written, and the button that sets it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.conftest import Site, Visitor

Visit = Callable[..., Visitor]

LABEL = "While an answer is being written:"
USUAL = "Send after this answer"


def choice(visitor: Visitor) -> Locator:
    return visitor.page.get_by_role("button", name=LABEL)


def choose(visitor: Visitor, label: str) -> None:
    choice(visitor).click()
    visitor.page.get_by_role("menuitemradio", name=label).click()
    expect(choice(visitor)).to_have_text(f"{LABEL} {label}")


def said(site: Site, visitor: Visitor) -> list[tuple[str, str]]:
    return [(each["content"], each["status"]) for each in site.messages(visitor.conversation, visitor.name)]


def test_the_choice_is_there_only_while_an_answer_is_written(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    expect(choice(alice)).to_have_text(f"{LABEL} {USUAL}")
    alice.picture("busy-policy")
    alice.page.get_by_role("button", name="Stop the answer").click()
    alice.is_answered()
    expect(choice(alice)).to_be_hidden()


def test_a_choice_made_with_the_keyboard_is_remembered(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    alice.box.focus()
    for _ in range(6):
        alice.page.keyboard.press("Tab")
        if choice(alice).evaluate("button => button === document.activeElement"):
            break
    alice.page.keyboard.press("Enter")
    expect(alice.page.get_by_role("menuitemradio", name=USUAL)).to_be_focused()
    alice.picture("busy-policy-menu")
    alice.page.keyboard.press("ArrowDown")
    alice.page.keyboard.press("Enter")
    expect(choice(alice)).to_have_text(f"{LABEL} Interrupt this answer")
    expect(choice(alice)).to_be_focused()
    alice.page.reload()
    expect(choice(alice)).to_have_text(f"{LABEL} Interrupt this answer")


def test_an_interrupted_answer_stays_as_far_as_it_is_and_the_next_one_begins(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    choose(alice, "Interrupt this answer")
    alice.send("And the land?")
    expect(alice.page.get_by_role("article", name="Answer")).to_have_count(2)
    alice.until(lambda: said(site, alice)[1][1] == "cancelled", "the first answer is stopped")
    assert said(site, alice)[1][0]
    alice.has_grown()


def test_a_replaced_question_makes_way_for_the_new_one(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    choose(alice, "Replace this question")
    alice.send("Tell me about the land")
    expect(alice.page.locator(".question")).to_have_count(1)
    expect(alice.page.locator(".question")).to_contain_text("Tell me about the land")
    expect(alice.page.get_by_role("article", name="Answer")).to_have_count(1)
    messages: list[dict[str, Any]] = site.messages(alice.conversation, alice.name)
    assert [each["parent_id"] for each in messages if each["role"] == "user"] == [None, None]
    alice.has_grown()


def test_a_message_that_is_not_to_be_sent_stays_in_the_box(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    choose(alice, "Do not send yet")
    alice.send("And the land?")
    expect(alice.box).to_have_value("And the land?")
    expect(alice.page.get_by_role("alert")).to_be_visible()
    assert len(site.messages(alice.conversation, alice.name)) == 2
    expect(alice.page.get_by_role("article", name="Answer")).to_have_count(1)


def test_the_choice_goes_with_the_sign_out(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    choose(alice, "Interrupt this answer")
    assert "interrupt" in alice.stored().values()
    alice.page.get_by_role("button", name=re.compile("Account and settings")).click()
    alice.page.get_by_role("menuitem", name="Sign out").click()
    expect(alice.door).to_be_visible()
    assert alice.stored() == {}
