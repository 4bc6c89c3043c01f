"""The seam of an answer whose model was instructed to continue: the model often repeats its last words first. Pure.

A repeat is cut only when it is long and starts at the beginning of a word; a shorter one is more likely to be meant
("hel" + "lo"). Exactness needs an upstream that takes a prefix.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from worker.providers.base import Emit, Finished, Piece, Text

# Long enough that chance rarely repeats it, short enough for "the last few words".
MIN_OVERLAP = 12


def join(prefix: str, continuation: str) -> str:
    """The whole text: ``prefix`` and ``continuation``, what they share at the seam only once."""
    cutter = OverlapCutter(prefix)
    return prefix + cutter.feed(continuation) + cutter.close()


class OverlapCutter:
    """``join`` for a continuation that arrives in parts; the way it is split makes no difference.

    It holds text back only as long as this could still be the beginning of a repeat.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._start = 0  # of the earliest place in the prefix where the held text stands
        self._held = ""
        self._decided = not prefix

    def feed(self, text: str) -> str:
        """The text that may be shown now."""
        if self._decided:
            return text
        if not self._prefix.startswith(text, self._start + len(self._held)):
            self._start = self._prefix.find(self._held + text, self._start)
        self._held += text
        return "" if self._start >= 0 else self.close()

    def close(self) -> str:
        """The text that is left at the end."""
        if self._decided:
            return ""
        self._decided = True
        return self._held[overlap(self._prefix, self._held) :]


class SpaceCutter:
    """The seam behind a prefix that was sent without the white space at its end: the model writes it again.

    It cuts what the continuation and that white space have in common at their beginnings.
    """

    def __init__(self, prefix: str) -> None:
        self._space = prefix[len(prefix.rstrip()) :]

    def feed(self, text: str) -> str:
        """The text that may be shown now."""
        while self._space and text:
            if text[0] != self._space[0]:
                self._space = ""
                break
            text, self._space = text[1:], self._space[1:]
        return text

    def close(self) -> str:
        """Nothing is left at the end."""
        return ""


class Cutter(Protocol):
    """Cuts what a continuation repeats."""

    def feed(self, text: str) -> str:
        """The text that may be shown now."""
        ...

    def close(self) -> str:
        """The text that is left at the end."""
        ...


def without_repeat(emit: Emit, cutter: Cutter) -> Emit:
    """``emit`` for the pieces of a continuation, without the text that the model repeated of the prefix."""

    def cut(pieces: list[Piece]) -> asyncio.Future[None] | None:
        kept: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, Text):
                if text := cutter.feed(piece.text):
                    kept.append(Text(text))
                continue
            if isinstance(piece, Finished) and (rest := cutter.close()):
                kept.append(Text(rest))
            kept.append(piece)
        return emit(kept) if kept else None

    return cut


def overlap(prefix: str, continuation: str) -> int:
    """Length of the longest repeat: an end of ``prefix`` that ``continuation`` begins with, worth cutting."""
    for length in _borders(continuation, prefix):
        if length < MIN_OVERLAP:
            break
        at = len(prefix) - length
        if at == 0 or not (prefix[at - 1].isalnum() and prefix[at].isalnum()):
            return length
    return 0


def _borders(head: str, tail: str) -> list[int]:
    """All lengths, longest first, at which a beginning of ``head`` is an end of ``tail`` (Knuth, Morris, Pratt)."""
    if not head:
        return []
    tail = tail[-len(head) :]
    fallback = _fallbacks(head)
    matched = 0
    for char in tail:
        while matched and head[matched] != char:
            matched = fallback[matched - 1]
        if head[matched] == char:
            matched += 1
    lengths = []
    while matched:
        lengths.append(matched)
        matched = fallback[matched - 1]
    return lengths


def _fallbacks(pattern: str) -> list[int]:
    table = [0] * len(pattern)
    matched = 0
    for i in range(1, len(pattern)):
        while matched and pattern[i] != pattern[matched]:
            matched = table[matched - 1]
        if pattern[i] == pattern[matched]:
            matched += 1
        table[i] = matched
    return table
