"""Replay joined to live: one reader's way through a log. Pure: no input or output, no clock.

A follower takes bytes from the shared tail while the tail reaches back far enough, and from pages of the log until
it does. What it was given is a prefix of the log from its cursor: nothing twice, nothing left out, cut anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

from app.domain.cursor import Cursor
from app.relay.tail import Tail, chunk

# One entry in the form of another protocol; empty when that has nothing to say about it.
Render = Callable[[Cursor, bytes], bytes]


class Follower:
    """A position in a log: everything up to ``cursor`` has been sent, except ``rest``.

    ``rest`` always ends where an event ends, so a notice may simply be added to it. While a reader is slow it is all
    the memory the reader costs: the rest of one event.
    """

    __slots__ = ("_at", "_from", "cursor", "events", "page", "render", "rest")

    def __init__(self, cursor: Cursor, render: Render | None = None) -> None:
        self.cursor = cursor
        self.rest = b""
        # How many events were given out.
        self.events = 0
        self.page: Tail | None = None
        self.render = render
        self._from: Tail | None = None
        self._at = 0

    def take(self, tail: Tail, limit: int) -> bytes:
        """What may be sent now, about ``limit`` bytes; empty when there is nothing, or a page is needed first.

        Say with ``sent`` how much of it has gone out, before anything else.
        """
        self._from = None
        if self.rest:
            return self.rest
        held = self._held(tail)
        if held is None:
            return b""
        if self.render is not None:
            return self._rendered(held, self.render, limit)
        self._at, data = held.cut(self.cursor, limit)
        self._from = held
        return data

    def sent(self, count: int) -> None:
        """``count`` bytes of what was taken are out; at least one."""
        if self._from is None:
            self.rest = self.rest[count:]
        else:
            before = self.cursor
            self.cursor, self.rest = self._from.split(self._at + count)
            self.events += self._from.between(before, self.cursor)
            self._from = None

    def lacks(self, tail: Tail) -> bool:
        """Whether a page of the log, read from ``cursor``, is needed before anything more can be sent."""
        return not self.rest and self._held(tail) is None and not self.at_end(tail)

    def feed(self, page: Tail) -> None:
        """A page of the log for a reader the tail does not reach. Readers at one place may share it."""
        if page.covers(self.cursor):
            self.page = page

    def pause(self) -> None:
        """Give back the memory of the page: it can be read again, and slow readers must not be expensive."""
        self.page = self._from = None

    def at_end(self, tail: Tail) -> bool:
        """Whether everything is out, and the last event was the end of the log."""
        if self.rest:
            return False
        return any(held.complete and self.cursor >= held.end for held in (tail, self.page) if held)

    def _held(self, tail: Tail) -> Tail | None:
        """Where the next event is taken from; None when neither the page nor the tail can have it."""
        if self.page is not None and self.page.end > self.cursor:
            return self.page
        return tail if tail.covers(self.cursor) else None

    def _rendered(self, held: Tail, render: Render, limit: int) -> bytes:
        while not self.rest:
            entries = held.entries(self.cursor, limit)
            if not entries:
                break
            rendered = b"".join(render(cursor, payload) for cursor, payload in entries)
            self.cursor = entries[-1].cursor
            self.events += len(entries)
            self.rest = chunk(rendered) if rendered else b""
        return self.rest
