"""The line that ends an open block of Markdown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.domain.open_markdown import closing_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Here is code:\n\n```python\nfor i in x:", "```"),
        ("````md\n```\na\n```", "````"),
        ("~~~\n```\n", "~~~"),
        ("```\na\n```", ""),
        ("```py\na\n~~~\n```  ", ""),
        ("```\n```py\n", "```"),
        ("``` not ` a fence", ""),
        ("`inline` and ``` in the line", ""),
        ("- a\n  ```py\n  x", ""),
        ("1. a\n  ```\n```", ""),
        ("1. a\n  ```\n", "```"),
        ("    ```\n", ""),
        ("- a\n  ```py\n  x\n\nafter", ""),
        ("- a\n\n  ```py\n  x\n  ```\n", ""),
        ("1. a\n   ```py\n   x\n2. b", ""),
        ("  ```py\nx", "```"),
        ("text <!-- no block", ""),
        ("<!-- open\nmore", "-->"),
        ("<!-- closed -->", ""),
        ("```\n<!--\n```", ""),
        ("<SCRIPT>\nlet a;", "</script>"),
        ("<pre>a\n</pre>", ""),
        ("<?php\n", "?>"),
        ("<![CDATA[ a", "]]>"),
        ("<!DOCTYPE html", ">"),
        ("<script>\n```\n", "</script>"),
        ("a\r\n```\r\nb", "```"),
        ("", ""),
    ],
)
def test_the_line_that_ends_an_open_block(text: str, line: str) -> None:
    assert closing_line(text) == line


_LINES = st.sampled_from(
    ["```", "````py", "~~~", "text", "", "- item", "  ```", "<!--", "-->", "<pre>", "    code", "1. a", "> q"]
)


@given(st.lists(_LINES, max_size=12))
def test_a_heading_behind_a_closed_text_is_a_heading(lines: list[str]) -> None:
    text = "\n".join(lines)
    line = closing_line(text)
    tokens = MarkdownIt("commonmark").parse(f"{text}\n{line}\n\n## You\n" if line else f"{text}\n\n## You\n")
    headings = [(token.tag, token.level) for token in tokens if token.type == "heading_open"]
    assert ("h2", 0) in headings, f"swallowed after {line!r}"
