"""A log with readers in this process: its tail, who follows it, and when the log itself must be read again."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from app.domain.cursor import Cursor
from app.relay.book import Book
from app.relay.tail import Tail

if TYPE_CHECKING:
    from app.relay.reader import Reader
    from app.relay.strands import Strand

# A hole closes within milliseconds or needs a writer to come back: ask often at first, then patiently.
HOLE_FIRST = 0.01
HOLE_LONGEST = 0.5
# No store answered, or nothing can be heard: the pace of reading without notifications.
POLL = 1.0


class Schedule:
    """When to read the log. Times are seconds of one monotonic clock. Pure.

    ``away`` says that nothing is heard at the moment, so the log is read every second.
    """

    __slots__ = ("_tries", "away", "due", "planned", "reading")

    def __init__(self, now: float) -> None:
        # Until the subscription is confirmed a read might miss what is published next, but waiting has an end.
        self.due = now + POLL
        # What the hub has set a timer for.
        self.planned = inf
        self.away = False
        self.reading = False
        self._tries = 0

    def wanted(self, now: float) -> bool:
        """Whether to read now."""
        return not self.reading and self.due <= now

    def ask(self, now: float) -> None:
        """Something calls for a read."""
        self.due = min(self.due, now)

    def hole(self, now: float) -> None:
        """Something was heard that does not follow; while a hole persists the pace is set by ``read``."""
        if not self.reading and not self._tries:
            self.ask(now)

    def begin(self) -> None:
        """A read is under way."""
        self.reading, self.due = True, inf

    def read(self, now: float, *, grown: bool, more: bool, gap: bool) -> None:
        """A page is in. ``more``: the log continues; ``gap``: something published is still not here."""
        self.reading = False
        self._tries = 0 if grown or not gap else self._tries + 1
        if more:
            self.ask(now)
        elif gap:
            self.due = min(self.due, now + min(HOLE_FIRST * 2**self._tries, HOLE_LONGEST))
        elif self.away:
            self.due = min(self.due, now + POLL)

    def failed(self, now: float) -> None:
        """No store answered."""
        self.reading = False
        self.due = now + POLL


class Topic:
    """One log, its tail, and its readers here. Belongs to the hub's thread."""

    __slots__ = (
        "asked_at", "book", "channel", "delivered_at", "empty", "fresh", "key", "live", "notice", "position",
        "readers", "schedule", "tail", "trim_at", "waiting", "wanting",
    )  # fmt: skip

    def __init__(self, key: str, book: Book, start: Cursor, now: float) -> None:
        self.key = key
        self.book = book
        self.channel = book.channel(key)
        self.tail = Tail(start, book.frame, book.last)
        self.schedule = Schedule(now)
        # Readers that have everything, by descriptor: each growth goes to them in one loop.
        self.live: dict[int, Reader] = {}
        # Readers that stand beyond the end, or get another form: tried one by one at each growth.
        self.waiting: dict[int, Reader | Strand] = {}
        # Readers a page is on its way for, by the position it is read from.
        self.wanting: dict[Cursor, list[Reader | Strand]] | None = None
        self.readers = 0
        # What was heard in this round, still to be sent.
        self.fresh: list[bytes] = []
        # At which offset of the tail to look whether it has grown too long.
        self.trim_at = 0
        # When the log last grew, and when PostgreSQL was last asked about it.
        self.delivered_at = self.asked_at = now
        # Since when it has no readers.
        self.empty = inf
        # The last word about the queue, and the place it named.
        self.notice = b""
        self.position = 0

    @property
    def end(self) -> Cursor:
        """The newest event held."""
        return self.tail.end
