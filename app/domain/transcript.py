"""What a log says so far: the one way to fold events into an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.domain.cursor import START, Cursor
from app.domain.events import Done, Entry, Event, Mark, Reasoning, Snapshot, Token, Tool, decode


@dataclass(slots=True)
class Transcript:
    """The answer at one position of its log. Text is collected in parts, so folding is linear."""

    attempt: int = 0
    tools: dict[str, Tool] = field(default_factory=dict)
    # How much of the text stood before each call.
    places: dict[str, int] = field(default_factory=dict)
    mark: Mark | None = None
    done: Done | None = None
    _at: Cursor = START
    _further: int = 0  # events since, of the same revision
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Transcript:
        """Fold a whole log, from its start or from any snapshot."""
        transcript = cls()
        for cursor, payload in entries:
            transcript.add(cursor, decode(payload))
        return transcript

    @classmethod
    def resume(cls, cursor: Cursor, text: str, reasoning: str, tools: Iterable[dict[str, Any]]) -> Transcript:
        """Go on from an answer known so far; ``tools`` as ``tool_views`` gives them."""
        calls = {tool["call_id"]: Tool(**tool) for tool in tools}
        return cls(tools=calls, _at=cursor, _text=[text], _reasoning=[reasoning])

    @property
    def cursor(self) -> Cursor:
        """The position of the last event."""
        return Cursor(self._at.epoch, self._at.n + self._further)

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The model's reasoning so far."""
        return "".join(self._reasoning)

    @property
    def fresh(self) -> str:
        """What was said and thought since the last snapshot."""
        return "".join((*self._text[1:], *self._reasoning[1:]))

    def add(self, cursor: Cursor, event: Event) -> None:
        """Fold in the next event."""
        self._at, self._further = cursor, 0
        if isinstance(event, Token):
            self._text.append(event.content)
            return
        match event:
            case Reasoning(content):
                self._reasoning.append(content)
            case Snapshot():
                self._text[:] = [event.text]
                self._reasoning[:] = [event.reasoning]
                self.attempt, self.mark = event.attempt, None
                if event.reason == "restart":
                    self.tools.clear()  # they belong to the answer that is replaced
                    self.places.clear()
            case Tool():
                if event.call_id not in self.tools:
                    self.places[event.call_id] = sum(map(len, self._text))
                self.tools[event.call_id] = event
            case Mark():
                self.mark = event
            case Done():
                self.done = event

    def say(self, text: str, thinking: bool) -> None:
        """Fold in the next event of the same revision, a piece of the answer or of the reasoning: the same as ``add``,
        without an event and a cursor for each of so many.
        """
        (self._reasoning if thinking else self._text).append(text)
        self._further += 1

    def tool_views(self) -> list[dict[str, Any]]:
        """Each tool call in its latest state, in the order of the calls."""
        return [
            {"call_id": t.call_id, "tool": t.tool, "state": t.state, "arguments": t.arguments, "result": t.result}
            for t in self.tools.values()
        ]


def digest(text: str) -> str:
    """SHA-256 of the text as UTF-8, in hex: what ``done`` carries."""
    return hashlib.sha256(text.encode()).hexdigest()


def contiguous(entries: Iterable[Entry], after: Cursor = START) -> list[Entry]:
    """The entries that follow ``after`` without a hole: what stands behind a hole of its revision is left out."""
    kept: list[Entry] = []
    last = after
    for entry in entries:
        if last.precedes(entry.cursor):
            kept.append(entry)
            last = entry.cursor
    return kept


def merge(*logs: Iterable[Entry], after: Cursor = START) -> list[Entry]:
    """One log out of several partial copies of it, past ``after``. An id has one meaning, so any copy will do."""
    by_cursor = {cursor: payload for log in logs for cursor, payload in log if cursor > after}
    return contiguous((Entry(cursor, by_cursor[cursor]) for cursor in sorted(by_cursor)), after)
