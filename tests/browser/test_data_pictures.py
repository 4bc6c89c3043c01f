"""Pictures that an answer has in its text as data: drawn when they are pictures, and words otherwise."""

from __future__ import annotations

import base64
from typing import Any

from playwright.sync_api import Page

from tests.browser.sample_files import picture

# Longer than any link, so that its end is far away.
DOT = base64.b64encode(picture("dot.png", 90, 60)["buffer"]).decode()
SVG = base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>').decode()

DRAW = """
async ({text}) => {
  const {MarkdownView} = await import('/static/markdown.js');
  const root = document.createElement('div');
  document.body.replaceChildren(root);
  const view = new MarkdownView(root);
  for (let end = 1000; end < text.length; end += 3000) view.show(text.slice(0, end), {live: true});
  const growing = root.textContent;
  view.show(text);
  const images = [...root.querySelectorAll('img')];
  await Promise.all(images.map((image) => image.decode()));
  return {
    growing,
    text: root.textContent,
    images: images.map(({src, alt, naturalWidth}) => [src.split(':')[0], alt, naturalWidth]),
  };
}
"""


def drawn(page: Page, text: str) -> Any:
    return page.evaluate(DRAW, {"text": text})


def test_a_picture_in_the_text_is_drawn_and_its_data_never_shown(module_page: Page) -> None:
    assert len(DOT) > 5000
    found = drawn(module_page, f"Look: ![A *dot*](data:image/png;base64,{DOT}) **there**")
    assert found["images"] == [["blob", "A dot", 90]]
    assert found["text"] == "Look:  there"
    assert "iVBOR" not in found["growing"]


def test_what_is_no_picture_stays_its_words(module_page: Page) -> None:
    for address in (f"data:image/svg+xml;base64,{SVG}", "data:image/png;base64,%%%", "data:text/html;base64,PGI+"):
        found = drawn(module_page, f"Look: ![A drawing]({address})")
        assert (found["images"], found["text"]) == ([], "Look: A drawing")
