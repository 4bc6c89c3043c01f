"""The output items of one run of OpenAI's Responses API, pure: their parts to pieces, each character once.

A part comes as deltas, whole at its end, whole again with its item, and once more with the finished run. What was given
out is counted, so any of them fills up what the others lacked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from app.domain.storable import characters
from worker.limits import Limits
from worker.providers.base import Piece, Text, Thought, ToolDelta, TooManyCalls
from worker.providers.responses.request import EXTRA

# What stands between two messages of one answer, and between two parts of its reasoning.
SEPARATOR = "\n\n"

# A part of a run: the number of its item, its list in the item, its number in the list.
Place = tuple[int, str, int]


@dataclass(slots=True)
class _Channel:
    """One kind of text of a run: the part it is in, and half a character whose other half has not come."""

    kind: type[Text] | type[Thought]
    part: object = None
    held: str = ""


@dataclass(slots=True)
class _Call:
    """A tool call of a run: its place among the calls, and how much of its arguments was given out."""

    index: int
    chars: int = 0
    is_whole: bool = False


class RunItems:
    """The items of one run. ``pieces`` collects until ``take``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._text, self._thought = _Channel(Text), _Channel(Thought)
        self._pieces: list[Piece] = []
        self._given: dict[Place, tuple[int, int]] = {}  # of each part: how many characters, and their checksum
        self._calls: dict[int, _Call] = {}  # by the number of the item
        self._reasoning: list[dict[str, Any]] = []  # items since the last call
        self._reasoned: set[int] = set()
        self._held_chars = 0
        self._is_behind_text = False  # whether text came before the first of them
        self._has_text = False  # since the last call

    @property
    def calls(self) -> int:
        """The number of tool calls of the run."""
        return len(self._calls)

    def take(self) -> list[Piece]:
        """The pieces since the last call; the list is the caller's."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def close(self) -> None:
        """End the texts: the other half of a character will not come."""
        for channel in (self._thought, self._text):
            if channel.held:
                self._pieces.append(channel.kind("\ufffd"))
                channel.held = ""

    def say(self, place: Place, text: str, *, thinking: bool) -> None:
        """Add the next characters of a part."""
        if not text or (thinking and self._is_told_otherwise(place)):
            return
        chars, checksum = self._given.get(place, (0, 0))
        self._given[place] = chars + len(text), _checksum(text, checksum)
        channel = self._thought if thinking else self._text
        # The parts of a message are one text.
        part: object = place if thinking else place[0]
        if channel.part is not None and part != channel.part:
            text = SEPARATOR + text
        channel.part = part
        self._has_text = self._has_text or not thinking
        text, channel.held = channel.held + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            channel.held, text = text[-1], text[:-1]
        if text := _clean(text):
            self._pieces.append(channel.kind(text))

    def complete(self, place: Place, whole: str, *, thinking: bool) -> None:
        """Add what is left of a part, given the whole of it. Raises ValueError when the deltas were another text."""
        if not whole or (thinking and self._is_told_otherwise(place)):
            return
        chars, checksum = self._given.get(place, (0, 0))
        if len(whole) < chars or _checksum(whole[:chars]) != checksum:
            raise ValueError("the deltas of a part are not its text")
        self.say(place, whole[chars:], thinking=thinking)

    def begin_item(self, index: int, item: dict[str, Any]) -> None:
        """Read the beginning of an item."""
        if item.get("type") == "function_call":
            self._call(index, item)

    def add_arguments(self, index: int, text: str) -> None:
        """Add the next characters of a call's arguments."""
        if text and (call := self._calls.get(index)):
            call.chars += len(text)
            self._pieces.append(ToolDelta(call.index, None, None, _clean(text)))

    def add_extra(self, index: int, extra: dict[str, Any]) -> None:
        """Add what the upstream wants back with a call; see Tool.extra."""
        self._pieces.append(ToolDelta(self._calls[index].index, None, None, "", extra))

    def end_item(self, index: int, item: dict[str, Any]) -> None:
        """Read a whole item: whatever its parts did not say."""
        kind = item.get("type")
        if kind == "message":
            for number, part in enumerate(item.get("content") or ()):
                self.complete((index, "content", number), part.get("text") or part.get("refusal") or "", thinking=False)
        elif kind == "reasoning":
            self._end_reasoning(index, item)
        elif kind == "function_call":
            call = self._call(index, item)
            if not call.is_whole:
                call.is_whole = True
                self.add_arguments(index, _arguments_of(item)[call.chars :])
                self._attach_reasoning(call)

    def _end_reasoning(self, index: int, item: dict[str, Any]) -> None:
        for name in ("summary", "content"):
            for number, part in enumerate(item.get(name) or ()):
                self.complete((index, name, number), part.get("text") or "", thinking=True)
        if item.get("encrypted_content") and index not in self._reasoned:
            self._reasoned.add(index)
            self._held_chars += characters(item)
            if self._held_chars > self._limits.tool_argument_chars:
                raise self._limits.exceeded("tool_argument_chars")
            if not self._reasoning:
                self._is_behind_text = self._has_text
            # The status belongs to the output; OpenAI refuses it in an input.
            self._reasoning.append({name: value for name, value in item.items() if name != "status"})

    def _attach_reasoning(self, call: _Call) -> None:
        """Give the reasoning items before a call with it: the upstream needs them back together."""
        if self._reasoning:
            kept: dict[str, Any] = {"reasoning": self._reasoning}
            if self._is_behind_text:
                kept["behind_text"] = True
            self._pieces.append(ToolDelta(call.index, None, None, "", {EXTRA: kept}))
            self._reasoning = []
        self._has_text = False

    def _call(self, index: int, item: dict[str, Any]) -> _Call:
        call = self._calls.get(index)
        if call is None:
            if len(self._calls) >= self._limits.tool_calls:
                raise TooManyCalls
            call = self._calls[index] = _Call(len(self._calls))
            call_id, name = item.get("call_id") or item.get("id"), item.get("name")
            self._pieces.append(ToolDelta(call.index, _clean(call_id or "") or None, _clean(name or "") or None, ""))
        return call

    def _is_told_otherwise(self, place: Place) -> bool:
        """True for the reasoning of an item that tells it twice, as a summary and in full: the first counts."""
        return (place[0], "content" if place[1] == "summary" else "summary", 0) in self._given


def _arguments_of(item: dict[str, Any]) -> str:
    arguments = item.get("arguments")
    return arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()


def _checksum(text: str, before: int = 0) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"), before)


def _clean(text: str) -> str:
    """Text that every store and every encoder takes: no NUL, no half of a surrogate pair."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
