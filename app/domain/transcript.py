"""The answer that a log adds up to: the one way to fold its events."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from app.domain.cursor import START, Cursor
from app.domain.events import Done, Entry, Event, Mark, Reasoning, Refusal, Snapshot, Token, Tool, decode

_DIGEST_CHARS = 65_536


class CallPlace(NamedTuple):
    """The place of a tool call in its answer.

    ``round`` counts from 1; calls of one round were made together. ``text`` and ``reasoning`` are the numbers of
    characters of the answer before the call.
    """

    round: int
    text: int
    reasoning: int


@dataclass(slots=True)
class Transcript:
    """The answer at one position of its log. Text is collected in parts, so folding is linear."""

    attempt: int = 0
    tools: dict[str, Tool] = field(default_factory=dict)
    places: dict[str, CallPlace] = field(default_factory=dict)
    refused: bool = False  # the text is a refusal of the model
    mark: Mark | None = None
    done: Done | None = None
    _rounds: int = 0  # how often tools were called since the last snapshot
    _calling: bool = False  # whether their results are still to come
    # Places of the calls before a restart. A restart repeats the calls that it keeps, which stay where they were.
    _former: dict[str, CallPlace] = field(default_factory=dict)
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
        views = list(tools)
        calls = {view["call_id"]: tool_of(view) for view in views}
        places = {view["call_id"]: CallPlace(**view["place"]) for view in views if "place" in view}
        return cls(tools=calls, places=places, _at=cursor, _text=[text], _reasoning=[reasoning])

    @property
    def cursor(self) -> Cursor:
        """The position of the last event."""
        return Cursor(self._at.epoch, self._at.n + self._further)

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return _whole(self._text)

    @property
    def reasoning(self) -> str:
        """The model's reasoning so far."""
        return _whole(self._reasoning)

    @property
    def fresh(self) -> str:
        """The text and the reasoning since the last snapshot."""
        return "".join((*self._text[1:], *self._reasoning[1:]))

    @property
    def calls(self) -> int:
        """The number of provider calls that the log shows. A call without an event is not counted."""
        return self.attempt + self._rounds - self._calling if self.attempt else 0

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
                self.refused = self.refused and bool(event.text) and not event.forgets_calls
                self._rounds, self._calling = 0, False
                if event.forgets_calls:
                    self.tools.clear()  # they belong to the answer that is replaced
                    self._former, self.places = self.places, {}
            case Tool():
                self._add_call(event)
            case Refusal():
                self.refused = True
            case Mark():
                self.mark = event
            case Done():
                self.done = event

    def _add_call(self, call: Tool) -> None:
        is_begun = call.state == "started"
        begins_round = is_begun and not self._calling
        known = self.tools.get(call.call_id)
        if known is None:
            former = None if is_begun else self._former.get(call.call_id)
            self.places[call.call_id] = self._place(former, begins_round=begins_round)
        elif call.extra is None and known.extra is not None:
            call = replace(call, extra=known.extra)  # a result does not repeat it
        self.tools[call.call_id] = call
        self._rounds += begins_round
        self._calling = is_begun

    def _place(self, former: CallPlace | None, *, begins_round: bool) -> CallPlace:
        """The place of a new call; ``former``: its place before a restart that repeats it."""
        text, reasoning = sum(map(len, self._text)), sum(map(len, self._reasoning))
        if former is not None:
            return CallPlace(former.round, min(former.text, text), min(former.reasoning, reasoning))
        newest = max(self.places.values(), default=CallPlace(0, 0, 0))
        has_grown = (text, reasoning) != (newest.text, newest.reasoning)
        return CallPlace(newest.round + (begins_round or has_grown or not newest.round), text, reasoning)

    def say(self, text: str, thinking: bool) -> None:
        """Fold in the next event of the same revision, a piece of the answer or of the reasoning: the same as ``add``,
        without an event and a cursor for each of so many.
        """
        (self._reasoning if thinking else self._text).append(text)
        self._further += 1

    def tool_views(self) -> list[dict[str, Any]]:
        """Each tool call in its latest state, in the order of the calls."""
        return [self._view(call) for call in self.tools.values()]

    def _view(self, call: Tool) -> dict[str, Any]:
        view = {name: getattr(call, name) for name in ("call_id", "tool", "state", "arguments", "result")}
        if call.extra is not None:
            view["extra"] = call.extra
        if (place := self.places.get(call.call_id)) is not None:
            view["place"] = place._asdict()
        return view


def tool_of(view: dict[str, Any]) -> Tool:
    """The tool call of a view, as ``Transcript.tool_views`` gives it."""
    return Tool(**{name: value for name, value in view.items() if name != "place"})


def _whole(parts: list[str]) -> str:
    """All parts as one text. It takes the place of the parts behind the first, so that a long text is held once."""
    if len(parts) > 2:
        parts[1:] = ["".join(parts[1:])]
    filled = [part for part in parts if part]
    return filled[0] if len(filled) == 1 else "".join(filled)


def digest(text: str) -> str:
    """SHA-256 of the text as UTF-8, in hex, as in ``done``."""
    # In parts: the bytes of a long text would be a second copy of it.
    sha = hashlib.sha256()
    for begin in range(0, len(text), _DIGEST_CHARS):
        sha.update(text[begin : begin + _DIGEST_CHARS].encode())
    return sha.hexdigest()


def contiguous(entries: Iterable[Entry], after: Cursor = START) -> list[Entry]:
    """The entries that follow ``after`` without a hole. Entries behind a hole of their revision are left out."""
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
