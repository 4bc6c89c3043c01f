"""A file that was deleted is named as deleted in its message, before somebody tries to save it and behind a click."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import Site, Visitor
from tests.browser.looks import look
from tests.browser.sample_files import picture, plain
from tests.browser.test_attachments import pick, question, uploaded

Visit = Callable[..., Visitor]


def test_a_message_says_which_of_its_files_were_deleted(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    pick(alice, picture("sea.png"), plain("notes.txt", "The tide."), plain("later.txt", "Gone in a moment."))
    uploaded(alice, 3)
    alice.send("What is this?")
    alice.is_answered()
    ids = {
        each["filename"]: each["file_id"] for each in site.messages(alice.conversation, alice.name)[-2]["attachments"]
    }
    for name in ("sea.png", "notes.txt"):
        assert site.delete(f"/files/{ids[name]}", alice.name) is None
    alice.page.reload()
    # Files are looked for when they come near the window.
    question(alice).scroll_into_view_if_needed()
    files = question(alice).get_by_role("list", name="Files").get_by_role("listitem")
    expect(files.filter(has_text="notes.txt")).to_contain_text("This file was deleted.")
    expect(question(alice).get_by_text("This picture was deleted.")).to_be_visible()
    expect(question(alice).get_by_role("link", name=re.compile("notes.txt"))).to_have_count(0)
    look(alice, "deleted-files")

    # The other one can be saved, until it is deleted, too.
    other = question(alice).get_by_role("link", name=re.compile("later.txt"))
    with alice.page.expect_download() as saved:
        other.click()
    assert saved.value.suggested_filename == "later.txt"
    assert site.delete(f"/files/{ids['later.txt']}", alice.name) is None
    other.click()
    expect(files.filter(has_text="later.txt")).to_contain_text("This file was deleted.")
    expect(alice.page.get_by_role("status").filter(has_text="This file was deleted.")).to_have_count(1)
