"""Frames of server-sent events, read by an independent parser."""

import json
from collections.abc import Iterator

import sseclient
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cursor import Cursor
from app.domain.events import Token, decode, encode
from app.domain.sse import HEARTBEAT, frame, notice

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
numbers = st.integers(0, 999_999_999)


class Wire:
    """A response in the form that sseclient reads."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


def heard(*chunks: bytes) -> list[sseclient.Event]:
    return list(sseclient.SSEClient(Wire(*chunks)).events())


@given(st.lists(st.tuples(st.builds(Cursor, numbers, numbers), texts), max_size=5))
def test_an_independent_parser_reads_what_was_written(said: list[tuple[Cursor, str]]) -> None:
    events = heard(*(frame(cursor, encode(Token(text))) for cursor, text in said))
    assert [(event.id, decode(event.data.encode())) for event in events] == [(str(c), Token(t)) for c, t in said]
    assert {event.event for event in events} <= {"message"}


@given(st.data())
def test_heartbeats_between_frames_are_not_heard(data: st.DataObject) -> None:
    frames = [frame(Cursor(1, n), encode(Token(str(n)))) for n in range(4)]
    beats = data.draw(st.lists(st.integers(0, 4), max_size=6))
    wire = b"".join(HEARTBEAT * beats.count(at) + part for at, part in enumerate([*frames, b""]))
    assert [event.id for event in heard(wire)] == ["1-0", "1-1", "1-2", "1-3"]


def test_a_frame_has_its_data_before_its_id_and_no_event_name() -> None:
    assert frame(Cursor(2, 7), b'{"type":"token","content":"a"}') == (
        b'data: {"type":"token","content":"a"}\nid: 2-7\n\n'
    )


@given(texts)
def test_a_notice_is_one_event_without_a_position(text: str) -> None:
    [event] = heard(notice({"type": "queued", "position": 3, "note": text}))
    assert event.id in (None, "")
    assert json.loads(event.data) == {"type": "queued", "position": 3, "note": text}


@given(st.integers(0, 38))
def test_a_frame_cut_inside_its_data_gives_no_position_to_resume_from(keep: int) -> None:
    whole = frame(Cursor(1, 6), encode(Token("abc")))
    assert b"id" not in whole[:38]
    events = heard(frame(Cursor(1, 5), encode(Token("x"))), whole[:keep])
    # At the end of the body this parser dispatches a cut event, which the standard forbids; it has no id even then.
    assert [event.id for event in events if event.id] == ["1-5"]
