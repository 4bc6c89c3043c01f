"""A picture that an answer has as data is drawn when its markup is complete, while the answer goes on."""

from __future__ import annotations

import base64
import os
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site, Visitor
from tests.browser.test_long_answer import is_smooth, prose, traced  # noqa: F401  # a fixture
from tests.made_files import chunk

Visit = Callable[..., Visitor]
PIECE = 20_000  # characters of an event


def noise(side: int) -> str:
    """A PNG that cannot be compressed, as a data URL: about four characters for each of its pixels."""
    rows = b"".join(b"\0" + os.urandom(3 * side) for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_a_large_picture_is_drawn_while_the_answer_goes_on(visit: Visit, site: Site, traced: Any) -> None:  # noqa: F811
    begun = f"{prose(1, 40)}\n\nLook: ![A *dot*]({noise(512)})"
    assert len(begun) > 1_000_000
    whole = f"{begun} there.\n\n{prose(2, 9000)}"
    # The model sends nothing behind the picture until the picture was seen.
    site.behave(text=whole, piece=PIECE, rate=200, stall_after=len(begun) // PIECE + 2)
    alice = visit(signed_in=False)
    alice.sign_in("/m/fake/new")
    end = traced(alice.page)
    alice.send("Draw me a dot")
    drawn = alice.answer.get_by_role("img", name="A dot")
    expect(drawn).to_be_visible()
    assert site.messages(alice.conversation, alice.name)[-1]["status"] == "running"
    site.go_on()
    expect(alice.answer.locator(".picture")).not_to_have_class("loading")
    alice.until(lambda: "there." in alice.shown(), "the words behind the picture are drawn")
    assert "iVBOR" not in alice.shown()
    address = drawn.get_attribute("src")
    alice.is_answered()
    spent = end()
    print(f"processor {[round(ms) for ms in spent[:8]]} ms of {sum(spent):.0f} in {len(spent)} tasks")
    assert is_smooth(spent), spent[:10]
    assert drawn.get_attribute("src") == address, "it was drawn once"
    assert site.messages(alice.conversation, alice.name)[-1]["content"] == whole


DRAWINGS = """
async ({text, piece}) => {
  const {Answer} = await import('/static/answer.js');
  const {MarkdownView} = await import('/static/markdown.js');
  const {show} = MarkdownView.prototype;
  let drawings = 0;
  MarkdownView.prototype.show = function (...given) {
    drawings += 1;
    return show.apply(this, given);
  };
  const answer = new Answer({status: 'running'});
  document.body.replaceChildren(answer.node);
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  for (let at = 0; at < text.length; at += piece) {
    answer.receive({type: 'token', content: text.slice(at, at + piece)});
    await frame();
  }
  const deadline = performance.now() + 60_000;
  while (!answer.node.querySelector('img') && performance.now() < deadline) await frame();
  return {drawings, shown: answer.node.querySelector('.body').textContent};
}
"""


def test_a_picture_is_drawn_a_few_drawings_behind_its_markup(module_page: Page) -> None:
    """The answer is still being written; text of this length takes hundreds of drawings.

    Frames are not counted: a drawing is followed by a rest, which is as long as the machine made the drawing.
    """
    found = module_page.evaluate(DRAWINGS, {"text": f"Look: ![A dot]({noise(512)})", "piece": 100_000})
    assert found["drawings"] < 20
    assert found["shown"] == "Look: "


END = """
async ({steps, to}) => {
  const {GrowingData} = await import('/static/growing_data.js');
  const data = new GrowingData();
  return steps.map(([text, live]) => text.slice(0, data.end(text, Math.min(to, text.length), live)));
}
"""


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        ([("Words", True), ("Words that grow", True)], ["Words", "Words that "]),
        (
            [("![a](data:image/png;base64,AA", True), ("![a](data:image/png;base64,AAAA)", True)],
            ["![a](data:image/", ...],
        ),
        ([("![a](data:image/png;base64,AAAA) and", True)], ["![a](data:image/png;base64,AAAA)"]),
        ([("`](data:image/x` and many words", True)], ["`](data:image/x`"]),
        ([("![a](data:image/png;base64,AA", False)], [...]),
        ([("![a](data:image/png;base64,AA", True), ("Another", True)], ["![a](data:image/", "Another"]),
    ],
)
def test_a_part_of_data_is_never_drawn(module_page: Page, steps: list[tuple[str, bool]], shown: list[Any]) -> None:
    found = module_page.evaluate(END, {"steps": [list(step) for step in steps], "to": 11})
    assert found == [text if part is ... else part for (text, _), part in zip(steps, shown, strict=True)]
