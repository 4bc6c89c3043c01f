"""The account: keys, sessions, activity and data of the user who is signed in, at three widths."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.browser.conftest import SIZES, Site, Visitor
from tests.browser.looks import look

Visit = Callable[..., Visitor]


def open_account(alice: Visitor, page: str = "API keys") -> Locator:
    """Open the dialog of the account at one of its pages."""
    if alice.page.get_by_role("dialog", name="Account").count() == 0:
        if not alice.page.get_by_role("button", name=re.compile("Account and settings")).is_visible():
            alice.page.get_by_role("button", name="Show conversations").click()
        alice.page.get_by_role("button", name=re.compile("Account and settings")).click()
        alice.page.get_by_role("menuitem", name="Account").click()
    dialog = alice.page.get_by_role("dialog", name="Account")
    dialog.get_by_role("tab", name=page).click()
    return dialog


def status_with(site: Site, key: str) -> int:
    """The status of a request with an API key."""
    request = Request(f"{site.url}/api/v1/me", headers={"Authorization": f"Bearer {key}"})
    try:
        with urlopen(request, timeout=30) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


def made_key(dialog: Locator, name: str) -> str:
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name="Make a key").click()
    shown = dialog.get_by_label("key", exact=True)
    expect(shown).to_contain_text("unb_")
    return shown.inner_text().strip()


def test_a_key_is_made_shown_once_used_and_ended(visit: Visit, site: Site) -> None:
    alice = visit()
    dialog = open_account(alice)
    expect(dialog.get_by_text("There is no key yet.")).to_be_visible()
    key = made_key(dialog, "My program")
    dialog.get_by_text("Try it").click()
    expect(dialog.get_by_label("curl command", exact=True)).to_contain_text(key)
    expect(dialog.get_by_label("Python program", exact=True)).to_contain_text(f'base_url="{site.url}/v1"')
    assert status_with(site, key) == 200
    dialog.get_by_role("tab", name="Sessions").click()
    dialog.get_by_role("tab", name="API keys").click()
    expect(dialog.get_by_text("My program")).to_be_visible()
    assert key not in alice.page.content()
    assert key not in "".join(alice.stored().values())
    dialog.get_by_role("button", name="End the key My program").click()
    alice.page.get_by_role("button", name="End key").click()
    expect(dialog.get_by_text("There is no key yet.")).to_be_visible()
    # A web process reads revocations several times a second.
    alice.until(lambda: status_with(site, key) == 401, "the key is refused")


def test_sessions_are_listed_and_another_one_is_ended(visit: Visit) -> None:
    alice = visit()
    elsewhere = visit(signed_in=False, user_agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")
    elsewhere.name = alice.name
    elsewhere.sign_in()
    dialog = open_account(alice, "Sessions")
    expect(dialog.get_by_text("(this browser)")).to_be_visible()
    dialog.get_by_role("button", name="End the session Firefox on Linux").click()
    expect(elsewhere.page.get_by_role("dialog", name="Your session has ended")).to_be_visible()
    expect(dialog.get_by_text("Firefox on Linux")).to_have_count(0)


def test_signing_out_everywhere_reaches_every_browser(visit: Visit) -> None:
    alice = visit()
    elsewhere = visit(signed_in=False)
    elsewhere.name = alice.name
    elsewhere.sign_in()
    dialog = open_account(alice, "Sessions")
    dialog.get_by_role("button", name="Sign out everywhere").click()
    confirm = alice.page.get_by_role("dialog", name="Sign out everywhere?")
    confirm.get_by_role("button", name="Sign out everywhere").click()
    expect(alice.door).to_be_visible()
    expect(elsewhere.page.get_by_role("dialog", name="Your session has ended")).to_be_visible()


def test_what_was_done_is_in_the_activity(visit: Visit) -> None:
    alice = visit()
    made_key(open_account(alice), "Seen later")
    dialog = open_account(alice, "Activity")
    rows = dialog.get_by_role("list", name="Activity").get_by_role("listitem")
    expect(rows.first).to_contain_text(re.compile("key", re.IGNORECASE))
    expect(rows.first).to_contain_text("by you")
    expect(rows.last).to_contain_text(re.compile("sess|sign", re.IGNORECASE))


def test_everything_is_downloaded(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "a private matter")
    alice.sign_in()
    dialog = open_account(alice, "Your data")
    with alice.page.expect_download() as download:
        dialog.get_by_role("link", name="Download everything").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        whole = b"".join(archive.read(name) for name in archive.namelist())
        assert json.loads(archive.read("manifest.json"))
    assert b"a private matter" in whole


def test_what_does_not_fit_into_one_archive_is_offered_next(visit: Visit) -> None:
    alice = visit()
    dialog = open_account(alice, "Your data")
    wanted: list[str] = []

    def archive(route: Route) -> None:
        wanted.append(route.request.url.partition("?")[2])
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("manifest.json", json.dumps({"next": "place-2" if len(wanted) == 1 else None}))
        route.fulfill(status=200, body=out.getvalue(), content_type="application/zip")

    alice.page.route("**/api/v1/me/export*", archive)
    for label, name in (("everything", "unbroken-export.zip"), ("part 2", "unbroken-export-2.zip")):
        with alice.page.expect_download() as download:
            dialog.get_by_role("link", name=f"Download {label}").click()
        assert download.value.suggested_filename == name
    expect(dialog.get_by_role("link", name="Download everything")).to_be_visible()
    assert wanted == ["", "after=place-2"]


def test_an_account_is_erased_after_a_word(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "a private matter")
    alice.sign_in()
    dialog = open_account(alice, "Your data")
    for word, words in (("no", "Nothing was erased"), ("erase", None)):
        dialog.get_by_role("button", name="Erase my account").click()
        prompt = alice.page.get_by_role("dialog", name="Erase your account?")
        prompt.get_by_role("textbox").fill(word)
        prompt.get_by_role("button", name="Erase everything").click()
        if words:
            expect(dialog.get_by_role("alert")).to_contain_text(words)
            assert len(site.get("/conversations", alice.name)["items"]) == 1
    expect(alice.door).to_be_visible()
    assert alice.stored() == {}


@pytest.mark.parametrize("size", SIZES)
def test_sign_in_and_account_are_accessible_at_every_width(visit: Visit, site: Site, size: str) -> None:
    alice = visit(signed_in=False, size=size)
    alice.go("/")
    expect(alice.door).to_be_visible()
    look(alice, f"door-{size}")
    alice.go(site.sign_in_path(alice.name))
    expect(alice.page.get_by_role("button", name="Sign in")).to_be_visible()
    look(alice, f"link-{size}")
    alice.sign_in()
    dialog = open_account(alice)
    made_key(dialog, "A program with a rather long name that has to be wrapped somewhere")
    dialog.get_by_text("Try it").click()
    look(alice, f"keys-{size}")
    for page, words in (("Sessions", "(this browser)"), ("Activity", "by you"), ("Your data", "Download everything")):
        open_account(alice, page)
        expect(dialog.get_by_text(words).first).to_be_visible()
        assert dialog.evaluate("node => node.scrollWidth <= node.clientWidth")
        look(alice, f"{page.lower().replace(' ', '-')}-{size}")
    alice.page.keyboard.press("Escape")
    if size != "desk":  # the list of conversations covers the chat
        alice.page.get_by_role("button", name="Hide conversations").click()
    site.end_sessions(alice.name, 0)
    alice.send("Is anybody there?")
    expect(alice.page.get_by_role("dialog", name="Your session has ended")).to_be_visible()
    look(alice, f"ended-{size}")
