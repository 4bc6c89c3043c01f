"""Words of a search in every script: accents taken off, and letters of scripts without spaces in pairs. Pure.

PostgreSQL does the same with the texts (migration 0023): what is stored and what is looked for must agree.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import normalize

# Letters of scripts that have no spaces between words, and those of Korean, whose particles are joined to its words.
WIDE = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0edf\u1000-\u109f\u1780-\u17d3\u3005-\u3007\u3041-\u3096\u309d-\u309f"
    "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_RUN = re.compile(f"[{WIDE}]+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_WORD = re.compile(r"'(?:[^']|'')*'")
_LETTER = re.compile(r"[^\W\d_]")
# Letters of a part of a word that is looked for.
SHORTEST_PART = 3
# The blocks of letters with such accents.
_ACCENTED = re.compile("[\u00c0-\u0fff\u1e00-\u1fff]")


def without_accents(text: str) -> str:
    """The text with the accents of its letters taken off."""
    return text if text.isascii() else normalize("NFC", _ACCENTS.sub("", normalize("NFD", text)))


def pairs(run: str) -> list[str]:
    """The pairs of neighbouring letters in a run of wide letters; the letter itself where there is only one."""
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


def bare(text: str) -> str:
    """The text with each letter's accent taken off, letter by letter: positions in it are those in ``text``."""
    return text if text.isascii() else _ACCENTED.sub(lambda letter: _bare_letter(letter[0]), text)


def parts_of(query: str) -> list[str]:
    """The words of a query in PostgreSQL's notation that may also be parts of longer words: all have to be there.

    Empty for a query with a phrase, a choice or an exclusion, with a short word, or with a word without a letter.
    """
    words = _WORD.findall(query)
    if " & ".join(words) != query:
        return []
    plain = [word[1:-1].replace("''", "'") for word in words]
    return plain if all(len(word) >= SHORTEST_PART and _LETTER.search(word) for word in plain) else []


class Question:
    """A question whose runs of wide letters have names, so that PostgreSQL's parser takes each as one word.

    ``text`` is for ``websearch_to_tsquery``; ``in_pairs`` puts the pairs into the query that it makes.
    """

    def __init__(self, question: str) -> None:
        plain = without_accents(question)
        self._runs: list[str] = []
        # A name is one word of Latin letters, and none that the question has itself.
        self._prefix = "wide"
        while self._prefix in plain.lower():
            self._prefix += "w"
        self._named = re.compile(rf"'{self._prefix}(\d+)x'")
        self.text = _RUN.sub(self._name, plain)
        self.ends_wide = bool(plain) and _RUN.fullmatch(plain[-1]) is not None

    def in_pairs(self, query: str) -> str:
        """A query in PostgreSQL's notation with each name replaced: all pairs of a run have to be there."""
        # Pairs have no order among each other: a phrase with a run in it is found by all of its words.
        if self._runs:
            query = re.sub(r"<(?:-|\d+)>", "&", query)
        return self._named.sub(self._query, query)

    def runs(self, query: str) -> list[str]:
        """The runs that are named in a query."""
        return [self._runs[int(number)] for number in self._named.findall(query)]

    def _name(self, found: re.Match[str]) -> str:
        """The name that takes the place of a run; a minus before the run stays in front of it."""
        self._runs.append(found[0])
        before = found.string[: found.start()]
        excluded = before.endswith("-") and (len(before) == 1 or before[-2].isspace())
        return f"{'' if excluded else ' '}{self._prefix}{len(self._runs) - 1}x "

    def _query(self, name: re.Match[str]) -> str:
        run = self._runs[int(name[1])]
        ending = ":*" if len(run) == 1 else ""
        return "( " + " & ".join(f"'{pair}'{ending}" for pair in pairs(run)) + " )"


@lru_cache(maxsize=4096)
def _bare_letter(letter: str) -> str:
    plain = without_accents(letter)
    return plain if len(plain) == 1 else letter
