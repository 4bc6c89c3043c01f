"""The reasoning of one answer, which some upstreams send twice: in a field of its own, and in the content. Pure."""

from __future__ import annotations

from typing import Literal

# Two sources that agree in so many characters are the same reasoning.
ENOUGH = 200

Source = Literal["field", "tags"]


class Thoughts:
    """Joins two sources of reasoning. What the second one repeats of the first is left out.

    ``free`` is the source whose parts need no look any more: nothing can repeat them unnoticed.
    """

    __slots__ = ("_begin", "_first", "_held", "_repeats", "free")

    def __init__(self) -> None:
        self._first: Source | None = None
        self._begin = ""  # of the first source
        self._held = ""  # of the second, while it may be a repeat
        self._repeats: bool | None = None
        self.free: Source | None = None

    def feed(self, source: Source, text: str) -> str:
        """The reasoning that is certain now."""
        self._first = self._first or source
        if source == self._first:
            if len(self._begin) < ENOUGH:
                self._begin = (self._begin + text).lstrip()[:ENOUGH]
                if len(self._begin) >= ENOUGH:
                    self.free = source
            return text
        if self._repeats is None:
            self._held = (self._held + text).lstrip()
            return self._decide()
        return "" if self._repeats else text

    def close(self) -> str:
        """The reasoning that is left at the end."""
        if self._repeats is not None:
            return ""
        begin, held = self._begin.rstrip(), self._held.rstrip()
        self._held = ""
        return "" if begin.startswith(held) else held.removeprefix(begin)

    def _decide(self) -> str:
        if len(self._begin) < ENOUGH <= len(self._held):
            # The second one says more than the first.
            self._repeats = False
            held, self._held = self._held, ""
            return held.removeprefix(self._begin.rstrip())
        size = min(len(self._begin), len(self._held), ENOUGH)
        if self._begin[:size] == self._held[:size]:
            if size == ENOUGH:
                self._repeats, self._held = True, ""
            return ""
        self._repeats = False
        held, self._held = self._held, ""
        return held
