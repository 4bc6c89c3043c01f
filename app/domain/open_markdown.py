"""Markdown that ends in the middle of a block which has no end of its own: the lines that end it. Pure.

Texts that stand one behind the other in one document need them: an open block would swallow the next text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)")
_LIST_ITEM = re.compile(r" {0,3}([-+*]|\d{1,9}[.)])( {1,4}(?=[^ ])|(?= |$))")
# A line that is no part of the paragraph before it.
_INTERRUPTS = re.compile(r" {0,3}(>|#{1,6}( |$)|([-*_] *){3,}$)")
# Blocks of HTML that only their end ends (CommonMark 0.31, kinds 1 to 5), and that end.
_HTML = (
    (re.compile(r" {0,3}<(script|pre|style|textarea)(?=[\s>]|$)", re.IGNORECASE), "</{}>"),
    (re.compile(r" {0,3}<!(--)"), "-->"),
    (re.compile(r" {0,3}<(\?)"), "?>"),
    (re.compile(r" {0,3}<!([A-Za-z])"), ">"),
    (re.compile(r" {0,3}<!\[CDATA(\[)"), "]]>"),
)


@dataclass(frozen=True, slots=True)
class _Open:
    """An open block. ``end`` is a line that ends it. ``margin``: the indentation of the item of a list around it."""

    end: str
    margin: int

    def is_ended_by(self, line: str) -> bool:
        """True when the block does not reach behind ``line``."""
        if self.end[0] not in "`~":
            return self.end in line.lower()
        found = _FENCE.fullmatch(line)
        return bool(found and found[2][0] == self.end[0] and len(found[2]) >= len(self.end) and not found[3].strip())


def closing_line(text: str) -> str:
    """The line that ends the code block or HTML block in which ``text`` ends; empty when the next heading ends it."""
    open_block: _Open | None = None
    margin = 0  # of the items of the outermost list; 0 outside of lists
    is_prose = False  # the line before: a paragraph of an item may go on at the left
    for line in _lines(text):
        indent = len(line) - len(line.lstrip(" "))
        is_blank = indent == len(line)
        if open_block is not None and (is_blank or indent >= open_block.margin):
            open_block, is_prose = None if open_block.is_ended_by(line) else open_block, False
            continue
        if item := _LIST_ITEM.match(line) if indent < (margin or 4) else None:
            margin = item.end()
        elif not is_blank and indent < margin and (not is_prose or _INTERRUPTS.match(line) or _opened(line, 0)):
            margin = 0
        open_block = _opened(line, margin)
        is_prose = not is_blank and open_block is None and not _INTERRUPTS.match(line)
    return open_block.end if open_block is not None and open_block.margin == 0 else ""


def _lines(text: str) -> Iterator[str]:
    return (line.expandtabs(4) for line in re.split(r"\r\n?|\n", text))


def _opened(line: str, margin: int) -> _Open | None:
    """The block that this line leaves open."""
    line = line[margin:]
    if fence := _FENCE.fullmatch(line):
        return _Open(fence[2], margin)
    for begin, end in _HTML:
        if found := begin.match(line):
            block = _Open(end.format(found[1].lower()), margin)
            return None if block.is_ended_by(line[found.end() :]) else block
    return None
