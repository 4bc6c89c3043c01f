"""The thread and the box show thumbnails; the gallery, and a page without thumbnails, show the picture itself."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable

from playwright.sync_api import FilePayload, Locator, Route, expect

from tests.browser.conftest import Site, Visitor
from tests.browser.test_attachments import chips, pick, question, uploaded
from tests.made_files import chunk

Visit = Callable[..., Visitor]
WIDTH, HEIGHT = 700, 350


def noise(name: str) -> FilePayload:
    """A PNG of more bytes than a thumbnail is asked for."""
    rows = b"".join(b"\0" + os.urandom(3 * WIDTH) for _ in range(HEIGHT))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return {"name": name, "mimeType": "image/png", "buffer": data}


def width_of(picture: Locator) -> int:
    """The pixels of a picture that is drawn when it comes near the window."""
    picture.page.get_by_role("article", name="You wrote").last.or_(picture).first.scroll_into_view_if_needed()
    expect(picture).to_be_visible()
    width: int = picture.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }")
    return width


def asked(visitor: Visitor) -> list[str]:
    """The contents that a page asks for from now on, by their queries."""
    queries: list[str] = []
    visitor.page.on(
        "request",
        lambda request: queries.append(request.url.partition("?")[2]) if "/content" in request.url else None,
    )
    return queries


def with_a_picture(visit: Visit) -> Visitor:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    pick(alice, noise("sea.png"))
    uploaded(alice, 1)
    return alice


def test_the_thread_and_the_box_show_thumbnails_and_the_gallery_the_picture(visit: Visit, site: Site) -> None:
    alice = with_a_picture(visit)
    queries = asked(alice)
    alice.page.reload()
    uploaded(alice, 1)
    assert width_of(chips(alice).locator("img")) == 512
    alice.send("What is this?")
    alice.is_answered()
    alice.page.reload()
    shown = question(alice).get_by_role("button", name=re.compile("Show the picture"))
    assert width_of(shown.locator("img")) == 512
    assert set(queries) == {"variant=thumbnail"}
    shown.click()
    gallery = alice.page.get_by_role("dialog", name="Picture")
    assert width_of(gallery.get_by_role("img", name="sea.png")) == WIDTH
    assert queries[-1] == ""


def test_a_picture_without_a_thumbnail_is_shown_itself(visit: Visit) -> None:
    alice = with_a_picture(visit)
    alice.send("What is this?")
    alice.is_answered()

    def refuse(route: Route) -> None:
        route.fulfill(status=422, json={"title": "Unprocessable", "status": 422, "errors": []})

    alice.page.route("**/content?variant=thumbnail", refuse)
    alice.page.reload()
    shown = question(alice).get_by_role("button", name=re.compile("Show the picture"))
    assert width_of(shown.locator("img")) == WIDTH
