"""States of the page at three widths, in light and dark: edit, branch, queue, failure, lost connection, takeover."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ENDLESS, SIZES, Site, Visitor
from tests.browser.looks import look
from tests.browser.test_page import choose, row
from tests.browser.test_views import account, show_list

Visit = Callable[..., Visitor]
STREAM = re.compile(r"/api/v1/(feed|generations/)")


@pytest.mark.parametrize("size", SIZES)
def test_every_state_fits_every_screen_in_both_lights(visit: Visit, site: Site, size: str) -> None:
    alice = visit(size=size, signed_in=False)
    page = alice.page
    site.behave(text="The *Tower of Hercules*, from the second century.", rate=0)
    begun = site.finished(alice.name, "Which lighthouse is the oldest one that is still lit?", model="fake")
    site.behave(tokens=ENDLESS, rate=20)
    alice.sign_in(f"/c/{begun['conversation']['id']}")
    alice.is_answered()

    alice.box.press("ArrowUp")
    edit = page.get_by_role("textbox", name="Edit message")
    expect(edit).to_be_focused()
    look(alice, f"editing-{size}")
    edit.fill("Which lighthouse is the tallest one?")
    edit.press("Enter")
    expect(page.get_by_role("article", name="You wrote").get_by_text("2 of 2")).to_be_visible()
    alice.has_grown()
    alice.send("And how tall is it?")
    expect(page.get_by_text(re.compile("Waiting for its turn"))).to_be_visible()
    look(alice, f"branch-waiting-{size}")

    page.get_by_role("button", name="Stop the answer").click()
    expect(page.get_by_text("Stopped.").first).to_be_visible()
    alice.has_grown()
    page.route(STREAM, lambda route: route.abort("connectionreset"))
    page.reload()
    expect(page.get_by_text(re.compile(r"Reconnecting in \d+ s"))).to_be_visible()
    look(alice, f"cut-off-{size}")
    page.unroute(STREAM)
    alice.has_grown()
    page.get_by_role("button", name="Stop the answer").click()
    alice.is_answered()

    site.behave(status=400, error_message="This model is resting.")
    alice.send("Once more")
    expect(alice.answer.get_by_role("button", name="Try again")).to_be_visible()
    look(alice, f"stopped-and-failed-{size}")

    site.finished(alice.name, "Something to put away")
    show_list(alice)
    choose(alice, "Something to put away", "Archive")
    account(alice, "Archived conversations")
    show_list(alice)
    expect(row(alice, "Something to put away")).to_be_visible()
    look(alice, f"archived-{size}")


def test_a_takeover_is_told_in_every_window(visit: Visit, site: Site) -> None:
    windows = {size: visit(size=size, signed_in=False) for size in SIZES}
    site.behave(tokens=ENDLESS, rate=20)
    user = windows["desk"].name
    begun = site.post("/generations", user, {"message": "Tell me about the sea", "model": "fake"})
    for window in windows.values():
        window.sign_in(f"/c/{begun['conversation']['id']}")
        window.has_grown()
    for size, window in windows.items():
        expect(window.page.get_by_text("Also open in 2 other places")).to_be_attached()
        look(window, f"presence-{size}")
    site.lose_worker()
    for size, window in windows.items():
        expect(window.answer.get_by_role("note")).to_be_visible()
        expect(window.answer.get_by_role("note")).to_be_in_viewport(ratio=0.9)
        look(window, f"takeover-{size}")
    site.post(f"/generations/{begun['generation']['id']}/cancel", user, {})
    for window in windows.values():
        window.is_answered()
    windows["desk"].until(lambda: len({window.shown() for window in windows.values()}) == 1, "all show the same")
