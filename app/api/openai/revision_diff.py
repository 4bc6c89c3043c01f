"""The difference between a new revision of an answer and the text that clients have of it. Pure.

A revision begins with a snapshot, and OpenAI's protocols know deltas only. A revision that repeats the known text must
therefore be silent until it goes beyond that text. A revision that contradicts the known text has *diverged*: nothing
that was sent can be taken back, and each translator reports that in the way of its protocol.
"""

from __future__ import annotations

from typing import Literal

from app.domain.events import Snapshot

Kind = Literal["reasoning", "text"]


class RevisionDiff:
    """Compares a revision, as it grows, with the text that clients have.

    ``revision`` is all text of the revision in order, ``new`` the part of it that clients do not have yet.
    """

    __slots__ = ("_known", "_length", "diverged", "new", "revision")

    def __init__(self, snapshot: Snapshot, reasoning: str, text: str) -> None:
        """``reasoning`` and ``text`` are what clients have."""
        self._known: dict[Kind, str] = {"reasoning": reasoning, "text": text}
        # Characters of the revision so far.
        self._length: dict[Kind, int] = {"reasoning": 0, "text": 0}
        self.new: list[tuple[Kind, str]] = []
        self.revision: list[tuple[Kind, str]] = []
        self.diverged = False
        self.add("reasoning", snapshot.reasoning)
        self.add("text", snapshot.text)

    @property
    def caught_up(self) -> bool:
        """True when the revision has repeated all the text that clients have."""
        return not self.diverged and all(self._length[kind] >= len(known) for kind, known in self._known.items())

    def add(self, kind: Kind, text: str) -> None:
        """The revision grows by this text."""
        if not text:
            return
        self.revision.append((kind, text))
        at = self._length[kind]
        known = self._known[kind][at : at + len(text)]
        if not text.startswith(known):
            self.diverged = True
        self._length[kind] = at + len(text)
        if len(text) > len(known):
            self.new.append((kind, text[len(known) :]))
