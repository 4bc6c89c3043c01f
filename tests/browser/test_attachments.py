"""Attachments on the page: picked, dropped and pasted, uploaded, sent, shown, and kept through trouble."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Locator, Route, expect

from tests.browser.conftest import Site, Visitor
from tests.browser.looks import look
from tests.browser.sample_files import picture, plain

Visit = Callable[..., Visitor]

LONG_PASTE = 8000  # characters, as app/web/static/file_sources.js has it
SEA = picture("sea.png", shade=200)
SHORE = picture("shore.png", 240, 320, shade=40)
NOTES = plain("notes.txt", "The tide comes in at noon.\n")

# What a user does with a mouse or keyboard reaches the page as events that hold the data.
TRANSFER = """
(node, {type, files, text}) => {
  const data = new DataTransfer();
  for (const {name, mimeType, base64} of files) {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    data.items.add(new File([bytes], name, {type: mimeType}));
  }
  if (text) data.setData('text/plain', text);
  const how = {bubbles: true, cancelable: true};
  const event = type === 'paste'
    ? new ClipboardEvent(type, {...how, clipboardData: data})
    : new DragEvent(type, {...how, dataTransfer: data});
  return node.dispatchEvent(event);
}
"""


def pick(visitor: Visitor, *files: FilePayload) -> None:
    """Choose files in the dialog of the browser."""
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.get_by_role("button", name="Attach files").first.click()
    chooser.value.set_files(list(files))


def hand_over(node: Locator, kind: str, files: Sequence[FilePayload] = (), text: str = "") -> bool:
    """Paste or drag data onto a node. Returns whether the browser does what it does by itself, too."""
    packed = [
        {"name": each["name"], "mimeType": each["mimeType"], "base64": base64.b64encode(each["buffer"]).decode()}
        for each in files
    ]
    left: bool = node.evaluate(TRANSFER, {"type": kind, "files": packed, "text": text})
    return left


def chips(visitor: Visitor) -> Locator:
    return visitor.page.locator(".composer").get_by_role("list", name="Attachments").get_by_role("listitem")


def uploaded(visitor: Visitor, count: int) -> None:
    """Wait until so many files are attached and on the server."""
    expect(chips(visitor)).to_have_count(count)
    expect(visitor.page.locator(".composer .attachment.ready")).to_have_count(count)


def question(visitor: Visitor) -> Locator:
    """The newest message of the user."""
    return visitor.page.get_by_role("article", name="You wrote").last


def attached(site: Site, visitor: Visitor, at: int = -2) -> list[str]:
    """The names of the files of a stored message."""
    return [each["filename"] for each in site.messages(visitor.conversation, visitor.name)[at]["attachments"]]


class Gate:
    """Holds the uploads of a visitor until it is opened."""

    def __init__(self, visitor: Visitor) -> None:
        self.waiting: list[Route] = []
        self._is_open = False
        visitor.page.route("**/api/v1/files", self._hold)

    def _hold(self, route: Route) -> None:
        if route.request.method == "POST" and not self._is_open:
            self.waiting.append(route)
        else:
            route.continue_()

    def open(self) -> None:
        self._is_open = True
        for route in self.waiting:
            route.continue_()


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_files_are_picked_sent_and_seen_again(visit: Visit, site: Site, size: str, tmp_path: Path) -> None:
    alice = visit(size=size, signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    page = alice.page
    pick(alice, SEA, SHORE, NOTES, plain("extra.txt", "Not this one."))
    uploaded(alice, 4)
    look(alice, f"attached-{size}")
    page.get_by_role("button", name="Remove extra.txt").click()
    expect(chips(alice)).to_have_count(3)
    alice.send("What is on these pictures?")
    expect(chips(alice)).to_have_count(0)
    alice.is_answered()
    assert attached(site, alice) == ["sea.png", "shore.png", "notes.txt"]

    page.reload()
    pictures = question(alice).get_by_role("button", name=re.compile("Show the picture"))
    expect(pictures).to_have_count(2)
    for each in pictures.all():
        # Pictures are fetched when they come near the window.
        each.scroll_into_view_if_needed()
        expect(each).not_to_have_class(re.compile("loading|failed"))
    expect(question(alice).get_by_role("link", name=re.compile("notes.txt"))).to_be_visible()
    look(alice, f"pictures-{size}")

    pictures.first.click()
    gallery = page.get_by_role("dialog", name="Picture")
    expect(gallery.get_by_role("img", name="sea.png")).to_be_visible()
    look(alice, f"gallery-{size}")
    page.keyboard.press("ArrowRight")
    expect(gallery.get_by_role("img", name="shore.png")).to_be_visible()
    expect(gallery.get_by_text("2 of 2")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(gallery.get_by_role("img", name="shore.png")).to_be_visible()
    with page.expect_download() as saved:
        gallery.get_by_role("link", name="Save the picture").click()
    saved.value.save_as(tmp_path / "shore.png")
    assert saved.value.suggested_filename == "shore.png"
    assert (tmp_path / "shore.png").read_bytes().startswith(b"\x89PNG")
    page.keyboard.press("Escape")
    expect(gallery).to_be_hidden()
    expect(pictures.first).to_be_focused()


def test_a_long_paste_becomes_a_file_and_can_be_text_again(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    text = "A line of the log, and more of it. " * (LONG_PASTE // 35 + 1)
    assert hand_over(alice.box, "paste", text=text[:LONG_PASTE])  # the browser pastes it
    expect(chips(alice)).to_have_count(0)
    assert not hand_over(alice.box, "paste", text=text)
    uploaded(alice, 1)
    expect(chips(alice)).to_contain_text("Pasted text.txt")
    alice.box.fill("Before: ")
    page = alice.page
    page.get_by_role("button", name="Put Pasted text.txt into the message as text").click()
    expect(chips(alice)).to_have_count(0)
    expect(alice.box).to_have_value("Before: " + text)
    expect(alice.box).to_be_focused()
    alice.box.fill("")

    # A copied table is text with a picture of it; a copied picture is only a picture.
    assert hand_over(alice.box, "paste", [SEA], text="a\tb")
    assert not hand_over(alice.box, "paste", [{**SEA, "name": "image.png"}])
    uploaded(alice, 1)
    expect(chips(alice)).to_contain_text(re.compile(r"Pasted image [\d.]+png"))
    # A message needs no words.
    alice.box.press("Enter")
    alice.is_answered()
    assert len(attached(site, alice)) == 1


def test_dropped_files_are_attached_within_the_limits(visit: Visit) -> None:
    alice = visit()
    chat = alice.page.locator(".chat")
    hand_over(chat, "dragenter", [SEA])
    expect(alice.page.get_by_text("Drop files to attach them")).to_be_visible()
    alice.picture("drop")
    assert not hand_over(chat, "drop", [picture(f"{number}.png", 8, 8) for number in range(12)])
    expect(alice.page.get_by_text("Drop files to attach them")).to_be_hidden()
    expect(alice.page.get_by_role("alert")).to_contain_text("A message can have 10 attachments; 2 were left out.")
    uploaded(alice, 10)
    look(alice, "attached-many")
    # A file that misses the place does not replace the page.
    assert not hand_over(alice.page.get_by_role("navigation", name="Conversations"), "drop", [SEA])


def test_a_message_waits_for_its_uploads(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    gate = Gate(alice)
    pick(alice, SEA)
    alice.until(lambda: gate.waiting, "the upload has begun")
    alice.send("What is this?")
    expect(alice.page.get_by_text("The message is sent when the upload is done.")).to_be_visible()
    look(alice, "upload-waits")
    alice.page.get_by_role("button", name="Do not send yet").click()
    expect(alice.page.get_by_text("The message is sent when")).to_be_hidden()
    alice.box.press("Enter")
    expect(alice.page.get_by_text("The message is sent when the upload is done.")).to_be_visible()
    assert alice.path == "/m/offline-fast/new"
    gate.open()
    alice.is_answered()
    assert attached(site, alice) == ["sea.png"]


def test_an_upload_that_fails_is_repeated_and_can_be_cancelled(visit: Visit, site: Site) -> None:
    alice = visit()
    outcomes = ["lost", "refused"]

    def refuse(route: Route) -> None:
        outcome = outcomes.pop(0) if route.request.method == "POST" and outcomes else "taken"
        if outcome == "lost":
            route.abort("connectionreset")
        elif outcome == "refused":
            route.fulfill(status=413, json={"title": "Too large", "detail": "MAX_FILE_BYTES is 5"})
        else:
            route.continue_()

    alice.page.route("**/api/v1/files", refuse)
    pick(alice, SEA)
    # The lost connection is made good without a word; the refusal is said.
    failed = alice.page.locator(".attachment.failed")
    expect(failed).to_contain_text("Larger than the server takes")
    expect(alice.page.get_by_text("Not uploaded: sea.png. Try again, or remove it.")).to_be_visible()
    alice.box.fill("What is this?")
    expect(alice.page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    look(alice, "upload-failed")
    alice.page.get_by_role("button", name="Send sea.png again").click()
    uploaded(alice, 1)
    expect(alice.page.get_by_role("button", name="Send", exact=True)).to_be_enabled()

    alice.page.unroute("**/api/v1/files")
    gate = Gate(alice)
    pick(alice, SHORE)
    alice.until(lambda: gate.waiting, "the upload has begun")
    alice.page.get_by_role("button", name="Cancel shore.png").click()
    expect(chips(alice)).to_have_count(1)
    alice.page.get_by_role("button", name="Remove sea.png").focus()
    alice.page.keyboard.press("Enter")
    expect(chips(alice)).to_have_count(0)
    expect(alice.box).to_be_focused()


def test_attachments_survive_reload_and_offline(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    pick(alice, SEA, NOTES)
    uploaded(alice, 2)
    alice.box.fill("A draft")
    alice.page.reload()
    uploaded(alice, 2)
    expect(alice.box).to_have_value("A draft")

    alice.context.set_offline(True)
    alice.box.press("Enter")
    expect(chips(alice)).to_have_count(0)
    expect(question(alice).get_by_role("link", name=re.compile("notes.txt"))).to_be_visible()
    kept = json.loads(alice.stored()["unbroken.pending"])
    assert len(kept["body"]["attachments"]) == 2
    pick(alice, SHORE)
    expect(chips(alice)).to_contain_text("Goes on when you are online")
    alice.context.set_offline(False)
    uploaded(alice, 1)
    alice.is_answered()
    expect(alice.page).to_have_url(re.compile("/c/"))
    assert attached(site, alice) == ["sea.png", "notes.txt"]
    # The file that was attached meanwhile has moved to the conversation.
    uploaded(alice, 1)
    expect(chips(alice)).to_contain_text("shore.png")


def test_an_edited_message_keeps_its_attachments(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    pick(alice, SEA, NOTES)
    uploaded(alice, 2)
    alice.send("What is this?")
    alice.is_answered()

    def edit(text: str, *, without: str | None = None) -> None:
        question(alice).hover()
        question(alice).get_by_role("button", name="Edit message").click()
        if without:
            question(alice).get_by_role("button", name=f"Remove {without}").click()
        box = alice.page.get_by_role("textbox", name="Edit message")
        box.fill(text)
        alice.picture("edit-attachments")
        box.press("Enter")
        expect(question(alice)).to_contain_text(text)
        alice.is_answered()

    edit("And what is that?")
    assert attached(site, alice) == ["sea.png", "notes.txt"]
    edit("Only the words", without="sea.png")
    assert attached(site, alice) == ["notes.txt"]
    expect(question(alice).get_by_role("link", name=re.compile("notes.txt"))).to_be_visible()


def test_a_model_without_images_says_so_before_sending(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)

    def without_images(route: Route) -> None:
        answer: dict[str, Any] = route.fetch().json()
        for item in answer["items"]:
            item["accepts"] = {"images": False, "files": "text", "tools": True, "reasoning": False}
        route.fulfill(json=answer)

    alice.page.route("**/api/v1/models", without_images)
    alice.sign_in("/m/offline-fast/new")
    pick(alice, SEA, NOTES)
    uploaded(alice, 2)
    said = alice.page.get_by_text(re.compile("cannot take images. Remove sea.png, or choose another model"))
    expect(said).to_be_visible()
    alice.box.fill("What is this?")
    expect(alice.page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    look(alice, "model-without-images")
    alice.page.get_by_role("button", name="Remove sea.png").click()
    expect(said).to_be_hidden()
    alice.box.press("Enter")
    alice.is_answered()
    assert attached(site, alice) == ["notes.txt"]
