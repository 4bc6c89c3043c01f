"""Polling: the answer so far and the events past a position, both of the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.commands import User
from app.domain.cursor import Cursor
from app.domain.errors import InvalidCursor, LogDown, NotFound
from app.domain.events import LAST, Entry, decode
from app.domain.transcript import Transcript
from app.eventlog.log import PAGE
from app.services.generations import Generations, GenerationView
from app.services.log_reader import LogReader


@dataclass(frozen=True, slots=True)
class Poll:
    """The answer to a poll. ``events`` are past the given position; the view's cursor is the newest of all."""

    view: GenerationView
    events: list[Entry]


class Poller:
    """Answers pollers that know a position."""

    def __init__(self, generations: Generations, reader: LogReader) -> None:
        self._generations = generations
        self._reader = reader

    def poll(self, user: User, generation_id: str, after: Cursor) -> Poll:
        """The generation with every event past ``after``. Raises NotFound, InvalidCursor, DatabaseDown.

        Raises LogDown while what the poller has seen already cannot be read here: showing less would look like text
        that was taken back.
        """
        found = self._poll(user, generation_id, after)
        if found is None:
            # It ended between the two reads. The end is committed before it is in the log.
            found = self._poll(user, generation_id, after, may_end=False)
        assert found is not None, "no end counts here"
        return found

    def _poll(self, user: User, generation_id: str, after: Cursor, *, may_end: bool = True) -> Poll | None:
        """None: the log has an end that PostgreSQL did not have before. Without ``may_end`` such an end is left out.

        A PostgreSQL that was restored from an older backup does not have it until a worker has taken the answer over.
        """
        stored = self._generations.get(user, generation_id)
        if after.epoch > stored.row.epoch:
            raise InvalidCursor(str(after))
        if stored.row.final is not None and after >= stored.row.final:
            return Poll(stored, [])
        entries = self._read(generation_id, min(after, stored.cursor), stored.row.final)
        if stored.row.final is None and entries and entries[-1].payload.startswith(LAST):
            if may_end:
                return None
            entries = entries[:-1]
        view = _advanced(stored, entries)
        if view.row.final is None and view.cursor < after:
            raise LogDown("The newest part of this answer cannot be read just now. Try again a little later.")
        return Poll(view, [entry for entry in entries if entry.cursor > after])

    def _read(self, generation_id: str, after: Cursor, final: Cursor | None) -> list[Entry]:
        entries: list[Entry] = []
        while page := self._reader.read(generation_id, after):
            entries += page
            after = page[-1].cursor
            # The end is committed before the log has it, and may never be in the log. PostgreSQL has the rest.
            if (len(page) < PAGE) if final is None else (after >= final):
                return entries
        if final is not None:
            raise NotFound("There is no such generation.")  # it was deleted between the two reads
        return entries


def _advanced(stored: GenerationView, entries: Sequence[Entry]) -> GenerationView:
    """The stored view with the newer entries of the log folded in: content and events end at one position."""
    fresh = [entry for entry in entries if entry.cursor > stored.cursor]
    if not fresh or stored.row.final is not None:
        return stored
    said = Transcript.resume(stored.cursor, stored.content, stored.reasoning, stored.tools)
    for cursor, payload in fresh:
        said.add(cursor, decode(payload))
    return replace(stored, cursor=said.cursor, content=said.text, reasoning=said.reasoning, tools=said.tool_views())
