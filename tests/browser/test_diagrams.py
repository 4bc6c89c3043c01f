"""Diagrams as Mermaid draws them in its sandboxed frame: in both themes, from hostile sources, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from app.web.views import DIAGRAMS
from tests.browser.conftest import ELSEWHERE, Site, Visitor
from tests.browser.looks import look
from tests.browser.scripted import ScriptedServer

pytestmark = pytest.mark.skipif(DIAGRAMS != "drawn", reason="Mermaid is not installed: `make browser` does it with npm")

FLOW = """flowchart LR
  accTitle: The way of a token
  A[Browser] -->|asks| B(Web server)
  B --> C{Is a worker free?}
  C -->|yes| D[Model]
  C -->|no| E[(Queue)]"""
SEQUENCE = """sequenceDiagram
  Browser->>Server: send a message
  Server-->>Browser: stream of tokens"""
LOOSE = """%%{init: {"securityLevel": "loose", "htmlLabels": true, "themeCSS":
  "@import url(ELSEWHERE_URL/a.css); * {background: url(ELSEWHERE_URL/b.png)}"}}%%
flowchart LR
  A["<iframe src=ELSEWHERE_URL/></iframe>"] --> B"""
HOSTILE = [
    'flowchart LR\n  A["<script>parent.hurt=1</script><img src=ELSEWHERE_URL/a.png onerror=parent.hurt=1>"] --> B',
    'flowchart LR\n  A --> B\n  click A "javascript:parent.hurt=1"\n  click B call alert() "hurt"',
    'flowchart LR\n  A --> B\n  click A href "ELSEWHERE_URL/left" _top',
    LOOSE,
    "flowchart LR\n  A@{ img: 'ELSEWHERE_URL/picture.png', label: 'x', w: 60, h: 60 } --> B",
    "flowchart LR\n  A --> B\n  style A fill:url(ELSEWHERE_URL/c.png)",
]
# Sources that are no diagram, or too much of one.
REFUSED = ["flowchart LR\n  A --> ", "no diagram", "flowchart LR\n" + "".join(f"  a{n} --> b\n" for n in range(600))]


def fenced(*sources: str) -> str:
    return "Here:\n\n" + "\n\n".join(f"```mermaid\n{source}\n```" for source in sources) + "\n\nThat is all."


def answered(visit: Callable[..., Visitor], site: Site, text: str) -> tuple[Visitor, list[str]]:
    """A visitor who has got the text as an answer, and the addresses that the browser requests from then on."""
    site.behave(text=text, piece=400, rate=400)
    alice = visit(signed_in=False)
    requested: list[str] = []

    def note(request: Request) -> None:
        requested.append(request.url)

    alice.page.context.on("request", note)
    alice.sign_in("/m/fake/new")
    alice.send("Draw it")
    alice.is_answered()
    return alice, requested


def blocks(alice: Visitor) -> Locator:
    return alice.answer.locator("figure.code")


def bring_all(alice: Visitor) -> None:
    """Bring each block onto the screen, and wait until it is drawn or refused."""
    for block in blocks(alice).all():
        block.scroll_into_view_if_needed()
        expect(block.locator(".diagram img, .diagram-note")).to_have_count(1)


def source_of(image: Locator) -> str:
    return str(image.evaluate("(node) => decodeURIComponent(node.src)"))


def is_whole(page: Page) -> bool:
    """True when each image has been decoded: an image that is no image has no size."""
    images = "() => [...document.querySelectorAll('.diagram img')].every((each) => each.naturalWidth > 20)"
    return bool(page.evaluate(images))


def test_a_diagram_is_drawn_in_both_themes_and_changes_places_with_its_code(
    visit: Callable[..., Visitor], site: Site
) -> None:
    alice, requested = answered(visit, site, fenced(FLOW, SEQUENCE))
    images = blocks(alice).locator(".diagram img")
    first = blocks(alice).first
    expect(images).to_have_count(2)
    alice.until(lambda: is_whole(alice.page), "the images are whole")
    expect(images.first).to_have_attribute("alt", "The way of a token")
    expect(images.last).to_have_attribute("alt", "Diagram")
    for word in ("Browser", "worker", "Queue"):
        assert word in source_of(images.first)
    # One frame draws all of them, with one library.
    assert len([url for url in requested if url.endswith("mermaid.min.js")]) == 1
    light = source_of(images.first)
    alice.page.emulate_media(color_scheme="dark")
    alice.until(lambda: source_of(images.first) != light, "the diagram is drawn for the dark page")
    expect(first.locator(".diagram")).to_have_class("diagram dark")
    look(alice, "diagrams")
    switch = first.get_by_role("button", name="Code", exact=True)
    switch.focus()
    alice.page.keyboard.press("Enter")
    expect(first.locator("pre")).to_be_visible()
    expect(first.locator(".diagram")).to_be_hidden()
    expect(first.get_by_role("button", name="Diagram", exact=True)).to_be_focused()
    alice.page.keyboard.press("Space")
    expect(first.locator(".diagram")).to_be_visible()
    expect(first.locator("pre")).to_be_hidden()
    alice.page.emulate_media(media="print", color_scheme="light")
    expect(images.first).to_be_visible()
    expect(first.locator(".diagram-switch")).to_be_hidden()


def test_a_hostile_source_runs_nothing_and_requests_nothing(
    visit: Callable[..., Visitor], site: Site, scripted: ScriptedServer
) -> None:
    scripted.play()
    # The browser reaches this server under that name, so that a request to it would be seen.
    other = f"http://{ELSEWHERE}:{urlsplit(scripted.url).port}"
    alice, _ = answered(visit, site, fenced(*HOSTILE, FLOW).replace("ELSEWHERE_URL", other))
    bring_all(alice)
    assert alice.page.evaluate("() => 'hurt' in window") is False
    (frame,) = [frame for frame in alice.page.frames if frame.url.endswith("/diagram")]
    assert frame.evaluate("() => 'hurt' in window") is False
    assert scripted.asked == []
    for image in blocks(alice).locator(".diagram img").all():
        drawn = source_of(image)
        assert "<script" not in drawn
        assert "javascript:" not in drawn
        assert "onerror=" not in drawn
    assert alice.page.url.startswith(site.url)
    # The frame refuses what its policy does not allow, and the browser reports that.
    alice.trouble.clear()


def test_a_source_that_is_no_diagram_stays_code_with_a_sentence(visit: Callable[..., Visitor], site: Site) -> None:
    alice, _ = answered(visit, site, fenced(*REFUSED, FLOW))
    bring_all(alice)
    expect(alice.answer.get_by_text("This diagram could not be drawn, so its code is shown.")).to_have_count(3)
    expect(blocks(alice).locator("pre:visible")).to_have_count(3)


def test_a_huge_source_is_not_posted_to_the_frame(visit: Callable[..., Visitor], site: Site) -> None:
    huge = "flowchart LR\n" + "  aaaaaaaaaaaaaaaa --> b\n" * 2_200
    alice, requested = answered(visit, site, fenced(huge))
    expect(
        alice.answer.get_by_text("This diagram has more than 50,000 characters, so its code is shown.")
    ).to_be_visible()
    assert [url for url in requested if url.endswith("/diagram")] == []


def test_a_frame_that_does_not_load_leaves_the_code(visit: Callable[..., Visitor], site: Site) -> None:
    alice = visit(signed_in=False)
    alice.page.route("**/mermaid.min.js", lambda route: route.abort())
    site.behave(text=fenced(FLOW), piece=400, rate=400)
    alice.sign_in("/m/fake/new")
    alice.send("Draw it")
    alice.is_answered()
    expect(alice.answer.get_by_text("This diagram could not be drawn, so its code is shown.")).to_be_visible()
    expect(blocks(alice).locator("pre")).to_be_visible()
    alice.trouble.clear()


def test_without_the_package_the_block_stays_code_and_no_frame_is_opened(
    visit: Callable[..., Visitor], site: Site
) -> None:
    alice = visit(signed_in=False)
    alice.page.add_init_script(
        """addEventListener('DOMContentLoaded', () => {
          const meta = document.querySelector('meta[name="diagrams"]');
          if (meta) meta.content = 'written';
        });"""
    )
    site.behave(text=fenced(FLOW), piece=400, rate=400)
    alice.sign_in("/m/fake/new")
    alice.send("Draw it")
    alice.is_answered()
    blocks(alice).scroll_into_view_if_needed()
    expect(blocks(alice).locator("pre")).to_be_visible()
    assert alice.page.locator("iframe, .diagram-switch, .diagram-note").count() == 0
