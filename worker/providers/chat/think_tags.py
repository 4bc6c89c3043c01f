"""Reasoning that a model writes into its answer, in tags at the beginning. Pure.

A tag further inside the answer, or in code, belongs to the text.
"""

from __future__ import annotations

_ENDS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
}
_TAGS = (*_ENDS, *_ENDS.values())
# White space at the beginning is kept back this long, for a tag that may follow it; before a closing tag as well.
_MOST_HELD = 1024
# So many tags are looked for in one answer; a further one is text.
_MOST_TAGS = 32


class ThinkTags:
    """Takes the content of one answer in parts and tells its reasoning from its text; the split makes no difference.

    ``passed`` is set by the first character of the text: everything behind it is text. ``tagged`` is whether there
    was a tag.
    """

    __slots__ = ("_end", "_held", "_tags", "_thinks", "passed", "tagged")

    def __init__(self) -> None:
        self._held = ""
        self._end = ""  # the tag that ends the reasoning, inside it
        self._thinks = False  # the reasoning has begun with a character
        self._tags = 0
        self.passed = False
        self.tagged = False

    def feed(self, content: str) -> tuple[str, str]:
        """The reasoning and the text that are certain now."""
        if self.passed:
            return "", content
        self._held += content
        thoughts: list[str] = []
        while True:
            if self._end:
                thoughts.append(self._thought())
                if self._end:
                    return "".join(thoughts), ""
                continue
            text = self._held.lstrip()
            if self.tagged:
                self._held = text
            is_near = len(self._held) - len(text) <= _MOST_HELD and self._tags < _MOST_TAGS
            tag = next((tag for tag in _TAGS if text.startswith(tag)), None)
            if is_near and tag is not None:
                self._enter(tag, text[len(tag) :])
                continue
            if is_near and any(tag.startswith(text) for tag in _TAGS):
                return "".join(thoughts), ""
            self.passed = True
            held, self._held = self._held, ""
            return "".join(thoughts), text if self.tagged else held

    def close(self) -> tuple[str, str]:
        """The reasoning and the text that are left at the end."""
        held, self._held = self._held, ""
        if self._end:
            return _stripped(held if self._thinks else held.lstrip()), ""
        return "", held.lstrip() if self.tagged else held

    def _enter(self, tag: str, rest: str) -> None:
        # A closing tag without its beginning is left over of reasoning that the upstream took out.
        self._tags += 1
        self._end = _ENDS.get(tag, "")
        self._held, self._thinks, self.tagged = rest, False, True

    def _thought(self) -> str:
        """The reasoning that is certain, up to its end if that has come."""
        if not self._thinks:
            self._held = self._held.lstrip()
        thought, end, rest = self._held.partition(self._end)
        if end:
            self._end, self._held = "", rest
            return _stripped(thought)
        kept = _stripped(thought)
        size = next((n for n in range(len(self._end) - 1, 0, -1) if kept.endswith(self._end[:n])), 0)
        kept = _stripped(kept[: len(kept) - size]) if size else kept
        self._held = thought[len(kept) :]
        self._thinks = self._thinks or bool(kept)
        return kept


def _stripped(text: str) -> str:
    """The text without the white space at its end, of which no more than _MOST_HELD characters are taken."""
    beginning = text[: max(len(text) - _MOST_HELD, 0)]
    return beginning + text[len(beginning) :].rstrip()
