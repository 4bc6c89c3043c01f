"""Texts with Markdown in one line: names of conversations, and what the list shows of their newest message."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

PLAIN = "async (text) => (await import('/static/names.js')).plain(text)"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# Rain\n\n**Two** _kinds_ of `rain`:", "Rain Two kinds of rain:"),
        (r"About \*\*streams\*\* and \_names\_", "About **streams** and _names_"),
        ("call snake_case_name and __init__", "call snake_case_name and init"),
        ("is 2 * 3 > 5 in C#?", "is 2 * 3 > 5 in C#?"),
        ("> quoted\n- [x] done\n* item\n+ more", "quoted done item more"),
        ("| a | b |\n|---|---|", "a b"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("~~gone~~ but ~5 minutes", "gone but ~5 minutes"),
        ("***", ""),
        (None, ""),
    ],
)
def test_a_text_loses_its_marks_and_keeps_its_signs(module_page: Page, text: str | None, line: str) -> None:
    assert module_page.evaluate(PLAIN, text) == line
