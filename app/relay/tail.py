"""The newest part of one log, encoded for the wire once and shared by all its readers. Pure: no input or output.

Positions are cursors to the outside; inside, an event also has a number and an offset, counted from where the tail
began (below zero for what was put in front later), so that a cursor finds its bytes without a search through them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from app.domain.cursor import Cursor
from app.domain.events import NOTICE, Entry

# The first event a log can have.
FIRST = Cursor(1, 0)
# Published events that arrive while the log is being read are kept for the moment the page is in.
ASIDE = 256
# How the last event of a generation's log begins.
LAST = b'{"type":"done"'

Frame = Callable[[Cursor, bytes], bytes]


class Span(NamedTuple):
    """Consecutive events of one revision: the first one's ``n`` and its number."""

    epoch: int
    n: int
    number: int


def chunk(data: bytes) -> bytes:
    """``data`` as one piece of a chunked HTTP body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Tail:
    """Everything past ``start`` up to ``end``, as chunks ready to be sent.

    It only ever grows by the exact successor, so a position in it can be trusted without asking the log.
    A page of a log is a tail too: one that does not grow. ``count`` is the number the next event will have,
    ``offset`` where it will begin. ``frame`` is given only for what is not framed as ``sse`` does it; ``last`` is how
    the last event begins, None when there is none.
    """

    __slots__ = (
        "_aside", "_bytes", "_ends", "_epoch", "_frame", "_heard", "_last", "_n", "_next", "_rung", "_spans",
        "complete", "count", "offset", "start",
    )  # fmt: skip

    def __init__(self, start: Cursor, frame: Frame | None = None, last: bytes | None = LAST) -> None:
        self.start = start
        self._last = last
        self._epoch, self._n = start
        # How the message of the exact successor begins.
        self._next = _opening(start)
        # The last event held is the end of the log, as far as anybody knows.
        self.complete = False
        # The newest position heard of; beyond ``end`` it proves that something is missing here.
        self._heard = start
        # A message came that is no event: it only says that there is something to read.
        self._rung = False
        self._frame = frame
        self.count = self.offset = 0
        self._bytes = bytearray()
        # Where each event held ends.
        self._ends = array("q")
        self._spans: list[Span] = []
        self._aside: list[Entry] | None = None

    @property
    def end(self) -> Cursor:
        """The newest event held."""
        return Cursor(self._epoch, self._n)

    @property
    def unwritten(self) -> bool:
        """Whether nothing of the log has been seen yet: its generation may still be queued."""
        return not self._epoch

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self._bytes)

    @property
    def empty(self) -> bool:
        """Whether no event has come since the position it began at."""
        return self.start == self.end

    @property
    def gap(self) -> bool:
        """Whether something was published that is not here."""
        return self._rung or self._heard > self.end

    @property
    def _first(self) -> int:
        """The number of the first event held."""
        return self.count - len(self._ends)

    @property
    def _base(self) -> int:
        """The offset of the first byte held."""
        return self.offset - len(self._bytes)

    def covers(self, cursor: Cursor) -> bool:
        """Whether everything past ``cursor``, as far as ``end``, is held."""
        return cursor >= self.start

    # Growing

    def hear(self, message: bytes) -> bytes:
        """A published message. What it adds, as a chunk, when it is the exact successor; otherwise nothing.

        The hot path: once per event and process. Anything but the successor is only remembered as heard of.
        """
        expected = self._next
        if message.startswith(expected):
            return self._append(expected[:-1], message[len(expected) :])
        self._overhear(message)
        return b""

    def answering(self) -> Cursor:
        """The log is about to be read from the position this returns; the doorbell has been heard."""
        self._rung = False
        return self.end

    def page(self, after: Cursor, entries: Iterable[Entry]) -> Tail:
        """A page of the same log, read from ``after``. Uses nothing that changes: any thread may call it."""
        page, last = Tail(after, self._frame, self._last), after
        for cursor, payload in entries:
            if not last.precedes(cursor):
                break
            if cursor.epoch != last.epoch:
                page._turn_to(cursor)
            page._append(b"%d-%d" % cursor, payload)
            last = cursor
        return page

    def extend(self, page: Tail) -> bool:
        """Add what a page has past our end; True when that brought something new.

        A page read from beyond our end says nothing about what lies between, so it is refused.
        """
        before = self.count
        if page.start <= self.end:
            self._join(page)
        self._take_aside()
        return self.count > before

    def extend_back(self, page: Tail, limit: int) -> bool:
        """Put a page in front when it reaches our start and both together are not above ``limit`` bytes."""
        if not page.start < self.start <= page.end:
            return False
        number = page._number_past(self.start)
        if number == page._first or page._cursor_of(number - 1) != self.start:
            return False
        offset = page._begin(number)
        if offset - page._base + len(self._bytes) > limit:
            return False
        self._put_in_front(page, number, offset)
        return True

    def rewind(self, start: Cursor) -> None:
        """Begin earlier. Only while nothing is held; a page already on its way from the old start is refused."""
        assert self.empty, "a tail with events cannot begin elsewhere"
        self.start = start
        self._epoch, self._n = start
        self._next = _opening(start)
        self._spans = []

    def _append(self, position: bytes, payload: bytes) -> bytes:
        """Take in the event that follows, in the revision of ``_turn_to``."""
        if not self._spans:
            # Only the first of all events, or the first since the start: later revisions come in pages.
            self._turn_to(Cursor(self._epoch, self._n + 1) if self._epoch else FIRST)
        self._n += 1
        if self._frame is None:
            # chunk(sse.frame(…)) in one step, without a Cursor; a test holds it to them.
            data = b"%x\r\ndata: %b\nid: %b\n\n\r\n" % (len(payload) + len(position) + 13, payload, position)
        else:
            data = chunk(self._frame(self.end, payload))
        self._bytes += data
        self.offset += len(data)
        self._ends.append(self.offset)
        self.count += 1
        self._next = b"%d-%d " % (self._epoch, self._n + 1)
        self.complete = self._last is not None and payload.startswith(self._last)
        return data

    def _turn_to(self, cursor: Cursor) -> None:
        """``cursor`` is what follows: begin a span when it opens a revision."""
        if not self._spans or cursor.epoch != self._epoch:
            self._spans.append(Span(cursor.epoch, cursor.n, self.count))
            self._epoch, self._n = cursor.epoch, cursor.n - 1

    def _join(self, page: Tail) -> None:
        number = page._number_past(self.end)
        if number == page.count or not self.end.precedes(page._cursor_of(number)):
            return
        begin = page._begin(number)
        for span in page._spans_from(number):
            if not self._spans or span.epoch != self._epoch:
                self._spans.append(span._replace(number=span.number - number + self.count))
        self._ends.extend(map((self.offset - begin).__add__, page._ends[number - page._first :]))
        self._bytes += memoryview(page._bytes)[begin - page._base :]
        self.count += page.count - number
        self.offset += page.offset - begin
        self._epoch, self._n, self._next, self.complete = page._epoch, page._n, page._next, page.complete

    def _put_in_front(self, page: Tail, number: int, offset: int) -> None:
        by, shift = number - self._first, offset - self._base
        older = [span._replace(number=span.number - by) for span in page._spans if span.number < number]
        newer = [span for span in self._spans if span.epoch > older[-1].epoch]
        ends = array("q", map((-shift).__add__, page._ends[: number - page._first]))
        self._bytes = page._bytes[: offset - page._base] + self._bytes
        self._ends = ends + self._ends
        self._spans = older + newer
        self.start = page.start

    def _overhear(self, message: bytes) -> None:
        if message.startswith(NOTICE):
            return
        try:
            position, _, payload = message.partition(b" ")
            epoch, _, n = position.partition(b"-")
            entry = Entry(Cursor(int(epoch), int(n)), payload)
        except ValueError:
            self._rung = True
            return
        if entry.cursor <= self.end:
            return
        self._heard = max(self._heard, entry.cursor)
        if self._aside is None:
            self._aside = []
        if len(self._aside) < ASIDE:
            self._aside.append(entry)

    def _take_aside(self) -> None:
        aside, self._aside = self._aside or (), None
        for cursor, payload in sorted(aside):
            if cursor == (self._epoch, self._n + 1):
                self._append(b"%d-%d" % cursor, payload)

    # Reading

    def cut(self, after: Cursor, limit: int) -> tuple[int, bytes]:
        """Whole events past ``after``: where they begin, and at most ``limit`` bytes but at least one event."""
        number = self._number_past(after)
        begin = self._begin(number)
        if number == self.count:
            return begin, b""
        last = max(bisect_right(self._ends, begin + limit) - 1, number - self._first)
        return begin, self._slice(begin, self._ends[last])

    def split(self, offset: int) -> tuple[Cursor, bytes]:
        """The last event that begins before ``offset``, and what of it lies behind ``offset``."""
        index = bisect_right(self._ends, offset - 1)
        return self._cursor_of(self._first + index), self._slice(offset, self._ends[index])

    def between(self, after: Cursor, last: Cursor) -> int:
        """How many events held are past ``after``, up to ``last``."""
        return self._number_past(last) - self._number_past(after)

    def at(self, offset: int) -> Cursor:
        """The last event that ends at or before ``offset``; ``start`` when that is where the bytes begin."""
        return self.split(offset)[0] if offset > self._base else self.start

    def since(self, offset: int) -> bytes:
        """Everything from ``offset`` on."""
        return self._slice(offset, self.offset)

    def entries(self, after: Cursor, limit: int) -> list[Entry]:
        """The events ``cut`` gives, as they were before they were framed: with ``data`` and ``id`` last."""
        begin, data = self.cut(after, limit)
        number, stop, at = self._number_past(after), begin + len(data), 0
        found = []
        while begin + at < stop:
            end = self._ends[number - self._first] - begin
            found.append(Entry(self._cursor_of(number), _payload(data[at:end])))
            at, number = end, number + 1
        return found

    def trim(self, size: int) -> None:
        """Forget the oldest events until no more than ``size`` bytes are held."""
        surplus = len(self._bytes) - size
        if surplus <= 0:
            return
        index = bisect_right(self._ends, self._base + surplus - 1)
        number, offset = self._first + index, self._ends[index]
        self.start = self._cursor_of(number)
        del self._bytes[: offset - self._base]
        del self._ends[: index + 1]
        self._spans = self._spans_from(number + 1) or self._spans[-1:]

    def _number_past(self, cursor: Cursor) -> int:
        """The number of the first event held past ``cursor``; ``count`` when there is none."""
        number = self.count
        for span in reversed(self._spans):
            if span.epoch < cursor.epoch:
                break
            if span.epoch == cursor.epoch:
                number = min(max(span.number + cursor.n + 1 - span.n, span.number), number)
                break
            number = span.number
        return max(number, self._first)

    def _cursor_of(self, number: int) -> Cursor:
        span = next(span for span in reversed(self._spans) if span.number <= number)
        return Cursor(span.epoch, span.n + number - span.number)

    def _spans_from(self, number: int) -> list[Span]:
        """The spans of the events from ``number`` on, the first one shortened to begin there."""
        spans: list[Span] = []
        for span in reversed(self._spans):
            if span.number <= number:
                spans.append(Span(span.epoch, span.n + number - span.number, number))
                break
            spans.append(span)
        return spans[::-1]

    def _begin(self, number: int) -> int:
        index = number - self._first
        return self._ends[index - 1] if index else self._base

    def _slice(self, begin: int, end: int) -> bytes:
        return bytes(memoryview(self._bytes)[begin - self._base : end - self._base])


def _opening(last: Cursor) -> bytes:
    """How the message behind ``last`` begins. Nothing can be missing before the first event of all."""
    return b"%d-%d " % (last.epoch, last.n + 1) if last.epoch else b"%d-%d " % FIRST


def _payload(chunked: bytes) -> bytes:
    return chunked[chunked.index(b"\ndata: ") + 7 : chunked.rindex(b"\nid: ")]
