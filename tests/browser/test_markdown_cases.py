"""The cases of tests/browser/markdown: what each becomes, drawn at once and as it grows.

A case is a Markdown file and its outline (outline.js), which was compared with what GitHub or ChatGPT makes of it.
`OUTLINES=write` in the environment writes the outlines of new or changed cases, to be read before they are committed.
"""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page

CASES = Path(__file__).parent / "markdown"
OUTLINE = (Path(__file__).parent / "outline.js").read_text().partition("*/")[2]
TEXTS = {path.stem: path.read_text().removesuffix("\n") for path in sorted(CASES.glob("*.md"))}
DRAW = f"""
async (cases) => {{
  const {{MarkdownView}} = await import('/static/markdown.js');
  const outline = {OUTLINE};
  return cases.map((text) => {{
    const root = document.createElement('div');
    document.body.append(root);
    new MarkdownView(root).show(text);
    const found = outline(root);
    root.remove();
    return found;
  }});
}}
"""
# Each text character by character, and in random pieces. The result is that of the whole text.
GROW = """
async ([cases, seed, single]) => {
  const {MarkdownView} = await import('/static/markdown.js');
  const random = (limit) => (seed = (seed * 1103515245 + 12345) % 2147483648) % limit;
  const different = [];
  for (const text of cases) for (const step of single ? [1] : [7, 40]) {
    const [grown, whole] = [document.createElement('div'), document.createElement('div')];
    const view = new MarkdownView(grown);
    for (let at = 1; at < text.length; at += 1 + random(step)) view.show(text.slice(0, at), {live: true});
    view.show(text);
    new MarkdownView(whole).show(text);
    if (grown.innerHTML !== whole.innerHTML) different.push([text, grown.innerHTML, whole.innerHTML]);
  }
  return different;
}
"""


def test_each_case_has_its_structure(module_page: Page) -> None:
    found = dict(zip(TEXTS, module_page.evaluate(DRAW, list(TEXTS.values())), strict=True))
    if os.environ.get("OUTLINES") == "write":
        for name, outline in found.items():
            (CASES / f"{name}.outline").write_text(outline)
    expected = {name: (CASES / f"{name}.outline").read_text() for name in TEXTS}
    assert found == expected


def test_each_case_grows_to_the_same_nodes(module_page: Page) -> None:
    texts = [*TEXTS.values(), "\n\n".join(TEXTS.values())]
    assert module_page.evaluate(GROW, [list(TEXTS.values()), 7, True]) == []
    for seed in (11, 12, 13):
        assert module_page.evaluate(GROW, [texts, seed, False]) == []
