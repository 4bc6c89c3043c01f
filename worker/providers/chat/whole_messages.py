"""The messages that some upstreams send in the chunks of an answer, in place of deltas. Pure."""

from __future__ import annotations

from typing import Any


class WholeMessages:
    """Reads the messages of one answer as deltas. ``are_whole``: each says what the answer says.

    A message behind deltas, or behind an equal one, repeats the answer. Another one goes on: with a longer text that
    begins with the text so far, or with the next part.
    """

    __slots__ = ("_chars", "_texts", "are_whole")

    def __init__(self) -> None:
        self.are_whole = False
        self._texts: list[str] | None = None
        self._chars = 0

    def delta(self, message: Any, *, begun: bool) -> Any:
        """The part of a message that an answer lacks, which may have ``begun``; None for a repetition."""
        text = message.get("content")
        if not begun:
            self.are_whole = True
            if isinstance(text, str):
                self._texts, self._chars = [text], len(text)
            return message
        if self._texts is None:
            self.are_whole = True
            return None
        if not isinstance(text, str):
            return None
        if len(text) >= self._chars:
            before = "".join(self._texts)
            self._texts = [before]
            if text == before:
                return None
            if text.startswith(before):
                text = text[len(before) :]
        self.are_whole = False  # the next one may be missing
        self._texts.append(text)
        self._chars += len(text)
        return {**message, "content": text}
