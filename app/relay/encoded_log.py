"""Consecutive events of one log, encoded for the wire, with the place of each of them. Pure: no input or output.

Positions are cursors to the outside; inside, an event also has a number and an offset, counted from where the log
began to be held (below zero for events put in front later), so that a cursor finds its bytes without a search.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import NamedTuple

from app.domain.cursor import Cursor
from app.domain.events import Entry


class Span(NamedTuple):
    """Consecutive events of one revision: the first one's ``n`` and its number."""

    epoch: int
    n: int
    number: int


def chunk(data: bytes) -> bytes:
    """``data`` as one piece of a chunked HTTP body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class EncodedLog:
    """Everything past ``start``, as chunks ready to be sent.

    ``count`` is the number the next event will have, ``offset`` where it will begin.
    """

    __slots__ = ("_bytes", "_ends", "_spans", "count", "offset", "start")

    def __init__(self, start: Cursor) -> None:
        self.start = start
        self.count = self.offset = 0
        self._bytes = bytearray()
        # The offset at which each event held ends.
        self._ends = array("q")
        self._spans: list[Span] = []

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self._bytes)

    @property
    def _first(self) -> int:
        """The number of the first event held."""
        return self.count - len(self._ends)

    @property
    def _base(self) -> int:
        """The offset of the first byte held."""
        return self.offset - len(self._bytes)

    def cut(self, after: Cursor, limit: int) -> tuple[int, bytes]:
        """Whole events past ``after``: their offset, and at most ``limit`` bytes of them but at least one event."""
        number = self._number_past(after)
        begin = self._begin(number)
        if number == self.count:
            return begin, b""
        last = max(bisect_right(self._ends, begin + limit) - 1, number - self._first)
        return begin, self._slice(begin, self._ends[last])

    def split(self, offset: int) -> tuple[Cursor, bytes]:
        """The last event that begins before ``offset``, and its bytes behind ``offset``."""
        index = bisect_right(self._ends, offset - 1)
        return self._cursor_of(self._first + index), self._slice(offset, self._ends[index])

    def between(self, after: Cursor, last: Cursor) -> int:
        """The number of events held past ``after``, up to ``last``."""
        return self._number_past(last) - self._number_past(after)

    def at(self, offset: int) -> Cursor:
        """The last event that ends at or before ``offset``; ``start`` when no event held does."""
        return self.split(offset)[0] if offset > self._base else self.start

    def since(self, offset: int) -> bytes:
        """Everything from ``offset`` on."""
        return self._slice(offset, self.offset)

    def entries(self, after: Cursor, limit: int) -> list[Entry]:
        """The events that ``cut`` returns, without their framing. A frame must end with ``data`` and ``id``."""
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


def _payload(chunked: bytes) -> bytes:
    return chunked[chunked.index(b"\ndata: ") + 7 : chunked.rindex(b"\nid: ")]
