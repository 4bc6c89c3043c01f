"""The shared tail of one log: its positions, its growth, and the bytes behind each cursor."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import sse
from app.domain.cursor import START, Cursor
from app.domain.events import Done, Entry, Snapshot, Token, encode
from app.relay.encoded_log import chunk
from app.relay.tail import Tail

DONE = encode(Done("completed", "stop", None, "00"))


def log_of(*lengths: int) -> list[Entry]:
    """A log with a revision for each length, its events of different sizes."""
    entries = []
    for epoch, length in enumerate(lengths, 1):
        for n in range(length):
            event = Snapshot(f"text {epoch}", "start", epoch) if n == 0 else Token(f"{epoch}.{n}" + "x" * (n * 7 % 40))
            entries.append(Entry(Cursor(epoch, n), encode(event)))
    return entries


def message(entry: Entry) -> bytes:
    return str(entry.cursor).encode() + b" " + entry.payload


def chunks(entries: list[Entry]) -> bytes:
    return b"".join(chunk(sse.frame(*entry)) for entry in entries)


def tail_of(entries: list[Entry], after: Cursor = START) -> Tail:
    return Tail(after).page(after, entries)


logs = st.lists(st.integers(1, 12), min_size=1, max_size=4).map(lambda lengths: log_of(*lengths))


def test_a_published_successor_is_taken_in() -> None:
    tail = Tail(START)
    for entry in log_of(4):
        assert tail.append_published(message(entry))
    assert (tail.end, tail.gap) == (Cursor(1, 3), False)
    assert tail.since(0) == chunks(log_of(4))


def test_what_does_not_follow_is_only_heard_of() -> None:
    tail = Tail(START)
    entries = log_of(4)
    tail.append_published(message(entries[0]))
    assert not tail.append_published(message(entries[2]))
    assert (tail.end, tail.gap) == (Cursor(1, 0), True)


def test_a_hole_closes_with_the_page_and_keeps_what_was_heard_meanwhile() -> None:
    tail = Tail(START)
    entries = log_of(5)
    for entry in (entries[0], entries[2], entries[3], entries[4]):
        tail.append_published(message(entry))
    assert tail.extend(tail.page(Cursor(1, 0), entries[1:2]))
    assert (tail.end, tail.gap) == (Cursor(1, 4), False)


def test_a_repeated_event_is_not_taken_in_twice() -> None:
    tail = Tail(START)
    entries = log_of(3)
    for entry in [*entries, *entries]:
        tail.append_published(message(entry))
    assert tail.since(0) == chunks(entries)
    assert not tail.gap


def test_a_new_revision_is_never_taken_from_a_message() -> None:
    tail = Tail(START)
    entries = log_of(2, 2)
    for entry in (entries[0], entries[2]):
        tail.append_published(message(entry))
    assert tail.end == Cursor(1, 0), "the end of the old revision may not have been heard"
    assert tail.gap


def test_a_log_that_begins_with_a_later_revision_is_read() -> None:
    tail = Tail(START)
    assert not tail.append_published(b"2-0 {}")
    assert tail.gap


def test_a_message_that_is_no_event_is_a_doorbell() -> None:
    tail = Tail(START)
    assert not tail.append_published(b"something changed")
    assert tail.gap


def test_a_page_read_from_beyond_the_end_is_refused() -> None:
    tail = Tail(Cursor(1, 30))
    page = tail.page(Cursor(1, 50), [Entry(Cursor(2, 0), b"{}")])
    assert not tail.extend(page)
    assert tail.end == Cursor(1, 30)


def test_done_completes_and_something_behind_it_reopens() -> None:
    tail = Tail(START)
    tail.append_published(b"1-0 " + DONE)
    assert tail.complete
    tail.extend(tail.page(Cursor(1, 0), [Entry(Cursor(2, 0), b"{}")]))
    assert not tail.complete


def test_an_empty_tail_can_begin_earlier() -> None:
    tail = Tail(Cursor(1, 999))
    tail.rewind(Cursor(1, 2))
    assert tail.extend(tail.page(Cursor(1, 2), log_of(6)[3:]))
    assert tail.end == Cursor(1, 5)


def test_a_tail_with_events_cannot_begin_earlier() -> None:
    with pytest.raises(AssertionError):
        tail_of(log_of(3)).rewind(START)


@given(logs, st.data())
def test_every_cursor_finds_the_bytes_of_what_follows_it(entries: list[Entry], data: st.DataObject) -> None:
    tail = tail_of(entries)
    after = data.draw(st.builds(Cursor, st.integers(0, 5), st.integers(0, 13)))
    _, found = tail.cut(after, 1 << 20)
    assert found == chunks([entry for entry in entries if entry.cursor > after])


@given(logs, st.integers(1, 400), st.data())
def test_pieces_are_whole_events_and_go_on_where_the_last_one_ended(
    entries: list[Entry], limit: int, data: st.DataObject
) -> None:
    tail, cursor, received = tail_of(entries), START, b""
    while cursor != tail.end:
        begin, piece = tail.cut(cursor, limit)
        sent = data.draw(st.integers(1, len(piece)))
        cursor, rest = tail.split(begin + sent)
        received += piece[:sent] + rest
        assert received == chunks([entry for entry in entries if entry.cursor <= cursor])
    assert received == chunks(entries)


@given(logs, st.integers(0, 2000))
def test_trimming_forgets_only_from_the_front(entries: list[Entry], size: int) -> None:
    tail = tail_of(entries)
    offset, count = tail.offset, tail.count
    tail.trim(size)
    kept = [entry for entry in entries if entry.cursor > tail.start]
    assert tail.size <= size
    assert (tail.offset, tail.count) == (offset, count)
    assert tail.cut(tail.start, 1 << 20)[1] == chunks(kept)
    assert [entry for entry in entries if not tail.covers(entry.cursor)] == [
        entry for entry in entries if entry.cursor < tail.start
    ]


@given(logs, st.data())
def test_pages_put_behind_in_front_and_trimmed_give_the_log(entries: list[Entry], data: st.DataObject) -> None:
    """Two neighbouring parts of a log, joined in either order, give the tail of the whole log."""
    at = data.draw(st.integers(0, len(entries)))
    middle = entries[at - 1].cursor if at else START
    back, front = tail_of(entries[:at]), Tail(middle)
    overlap = data.draw(st.integers(0, at))
    page = front.page(entries[overlap - 1].cursor if overlap else START, entries[overlap:])

    behind = tail_of(entries[:at])
    behind.extend(page)
    assert_is_log(behind, entries)

    front.extend(page)
    front.trim(data.draw(st.integers(0, 1000)))
    offset, count, start = front.offset, front.count, front.start
    older = tail_of([entry for entry in entries if entry.cursor <= start] or [])
    if at and start > START:
        assert front.extend_back(older, 1 << 20)
        assert (front.offset, front.count) == (offset, count), "what live readers count on stays"
        assert_is_log(front, entries)
    assert back.end == middle


def assert_is_log(tail: Tail, entries: list[Entry]) -> None:
    assert tail.end == entries[-1].cursor
    for before, entry in pairwise([Entry(START, b""), *entries]):
        _, piece = tail.cut(before.cursor, 1)
        assert piece == chunk(sse.frame(*entry))
    assert tail.entries(START, 1 << 20) == entries


def test_a_page_that_does_not_reach_the_tail_is_not_put_in_front() -> None:
    entries = log_of(10)
    tail = Tail(entries[6].cursor)
    tail.append_published(message(entries[7]))
    assert not tail.extend_back(tail_of(entries[:5]), 1 << 20)
    assert not tail.extend_back(tail_of(entries), 10), "nor when both together are too much"
    assert tail.start == entries[6].cursor


def test_what_the_last_event_is_depends_on_the_kind_of_log() -> None:
    said = [Entry(Cursor(1, 1), b'message.new {"n":1}'), Entry(Cursor(1, 2), b"conversation.deleted {}")]

    def tail(last: bytes | None) -> Tail:
        grown = Tail(Cursor(1, 0), lambda cursor, payload: payload + b"\n\n", last)
        assert grown.extend(grown.page(Cursor(1, 0), said))
        return grown

    assert tail(b"conversation.deleted ").complete
    assert not tail(None).complete
    assert not tail(b'{"type":"done"').complete


def test_a_notice_is_neither_an_event_nor_a_doorbell() -> None:
    tail = Tail(START)
    assert not tail.append_published(b"!data: {}\n\n")
    assert not tail.gap
    tail.append_published(b"ring")
    assert tail.gap


def test_an_older_page_that_knows_nothing_of_a_lost_end_is_not_put_in_front() -> None:
    """Events that a reader had received were lost with the log's end, and the next revision begins before them."""
    lost_end = Tail(Cursor(1, 7))
    revision = [entry for entry in log_of(8, 3) if entry.cursor.epoch == 2]
    assert lost_end.extend(tail_of(revision, Cursor(1, 7)))
    assert not lost_end.extend_back(tail_of(revision, Cursor(1, 5)), 1 << 20)
    assert (lost_end.start, lost_end.end) == (Cursor(1, 7), Cursor(2, 2))
