"""The parser of server-sent events gives equal events for every split of the bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.providers.reading.sse import SseEvent, SseParser


def parse(*reads: bytes) -> list[SseEvent]:
    parser = SseParser()
    events = [event for read in reads for event in parser.feed(read)]
    return events + parser.close()


def data_of(*reads: bytes) -> list[bytes]:
    return [event.data for event in parse(*reads)]


def split_at(stream: bytes, places: list[int]) -> list[bytes]:
    cuts = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(cuts)]


# All bytes that matter to the grammar, and some text.
fragments = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b"data:", b"data: ", b"data", b":", b" ", b"event: error", b"error: ", b"id: 7", b"retry",
     b"x", b'{"a":1}', b"[DONE]", b"\xef\xbb\xbf", b"\xf0\x9f\x99\x82", b"\xff", b"\n\n"]
)  # fmt: skip
streams = st.lists(fragments, max_size=30).map(b"".join)
places = st.lists(st.integers(0, 10_000), max_size=12)


@given(streams, places)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
def test_any_split_of_the_bytes_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    assert parse(*split_at(stream, cuts)) == parse(stream)


@given(streams)
def test_byte_by_byte_gives_the_same_events(stream: bytes) -> None:
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == parse(stream)


lines = st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))
endings = st.sampled_from([b"\n", b"\r", b"\r\n"])
noise = st.sampled_from([b"", b": comment", b":", b"id: 3", b"retry: 10", b"unknown: field", b"unknown"])


@given(st.lists(st.tuples(st.lists(lines, min_size=1, max_size=3), noise, endings), max_size=8), places, st.booleans())
def test_what_was_written_is_what_is_read(
    events: list[tuple[list[bytes], bytes, bytes]], cuts: list[int], marked: bool
) -> None:
    stream = b"\xef\xbb\xbf" if marked else b""
    for data, extra, ending in events:
        written = [b"data: " + line for line in data]
        stream += b"".join(line + ending for line in [*([extra] if extra else []), *written, b""])
    assert data_of(*split_at(stream, cuts)) == [b"\n".join(data) for data, _, _ in events]


def test_a_line_of_a_carriage_return_and_a_line_feed_is_one_line() -> None:
    assert data_of(b"data: a\r", b"\ndata: b\r\n\r", b"\n") == [b"a\nb"]


def test_only_one_space_is_taken_from_the_value() -> None:
    assert data_of(b"data:  two\n\ndata:none\n\n") == [b" two", b"none"]


def test_a_comment_alone_dispatches_nothing() -> None:
    parser = SseParser()
    assert parser.feed(b": keep-alive\n\n: another\n\n") == []


def test_a_byte_order_mark_counts_only_at_the_very_beginning() -> None:
    assert data_of(b"\xef", b"\xbb", b"\xbfdata: a\n\n") == [b"a"]
    assert data_of(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a"]


def test_a_character_split_across_reads_stays_whole() -> None:
    smile = "🙂".encode()
    assert data_of(b"data: " + smile[:2], smile[2:] + b"\n\n") == [smile]


def test_the_event_name_belongs_to_one_event_only() -> None:
    assert parse(b"event: error\ndata: a\n\ndata: b\n\n") == [SseEvent("error", b"a"), SseEvent("", b"b")]
    assert parse(b"event: lost\n\ndata: b\n\n") == [SseEvent("", b"b")]


def test_an_error_line_of_an_old_server_is_an_event() -> None:
    assert parse(b'error: {"message":"x"}\n\n') == [SseEvent("error", b'{"message":"x"}')]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r"])
def test_the_last_event_needs_no_blank_line(end: bytes) -> None:
    assert data_of(b"data: a\n\ndata: [DONE]" + end) == [b"a", b"[DONE]"]


def test_an_event_is_delivered_with_the_read_that_completes_it() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\n") == [SseEvent("", b"a")]
    assert parser.feed(b"data: b\r\r") == [SseEvent("", b"b")]
    assert parser.close() == []


@pytest.mark.parametrize("endless", [b"x" * 100, b"data: " + b"x" * 94 + b"\n", b"data:" + b"x" * 94 + b"\n"])
def test_an_endless_event_is_left(endless: bytes) -> None:
    parser = SseParser(1000)
    for _ in range(10):
        assert parser.feed(endless) == []
        assert not parser.overflown
    assert parser.feed(endless) == []
    assert parser.overflown
    assert parser.feed(b"\n\ndata: x\n\n") == parser.close() == []


def test_many_events_are_not_one_large_event() -> None:
    parser = SseParser(1000)
    for _ in range(100):
        assert len(parser.feed(b"data: " + b"x" * 90)) == 0
        assert len(parser.feed(b"x\n\n: " + b"y" * 900 + b"\n")) == 1
    assert not parser.overflown


@given(
    st.lists(st.sampled_from([b"data: ab\n", b"data: " + b"x" * 30 + b"\n", b": " + b"y" * 25, b"\n", b"\r\n", b"\r"])),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_any_split_gives_the_same_events_and_the_same_end(lines: list[bytes], places: list[int]) -> None:
    stream = b"".join(lines)
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    whole, split = SseParser(40), SseParser(40)
    events = whole.feed(stream)
    assert [e for begin, end in itertools.pairwise(edges) for e in split.feed(stream[begin:end])] == events
    assert (split.overflown, split.close()) == (whole.overflown, whole.close())


def test_a_megabyte_in_single_bytes_is_read_in_linear_time() -> None:
    parser = SseParser()
    for _ in range(300_000):
        parser.feed(b"x")
    assert parser.feed(b"\n\n") == []
