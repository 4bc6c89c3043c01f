"""The newest part of one log, encoded for the wire once and shared by all its readers. Pure: no input or output."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

from app.domain.cursor import Cursor
from app.domain.events import LAST, NOTICE, Entry
from app.relay.encoded_log import EncodedLog, Span, chunk

# The first event a log can have.
FIRST = Cursor(1, 0)
# Published events that arrive while the log is being read are kept until the page is there.
MOST_EARLY = 256

Frame = Callable[[Cursor, bytes], bytes]


class Tail(EncodedLog):
    """Everything past ``start`` up to ``end``, as chunks ready to be sent.

    It grows by the exact successor only, so a position in it is valid without a look at the log. A page of a log is a
    tail that does not grow. ``frame`` replaces the framing of ``sse``. ``last`` is the beginning of the last event's
    payload; None for a log without an end.
    """

    __slots__ = ("_early", "_epoch", "_frame", "_is_notified", "_last", "_n", "_newest_published", "_next", "complete")

    def __init__(self, start: Cursor, frame: Frame | None = None, last: bytes | None = LAST) -> None:
        super().__init__(start)
        self._last = last
        self._epoch, self._n = start
        # The beginning of the message that carries the exact successor.
        self._next = _opening(start)
        # True when the newest event held is the end of the log.
        self.complete = False
        # The newest position published. Beyond ``end`` it proves that events are missing here.
        self._newest_published = start
        # A message came that carries no event. It means only that the log has grown.
        self._is_notified = False
        self._frame = frame
        self._early: list[Entry] | None = None

    @property
    def end(self) -> Cursor:
        """The newest event held."""
        return Cursor(self._epoch, self._n)

    @property
    def before_end(self) -> Cursor:
        """The position from which only the newest event is missing; ``end`` when no event is held."""
        return self.end if self.empty else Cursor(self._epoch, self._n - 1)

    @property
    def unwritten(self) -> bool:
        """True while no event of the log has been seen. Its generation may still be queued."""
        return not self._epoch

    @property
    def empty(self) -> bool:
        """True while no event is held past the position the tail began at."""
        return self.start == self.end

    @property
    def gap(self) -> bool:
        """True when events were published that are not held."""
        return self._is_notified or self._newest_published > self.end

    def covers(self, cursor: Cursor) -> bool:
        """True when everything past ``cursor``, up to ``end``, is held."""
        return cursor >= self.start

    # Growing

    def append_published(self, message: bytes) -> bytes:
        """Append a published message that carries the exact successor. Returns its chunk; empty for another message.

        The hot path: once per event and process. Of another message only the position is noted.
        """
        expected = self._next
        if message.startswith(expected):
            return self._append(expected[:-1], message[len(expected) :])
        self._note_position(message)
        return b""

    def begin_read(self) -> Cursor:
        """The position to read the log from. Notifications received until now are answered by this read."""
        self._is_notified = False
        return self.end

    def page(self, after: Cursor, entries: Iterable[Entry]) -> Tail:
        """Encode a page of this log, read from ``after``. Any thread may call it: no mutable state is read."""
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
        """Append the events of a page past ``end``. True when there were any.

        A page that starts beyond ``end`` is ignored, because the events between are unknown.
        """
        before = self.count
        if page.start <= self.end:
            self._join(page)
        self._append_early()
        return self.count > before

    def extend_back(self, page: Tail, limit: int) -> bool:
        """Put a page in front when it reaches ``start`` and both together have at most ``limit`` bytes."""
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
        """Begin at an earlier position. Only an empty tail may; a page read from the old start is then ignored."""
        assert self.empty, "a tail with events cannot begin elsewhere"
        self.start = start
        self._epoch, self._n = start
        self._next = _opening(start)
        self._spans = []

    def _append(self, position: bytes, payload: bytes) -> bytes:
        """Append the next event, in the revision that ``_turn_to`` began."""
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
        """Begin a span when ``cursor``, the next event, opens a revision."""
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

    def _note_position(self, message: bytes) -> None:
        if message.startswith(NOTICE):
            return
        try:
            position, _, payload = message.partition(b" ")
            epoch, _, n = position.partition(b"-")
            entry = Entry(Cursor(int(epoch), int(n)), payload)
        except ValueError:
            self._is_notified = True
            return
        if entry.cursor <= self.end:
            return
        self._newest_published = max(self._newest_published, entry.cursor)
        if self._early is None:
            self._early = []
        if len(self._early) < MOST_EARLY:
            self._early.append(entry)

    def _append_early(self) -> None:
        early, self._early = self._early or (), None
        for cursor, payload in sorted(early):
            if cursor == (self._epoch, self._n + 1):
                self._append(b"%d-%d" % cursor, payload)


def _opening(last: Cursor) -> bytes:
    """The beginning of the message behind ``last``. Nothing can be missing before the first event of all."""
    return b"%d-%d " % (last.epoch, last.n + 1) if last.epoch else b"%d-%d " % FIRST
