"""The newest part of one log, encoded for the wire once and shared by all its readers. Pure: no input or output.

Positions are cursors to the outside; inside, an event also has a number and an offset, counted from where the tail
began (below zero for what was put in front later), so that a cursor finds its bytes without a search through them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from app.domain import sse
from app.domain.cursor import START, Cursor
from app.domain.events import Entry

# The first event a log can have; nothing can be missing before it.
FIRST = Cursor(1, 0)
# Published events that arrive while the log is being read are kept for the moment the page is in.
ASIDE = 256
_DONE = b'{"type":"done"'


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
    A page of a log is a tail too: one that does not grow.
    """

    __slots__ = ("_aside", "_bytes", "_ends", "_frame", "_lost", "_spans", "complete", "end", "heard", "rung", "start")

    def __init__(self, start: Cursor, frame: Callable[[Cursor, bytes], bytes] = sse.frame) -> None:
        self.start = start
        self.end = start
        # The last event held is the end of the log, as far as anybody knows.
        self.complete = False
        # The newest position heard of; beyond ``end`` it proves that something is missing here.
        self.heard = start
        # A message came that is no event: it only says that there is something to read.
        self.rung = False
        self._frame = frame
        self._bytes = bytearray()
        # Where each event ends. Number and offset of the first one held stand in ``_lost``.
        self._ends = array("q")
        self._lost = (0, 0)
        self._spans: list[Span] = []
        self._aside: list[Entry] | None = None

    @property
    def count(self) -> int:
        """The number the next event will have."""
        return self._lost[0] + len(self._ends)

    @property
    def offset(self) -> int:
        """The offset the next event will begin at."""
        return self._lost[1] + len(self._bytes)

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
        return self.rung or self.heard > self.end

    def covers(self, cursor: Cursor) -> bool:
        """Whether everything past ``cursor``, as far as ``end``, is held."""
        return cursor >= self.start

    # Growing

    def hear(self, message: bytes) -> bool:
        """A published message; True when it was the exact successor and is in the tail now.

        The hot path: once per event and process. Anything but the successor is only remembered as heard of.
        """
        position, _, payload = message.partition(b" ")
        epoch, _, n = position.partition(b"-")
        try:
            cursor = Cursor(int(epoch), int(n))
        except ValueError:
            self.rung = True
            return False
        end = self.end
        if (cursor.n == end.n + 1 and cursor.epoch == end.epoch) or (end == START and cursor == FIRST):
            self._append(cursor, payload)
            return True
        if cursor > end:
            self._keep_aside(Entry(cursor, payload))
        return False

    def page(self, after: Cursor, entries: Iterable[Entry]) -> Tail:
        """A page of the same log, read from ``after``. Uses nothing that changes: any thread may call it."""
        page = Tail(after, self._frame)
        for cursor, payload in entries:
            if not page.end.precedes(cursor):
                break
            page._append(cursor, payload)
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
        if page._cursor_of(number - 1) != self.start:
            return False
        offset = page._begin(number)
        if offset - page._lost[1] + len(self._bytes) > limit:
            return False
        self._put_in_front(page, number, offset)
        return True

    def rewind(self, start: Cursor) -> None:
        """Begin earlier. Only while nothing is held; a page already on its way from the old start is refused."""
        assert self.empty, "a tail with events cannot begin elsewhere"
        self.start = self.end = start
        self._spans = []

    def _append(self, cursor: Cursor, payload: bytes) -> None:
        if not self._spans or cursor.epoch != self.end.epoch:
            self._spans.append(Span(cursor.epoch, cursor.n, self.count))
        self._bytes += chunk(self._frame(cursor, payload))
        self._ends.append(self._lost[1] + len(self._bytes))
        self.end = cursor
        self.complete = payload.startswith(_DONE)

    def _join(self, page: Tail) -> None:
        number = page._number_past(self.end)
        if number == page.count or not self.end.precedes(page._cursor_of(number)):
            return
        begin = page._begin(number)
        for span in page._spans_from(number):
            if not self._spans or span.epoch != self.end.epoch:
                self._spans.append(span._replace(number=span.number - number + self.count))
        shift = self.offset - begin
        self._ends.extend(end + shift for end in page._ends[number - page._lost[0] :])
        self._bytes += memoryview(page._bytes)[begin - page._lost[1] :]
        self.end, self.complete = page.end, page.complete

    def _put_in_front(self, page: Tail, number: int, offset: int) -> None:
        by, shift = number - self._lost[0], offset - self._lost[1]
        older = [span._replace(number=span.number - by) for span in page._spans if span.number < number]
        newer = [span for span in self._spans if span.epoch > older[-1].epoch]
        ends = array("q", (end - shift for end in page._ends[: number - page._lost[0]]))
        self._bytes = page._bytes[: offset - page._lost[1]] + self._bytes
        self._ends = ends + self._ends
        self._spans = older + newer
        self._lost = (page._lost[0] - by, page._lost[1] - shift)
        self.start = page.start

    def _keep_aside(self, entry: Entry) -> None:
        self.heard = max(self.heard, entry.cursor)
        if self._aside is None:
            self._aside = []
        if len(self._aside) < ASIDE:
            self._aside.append(entry)

    def _take_aside(self) -> None:
        if self._aside is None:
            return
        for cursor, payload in sorted(self._aside):
            if cursor.epoch == self.end.epoch and cursor.n == self.end.n + 1:
                self._append(cursor, payload)
        self._aside = None

    # Reading

    def cut(self, after: Cursor, limit: int) -> tuple[int, bytes]:
        """Whole events past ``after``: where they begin, and at most ``limit`` bytes but at least one event."""
        number = self._number_past(after)
        begin = self._begin(number)
        if number == self.count:
            return begin, b""
        last = max(bisect_right(self._ends, begin + limit) - 1, number - self._lost[0])
        return begin, self._slice(begin, self._ends[last])

    def split(self, offset: int) -> tuple[Cursor, bytes]:
        """The last event that begins before ``offset``, and what of it lies behind ``offset``."""
        index = bisect_right(self._ends, offset - 1)
        return self._cursor_of(self._lost[0] + index), self._slice(offset, self._ends[index])

    def at(self, offset: int) -> Cursor:
        """The last event that ends at or before ``offset``; ``start`` when that is where the bytes begin."""
        return self.split(offset)[0] if offset > self._lost[1] else self.start

    def since(self, offset: int) -> bytes:
        """Everything from ``offset`` on."""
        return self._slice(offset, self.offset)

    def entries(self, after: Cursor, limit: int) -> list[Entry]:
        """The events ``cut`` gives, as they were before they were framed. Only for the frame of ``sse``."""
        begin, data = self.cut(after, limit)
        number, stop, at = self._number_past(after), begin + len(data), 0
        found = []
        while begin + at < stop:
            end = self._ends[number - self._lost[0]] - begin
            found.append(Entry(self._cursor_of(number), _payload(data[at:end])))
            at, number = end, number + 1
        return found

    def trim(self, size: int) -> None:
        """Forget the oldest events until no more than ``size`` bytes are held."""
        surplus = len(self._bytes) - size
        if surplus <= 0:
            return
        index = bisect_right(self._ends, self._lost[1] + surplus - 1)
        number, offset = self._lost[0] + index, self._ends[index]
        self.start = self._cursor_of(number)
        del self._bytes[: offset - self._lost[1]]
        del self._ends[: index + 1]
        self._lost = (number + 1, offset)
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
        return max(number, self._lost[0])

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
        index = number - self._lost[0]
        return self._ends[index - 1] if index else self._lost[1]

    def _slice(self, begin: int, end: int) -> bytes:
        return bytes(memoryview(self._bytes)[begin - self._lost[1] : end - self._lost[1]])


def _payload(chunked: bytes) -> bytes:
    return chunked[chunked.index(b"\ndata: ") + 7 : chunked.rindex(b"\nid: ")]
