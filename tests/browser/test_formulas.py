"""Formulas as KaTeX draws them: under the page's policy, in a growing text, from hostile sources, and when copied."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.web.views import FORMULAS
from tests.browser.conftest import Site, Visitor
from tests.browser.looks import look
from tests.browser.test_markdown_cases import TEXTS

pytestmark = pytest.mark.skipif(FORMULAS != "drawn", reason="KaTeX is not installed: `make browser` does it with npm")

OFFER = """
() => {
  const meta = document.createElement('meta');
  [meta.name, meta.content] = ['formulas', 'drawn'];
  document.head.append(meta);
}
"""
GROWN = """
async (texts) => {
  const {MarkdownView} = await import('/static/markdown.js');
  // Formulas are drawn in the order of their texts, so a new one is the last.
  const settled = async (number) => {
    const last = document.createElement('div');
    new MarkdownView(last).show(`$z_{${number}}$`);
    while (!last.querySelector('.drawn')) await new Promise((done) => setTimeout(done, 20));
  };
  // The library is loaded with the first formula.
  await settled(-1);
  const different = [];
  let drawn = 0;
  for (const [number, text] of texts.entries()) {
    const [grown, whole] = [document.createElement('div'), document.createElement('div')];
    const view = new MarkdownView(grown);
    for (let at = 1; at < text.length; at += 3) view.show(text.slice(0, at), {live: true});
    view.show(text);
    new MarkdownView(whole).show(text);
    await settled(number);
    drawn += whole.querySelectorAll('.formula.drawn .katex-mathml').length;
    if (grown.innerHTML !== whole.innerHTML) different.push([text, grown.innerHTML, whole.innerHTML]);
  }
  return {different, drawn};
}
"""
HOSTILE = [
    r"$\href{javascript:window.hurt=1}{x}$ $\url{javascript:window.hurt=1}$",
    r"$\includegraphics{https://e.com/a.png}$ $\htmlData{a=b}{x}$ $\htmlStyle{color: red}{x}$",
    r"$\htmlId{app}{x}$ $\htmlClass{sidebar}{x}$",
    r"$\text{<img src=x onerror=window.hurt=1>}$ $\verb|<script>window.hurt=1</script>|$",
    r"$\def\a#1{#1#1}\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{x}}}}}}}}}}}}$",
    r"$\def\a{\a\a}\a$ $\let\a=\b$ $\rule{9999em}{9999em}$",
    "$" + "{" * 2000 + "x" + "}" * 2000 + "$",
    "$" + r"\sqrt{" * 600 + "x" + "}" * 600 + "$",
    r"$\unknown{x}$ $\frac{1}$ $x_1_2$",
]


def test_cases_with_formulas_grow_to_the_same_drawn_nodes(module_page: Page) -> None:
    module_page.evaluate(OFFER)
    texts = [text for name, text in TEXTS.items() if name.startswith(("formulas", "answer"))]
    found = module_page.evaluate(GROWN, texts)
    assert found["different"] == []
    assert found["drawn"] > 30


def test_a_hostile_formula_is_drawn_or_stays_as_it_is_written(module_page: Page) -> None:
    module_page.evaluate(OFFER)
    found = module_page.evaluate(
        """async (texts) => {
          const {MarkdownView} = await import('/static/markdown.js');
          const roots = [...texts, 'the last one: $z$'].map((text) => {
            const root = document.createElement('div');
            document.body.append(root);
            new MarkdownView(root).show(text);
            return root;
          });
          while (!roots.at(-1).querySelector('.drawn')) await new Promise((done) => setTimeout(done, 20));
          const nodes = roots.flatMap((root) => [...root.querySelectorAll('*')]);
          return {
            hurt: 'hurt' in window,
            strange: nodes.filter((node) => node.matches('script, img, iframe, form, style, a, [id], .sidebar')).length,
            handlers: nodes.flatMap((node) => node.getAttributeNames()).filter((name) => name.startsWith('on')),
            written: [...roots.at(-2).querySelectorAll('.formula')].map((node) => node.textContent),
            macros: roots[5].textContent,
          };
        }""",
        HOSTILE,
    )
    assert (found["hurt"], found["strange"], found["handlers"]) == (False, 0, [])
    assert found["written"] == [r"$\unknown{x}$", r"$\frac{1}$", "$x_1_2$"]
    assert r"$\def\a{\a\a}\a$" in found["macros"]


def test_a_copied_formula_has_its_source(module_page: Page) -> None:
    module_page.evaluate(OFFER)
    copied = module_page.evaluate(
        """async (text) => {
          const {MarkdownView} = await import('/static/markdown.js');
          const root = document.createElement('div');
          document.body.append(root);
          new MarkdownView(root).show(text);
          while (root.querySelectorAll('.drawn').length < 2) await new Promise((done) => setTimeout(done, 20));
          getSelection().selectAllChildren(root);
          const clipboardData = new DataTransfer();
          document.dispatchEvent(new ClipboardEvent('copy', {clipboardData, cancelable: true}));
          return clipboardData.getData('text/plain');
        }""",
        "One $x_1$ is\n\n$$\ny^2\n$$",
    )
    assert copied.split() == ["One", "$x_1$", "is", "$$", "y^2", "$$"]


def test_formulas_of_an_answer_are_drawn_under_the_policy_of_the_page(
    visit: Callable[..., Visitor], site: Site
) -> None:
    site.behave(text=TEXTS["answer"], piece=40, rate=200)
    alice = visit(signed_in=False)
    alice.sign_in("/m/fake/new")
    alice.send("How do I solve it?")
    alice.is_answered()
    expect(alice.answer.locator(".formula:not(.drawn)")).to_have_count(0)
    fonts = "() => [...document.fonts].filter((font) => font.status === 'loaded').map((font) => font.family)"
    alice.until(lambda: "KaTeX_Main" in str(alice.page.evaluate(fonts)), "the library's fonts are loaded")
    assert alice.page.locator(".katex-error").count() == 0
    for width, height in ((360, 740), (820, 1180), (1440, 900)):
        alice.page.set_viewport_size({"width": width, "height": height})
        look(alice, f"formulas-{width}")
