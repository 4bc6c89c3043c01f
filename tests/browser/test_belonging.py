"""A page that belongs to its device: it can be installed, leaves room for a finger, prints, takes a pasted link."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import Site, Visitor
from tests.browser.looks import look, stands_still
from tests.browser.test_page import row
from tests.browser.test_views import show_list

Visit = Callable[..., Visitor]
FINGER = 44  # pixels
# Links in running text keep the height of their line.
SMALL = """
(least) => [...document.querySelectorAll('button, a[href], summary, input, select')]
  .filter((node) => node.checkVisibility({visibilityProperty: true}) && !node.closest('.markdown p, [inert], .sr-only'))
  .map((node) => [node.closest('label') ?? node, node])
  .map(([area, node]) => [area.getBoundingClientRect(), node.outerHTML.slice(0, 90)])
  .filter(([{width, height}]) => width > 1 && (width < least || height < least))
  .map(([{width, height}, html]) => `${Math.round(width)} x ${Math.round(height)}: ${html}`)
"""


def too_small(visitor: Visitor) -> list[str]:
    """The places that a finger would miss. A menu that opens is smaller on its way."""
    stands_still(visitor)
    found: list[str] = visitor.page.evaluate(SMALL, FINGER)
    return found


def test_a_browser_can_install_the_page(visit: Visit) -> None:
    alice = visit(signed_in=False)
    alice.page.goto(alice.site.url + "/")
    protocol = alice.context.new_cdp_session(alice.page)
    found: dict[str, Any] = protocol.send("Page.getAppManifest")
    assert found["errors"] == []
    manifest = json.loads(found["data"])
    assert manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        size = alice.page.evaluate(
            "async (src) => { const at = new Image(); at.src = src; await at.decode(); return at.width }",
            f"/static/{icon['src']}",
        )
        assert icon["sizes"] in ("any", f"{size}x{size}")


def test_a_finger_has_room_everywhere(visit: Visit, site: Site) -> None:
    alice = visit(size="phone", signed_in=False, has_touch=True, is_mobile=True)
    site.behave(text="A list:\n\n- one\n- two\n\n```\ncode\n```\n", rate=0)
    begun = site.finished(alice.name, "Something to press", model="fake")
    alice.sign_in(f"/c/{begun['conversation']['id']}")
    alice.is_answered()
    assert too_small(alice) == []
    alice.picture("touch-chat")
    show_list(alice)
    expect(row(alice, "Something to press")).to_be_in_viewport()
    assert too_small(alice) == []
    alice.picture("touch-list")
    row(alice, "Something to press").get_by_role("button").tap()
    expect(alice.page.get_by_role("menuitem", name="Rename")).to_be_visible()
    assert too_small(alice) == []
    alice.picture("touch-menu")


def test_a_conversation_is_printed_in_full_and_alone(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    long = "\n\n".join(f"Paragraph {number}: " + "words " * 40 for number in range(60))
    site.behave(text=f"{long}\n\n```\n{'wide ' * 80}\n```\n", rate=0)
    begun = site.finished(alice.name, "Print this", model="fake")
    site.finished(alice.name, "And this", model="fake", conversation_id=begun["conversation"]["id"])
    alice.sign_in(f"/c/{begun['conversation']['id']}")
    expect(alice.answer).to_contain_text("Paragraph 59")
    page = alice.page
    page.emulate_media(media="print", color_scheme="dark")
    for part in (".sidebar", ".composer", ".icon-button", "footer button"):
        expect(page.locator(part).first).to_be_hidden()
    for words in ("Paragraph 0:", "Paragraph 59:", "And this"):
        expect(page.locator(".thread").get_by_text(words).first).to_be_visible()
    # Nothing scrolls on paper: what does not fit would be lost.
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.thread, .column, .code pre')]
          .filter((node) => node.scrollHeight > node.clientHeight + 1 || node.scrollWidth > node.clientWidth + 1)
          .map((node) => node.className)"""
    )
    assert cut == []
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    page.set_viewport_size({"width": 794, "height": 1123})
    alice.picture("print")


def test_a_sign_in_link_is_pasted_into_the_page(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.page.goto(alice.site.url + "/")
    link = alice.page.get_by_role("textbox", name="Sign-in link")
    link.fill("https://example.org/")
    link.press("Enter")
    expect(alice.page.get_by_role("alert")).to_contain_text("no sign-in link")
    address = site.url + site.sign_in_path(alice.name)
    link.fill(f" {address} ")
    look(alice, "sign-in-pasted")
    link.press("Enter")
    expect(alice.box).to_be_visible()
    # The same link does not work twice.
    again = visit("bob", signed_in=False)
    again.page.goto(site.url + "/")
    again.page.get_by_role("textbox", name="Sign-in link").fill(address)
    again.page.get_by_role("button", name="Sign in").click()
    expect(again.page.get_by_role("alert")).to_contain_text("used before")
