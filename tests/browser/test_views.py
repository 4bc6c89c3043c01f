"""Search, files, usage, models, tools: each flow at three widths, in light and dark, with pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SIZES, Site, Visitor
from tests.browser.looks import fits, look
from tests.browser.test_page import choose, row

Visit = Callable[..., Visitor]
CALL = {"name": "weather", "arguments": {"place": "Bergen", "days": 3}}


def account(visitor: Visitor, action: str) -> None:
    """An entry of the account's menu."""
    show_list(visitor)
    visitor.page.get_by_role("button", name=re.compile("Account and settings")).click()
    visitor.page.get_by_role("menuitem", name=action).click()


def show_list(visitor: Visitor) -> None:
    """Open the list of conversations, which is closed on a small screen."""
    button = visitor.page.get_by_role("button", name="Show conversations")
    if button.is_visible() and not button.evaluate("(node) => node.closest('[inert]')"):
        button.click()


def choose_file(visitor: Visitor, file: Path) -> None:
    """Give a file to the dialog of the import."""
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.get_by_role("button", name="Choose a file").click()
    chooser.value.set_files(file)


@pytest.mark.parametrize("size", SIZES)
def test_every_view_fits_every_screen_in_both_lights(visit: Visit, site: Site, size: str) -> None:
    alice = visit(size=size, signed_in=False)
    page = alice.page
    site.behave(text="Three days of **rain**, then sun.", rate=0, reasoning=12, tool_call=CALL)
    for question in ("Shall I take a coat to the harbour?", "And what about Monday?"):
        site.finished(alice.name, question, model="clever")
    site.finished(alice.name, "Something else entirely", model="offline-fast")
    alice.sign_in()

    page.get_by_role("button", name="Model").click()
    expect(page.get_by_role("menuitemradio", name=re.compile("Clever"))).to_contain_text("per million tokens")
    look(alice, f"models-{size}")
    page.get_by_role("menuitemradio", name=re.compile("Clever")).click()
    expect(page).to_have_url(re.compile("/m/clever/new$"))

    show_list(alice)
    page.get_by_role("searchbox").fill("rain sun")
    expect(row(alice, "And what about Monday").locator(".snippet mark").first).to_be_visible()
    look(alice, f"search-{size}")
    page.get_by_role("searchbox").fill("harbour coat")
    found = row(alice, "Shall I take a coat")
    expect(found.locator("mark").first).to_be_visible()
    found.get_by_role("link").click()
    expect(page.get_by_label("You wrote").get_by_text("Shall I take")).to_be_visible()
    if size == "phone":
        expect(page.get_by_role("button", name="Show conversations")).to_be_visible()
    tool = alice.answer.locator(".tool").first
    expect(tool).to_contain_text(re.compile("weather.*no result"))
    tool.locator("summary").click()
    expect(tool.get_by_text('"place": "Bergen"')).to_be_visible()
    alice.answer.get_by_text("Reasoning").click()
    look(alice, f"tools-{size}")

    account(alice, "Usage")
    expect(page.get_by_role("dialog", name="Usage").get_by_text("tokens in")).to_be_visible()
    page.get_by_text("Day by day").click()
    page.get_by_text("Day by day").click()
    look(alice, f"usage-{size}")
    page.get_by_role("button", name="90 days").click()
    expect(page.get_by_role("button", name="90 days")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    alice.until(lambda: fits(alice), "nothing has to be scrolled sideways")


def test_a_hit_leads_to_its_message_even_on_another_branch(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    begun = site.finished(alice.name, "The first wording, with a walrus")
    question = begun["generation"]["user_message_id"]
    site.post(f"/messages/{question}/edit", alice.name, {"message": "The second wording, with a narwhal"})
    alice.sign_in(f"/c/{begun['conversation']['id']}")
    expect(alice.page.get_by_label("You wrote").get_by_text("narwhal")).to_be_visible()
    alice.page.keyboard.press("Control+k")
    alice.page.keyboard.type("walrus wording")
    hits = alice.page.get_by_role("navigation", name="Conversations").get_by_role("link").filter(has_text="walrus")
    hit = hits.first
    expect(hit.locator("mark").first).to_be_visible()
    hit.click()
    expect(alice.page.get_by_label("You wrote").get_by_text("walrus")).to_be_visible()
    expect(alice.answer).to_be_in_viewport()
    expect(alice.page.get_by_label("You wrote").get_by_text("1 of 2")).to_be_visible()


def test_a_search_without_a_hit_says_so(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "Hello")
    alice.sign_in()
    expect(row(alice, "Hello")).to_be_visible()
    alice.page.get_by_role("searchbox").fill("zyzzyva")
    expect(alice.page.get_by_text("Nothing found.")).to_be_visible()
    alice.page.keyboard.press("Escape")
    expect(row(alice, "Hello")).to_be_visible()


def test_what_was_saved_can_be_brought_in_again(visit: Visit, site: Site, tmp_path: Path) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "A keepsake")
    alice.sign_in()
    expect(row(alice, "A keepsake")).to_be_visible()
    with alice.page.expect_download() as download:
        choose(alice, "A keepsake", "Save as JSON")
    file = tmp_path / "keepsake.json"
    download.value.save_as(file)
    assert json.loads(file.read_text())["format"] == "unbroken.conversation"

    bob = visit("bob")
    account(bob, "Import conversations")
    choose_file(bob, file)
    expect(bob.page.get_by_label("You wrote").get_by_text("A keepsake")).to_be_visible()
    assert site.messages(bob.conversation, bob.name)[1]["status"] == "completed"

    wrong = tmp_path / "wrong.json"
    account(bob, "Import conversations")
    for content, words in (("{", "not a conversation"), ('{"format": "other"}', "format")):
        wrong.write_text(content)
        choose_file(bob, wrong)
        expect(bob.page.get_by_role("alert").filter(has_text=words).first).to_be_visible()


def test_usage_tells_days_models_and_costs(visit: Visit, site: Site) -> None:
    alice = visit()
    account(alice, "Usage")
    dialog = alice.page.get_by_role("dialog", name="Usage")
    expect(dialog.get_by_text("No usage in this period.")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    site.behave(tokens=30, rate=0)
    site.finished(alice.name, "How much was that?", model="clever")
    site.finished(alice.name, "And that?", model="offline-fast")
    account(alice, "Usage")
    expect(dialog.get_by_role("row", name=re.compile("Clever 1 .*\\$"))).to_be_visible()
    expect(dialog.get_by_role("row", name=re.compile("offline-fast 1 "))).to_be_visible()
    expect(dialog.get_by_text(re.compile("tokens in 2 answers"))).to_be_visible()


def test_a_tool_is_shown_with_what_went_in_and_what_came_out(visit: Visit) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-tools/new")
    alice.send("Please calculate 6 * 7")
    tool = alice.answer.locator(".tool")
    expect(tool).to_contain_text(re.compile("calculator.*done"))
    alice.is_answered()
    expect(tool).to_have_count(1)
    tool.locator("summary").click()
    expect(tool.get_by_role("region", name="Arguments")).to_contain_text("6 * 7")
    expect(tool.get_by_role("region", name="Result")).to_contain_text("42")
    alice.picture("tool-done")
    alice.page.reload()
    expect(alice.answer.locator(".tool")).to_contain_text(re.compile("calculator.*done"))
