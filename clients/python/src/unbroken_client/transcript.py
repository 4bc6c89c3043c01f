"""The sum of the events of an answer, and the order of its cursors."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

from unbroken_client.events import Done, Event, ToolCall

START = "0-0"
_CURSOR = re.compile(r"([0-9]+)-([0-9]+)")


class Transcript:
    """The text, the reasoning and the calls of tools (by their ids) of the events so far.

    ``status`` is None until the end. ``done`` is the last event, where it was received.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self.tools: dict[str, ToolCall] = {}
        self.status: str | None = None
        self.done: Done | None = None

    @property
    def text(self) -> str:
        return _joined(self._text)

    @property
    def reasoning(self) -> str:
        return _joined(self._reasoning)

    def add(self, event: Event) -> None:
        """Add an event. One of an unknown type changes nothing."""
        if event["type"] == "token":
            self._text.append(event["content"])
        elif event["type"] == "reasoning":
            self._reasoning.append(event["content"])
        elif event["type"] == "tool":
            self.tools[event["call_id"]] = event
        elif event["type"] == "snapshot":
            self._text, self._reasoning = [event["text"]], [event.get("reasoning", "")]
            # The calls belong to the answer that is replaced; those that still count follow.
            if event["reason"] in ("restart", "failover"):
                self.tools = {}
        elif event["type"] == "done":
            self.done, self.status = event, event["status"]
        elif event["type"] == "final":
            generation = event["generation"]
            self._text, self._reasoning = [generation["content"]], [generation["reasoning"]]
            self.tools = {call["call_id"]: call for call in generation["tools"]}
            self.status = generation["status"]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text as UTF-8, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def _joined(pieces: list[str]) -> str:
    """The text of the pieces, which become one piece."""
    pieces[:] = ["".join(pieces)]
    return pieces[0]


def compare(cursor: str, id: str) -> Literal["next", "repeat", "hole"]:
    """The place of event ``id`` behind the cursor. An id of another form is "next"."""
    last, new = _position(cursor), _position(id)
    if last is None or new is None:
        return "next"
    if new <= last:
        return "repeat"
    epoch, n = last
    return "next" if new == (epoch, n + 1) or (new[0] > epoch and new[1] == 0) else "hole"


def _position(cursor: str) -> tuple[int, int] | None:
    found = _CURSOR.fullmatch(cursor)
    return (int(found[1]), int(found[2])) if found else None
