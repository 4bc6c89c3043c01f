"""Replay joined to live: the position of one reader in a log. Pure: no input or output, no clock.

A log consumer takes bytes from the shared tail while the tail reaches back far enough, and from pages of the log until
it does. The bytes taken are a prefix of the log from its cursor: nothing twice, nothing left out, cut anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

from app.domain.cursor import Cursor
from app.relay.encoded_log import chunk
from app.relay.tail import Tail

# One entry in the form of another protocol; empty when that protocol has no frame for it.
Render = Callable[[Cursor, bytes], bytes]


class LogConsumer:
    """A position in a log: everything up to ``cursor`` has been sent, except ``rest``.

    ``rest`` always ends where an event ends, so a notice may be added to it. A slow reader costs no other memory than
    this rest of one event.
    """

    __slots__ = ("_at", "_from", "_named", "cursor", "events", "page", "render", "rest")

    def __init__(self, cursor: Cursor, render: Render | None = None) -> None:
        self.cursor = cursor
        # The position the client named; None once the end has been sent to a client that named it.
        self._named: Cursor | None = cursor
        self.rest = b""
        # The number of events taken.
        self.events = 0
        self.page: Tail | None = None
        self.render = render
        self._from: Tail | None = None
        self._at = 0

    def take(self, tail: Tail, limit: int) -> bytes:
        """The bytes that may be sent now, about ``limit`` of them; empty when there are none or a page is needed first.

        The next call must be ``sent``, with the number of these bytes that were sent.
        """
        self._from = None
        if self.rest:
            return self.rest
        held = self._held(tail)
        if held is None:
            return b""
        if held.complete and self.cursor >= held.end and self.cursor == self._named:
            # The client named the end, or a position behind it, before the log had ended: the end is sent all the same.
            self.cursor, self._named = held.before_end, None
        if self.render is not None:
            return self._rendered(held, self.render, limit)
        self._at, data = held.cut(self.cursor, limit)
        self._from = held
        return data

    def sent(self, count: int) -> None:
        """Note that ``count`` of the bytes taken were sent, at least one."""
        if self._from is None:
            self.rest = self.rest[count:]
        else:
            before = self.cursor
            self.cursor, self.rest = self._from.split(self._at + count)
            self.events += self._from.between(before, self.cursor)
            self._from = None

    def lacks(self, tail: Tail) -> bool:
        """True when a page of the log, read from ``cursor``, is needed before anything more can be sent."""
        return not self.rest and self._held(tail) is None and not self.at_end(tail)

    def feed(self, page: Tail) -> None:
        """Use a page of the log, because the tail does not reach back to the cursor. Consumers may share a page."""
        if page.covers(self.cursor):
            self.page = page

    def pause(self) -> None:
        """Drop the page, so that a slow reader costs no memory. The page can be read again."""
        self.page = self._from = None

    def at_end(self, tail: Tail) -> bool:
        """True when everything was sent and the last event was the end of the log."""
        if self.rest:
            return False
        return any(held.complete and self.cursor >= held.end for held in (tail, self.page) if held)

    def _held(self, tail: Tail) -> Tail | None:
        """The page or tail that has the next event; None when neither can have it."""
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
