"""Excerpts of found texts: plain text and positions of the hits, without markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.search_words import bare

# Characters shown before the first hit, and at most in all.
BEFORE = 60
LONGEST = 240
MOST_HIGHLIGHTS = 20

_LEXEME = re.compile(r"'((?:[^']|'')*)'(:\*)?")


@dataclass(frozen=True, slots=True)
class Word:
    """A word looked for, in small letters and without accents.

    ``begins``: also longer ones that begin with it. ``inside``: anywhere, because its script has no spaces.
    """

    text: str
    begins: bool = False
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Excerpt:
    """``highlights`` are pairs of positions in ``text``, in code points: from, and up to."""

    text: str
    highlights: tuple[tuple[int, int], ...]


def words_of(query: str, runs: Sequence[str] = ()) -> list[Word]:
    """The words of a full text query as PostgreSQL writes it: ``'tide' & 'moo':*``, and ``runs`` of wide letters."""
    words = [Word(text.replace("''", "'"), bool(begins)) for text, begins in _LEXEME.findall(query)]
    return [*words, *(Word(run, inside=True) for run in runs)]


def excerpt(text: str, words: Sequence[Word]) -> Excerpt:
    """The surroundings of the first of ``words`` in ``text``, or its beginning; the words in it are highlighted."""
    pattern = _pattern(words)
    plain = bare(text)
    first = pattern.search(plain) if pattern else None
    begin = _begin_of_word(text, first.start() - BEFORE) if first else 0
    shown = text[begin : begin + LONGEST]
    lead = "…" if begin else ""
    tail = "…" if begin + LONGEST < len(text) else ""
    hits = [match.span() for match in pattern.finditer(bare(shown))][:MOST_HIGHLIGHTS] if pattern else []
    return Excerpt(f"{lead}{shown}{tail}", tuple((a + len(lead), b + len(lead)) for a, b in hits))


def _begin_of_word(text: str, wanted: int) -> int:
    """The first beginning of a word at or behind ``wanted``."""
    if wanted <= 0:
        return 0
    space = re.compile(r"\s").search(text, wanted, wanted + BEFORE)
    return space.end() if space else wanted


def _pattern(words: Sequence[Word]) -> re.Pattern[str] | None:
    """Any of the words, the longest first, whole or as the beginning of one."""
    if not words:
        return None
    ordered = sorted(set(words), key=lambda word: len(word.text), reverse=True)
    return re.compile("|".join(map(_source, ordered)), re.IGNORECASE)


def _source(word: Word) -> str:
    text = re.escape(word.text)
    if word.inside:
        return text
    return rf"(?<!\w){text}\w*" if word.begins else rf"(?<!\w){text}(?!\w)"
