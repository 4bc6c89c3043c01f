"""What of a log still has to be told to somebody who cannot be told to forget.

The native stream says "everything so far" at the beginning of each revision. OpenAI's protocols know only deltas, so
a revision that repeats what was shown must be silent until it says something new: a takeover that continues says
nothing twice. One that says something else than was shown has *diverged*: then what was shown cannot be taken back,
and the translator has to say so in the way of its protocol. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from app.domain.events import Snapshot

Kind = Literal["reasoning", "text"]


class Repetition:
    """A revision that has not said more yet than was shown before. ``said`` is everything it has said."""

    __slots__ = ("_at", "_new", "_shown", "diverged", "said")

    def __init__(self, snapshot: Snapshot, reasoning: str, text: str) -> None:
        """``reasoning`` and ``text`` are what was shown."""
        self._shown: dict[Kind, str] = {"reasoning": reasoning, "text": text}
        self._at: dict[Kind, int] = {"reasoning": 0, "text": 0}
        self._new: list[tuple[Kind, str]] = []
        self.said: list[tuple[Kind, str]] = []
        self.diverged = False
        self.add("reasoning", snapshot.reasoning)
        self.add("text", snapshot.text)

    @property
    def caught_up(self) -> bool:
        """Whether everything shown has been said again."""
        return not self.diverged and all(self._at[kind] >= len(shown) for kind, shown in self._shown.items())

    def add(self, kind: Kind, text: str) -> None:
        """The revision goes on."""
        if not text:
            return
        self.said.append((kind, text))
        shown, at = self._shown[kind], self._at[kind]
        known = shown[at : at + len(text)]
        if not text.startswith(known):
            self.diverged = True
        self._at[kind] = at + len(text)
        if len(text) > len(known):
            self._new.append((kind, text[len(known) :]))

    def news(self) -> Iterator[tuple[Kind, str]]:
        """What it said beyond what was shown."""
        return iter(self._new)
