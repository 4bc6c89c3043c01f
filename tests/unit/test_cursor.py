"""A cursor has exactly one text, and only that text is read as this cursor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cursor import START, Cursor
from app.domain.errors import InvalidCursor

numbers = st.integers(0, 999_999_999)
cursors = st.builds(Cursor, numbers, numbers)


@given(cursors)
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(st.text(max_size=24))
def test_whatever_is_accepted_is_written_back_unchanged(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except InvalidCursor:
        return
    assert str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "-", "1", "1-", "-1", "1-2-3", "1--2", "--1", "01-2", "1-02", "00-0", "+1-2", "1-+2", "-1-2", "1--0",
        " 1-2", "1-2 ", "1 -2", "1-2\n", "\n1-2", "1-2\r\n", "1-2\x00", "1\u20132", "1_0-2", "1.0-2", "1e1-2", "0x1-2",
        "\u0661-\u0662", "\uff11-2", "1-\u00b2", "\u09e7-0", "1-2\u2028", "*", "$", "(1-2", "1-*", "latest", "null",
        "1000000000-0", "0-1000000000", "18446744073709551615-1", "1-" + "9" * 5000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.parse(text)


def test_the_complaint_names_the_field_and_does_not_repeat_a_long_text() -> None:
    with pytest.raises(InvalidCursor) as caught:
        Cursor.parse("x" * 10_000)
    assert caught.value.field == "after"
    assert len(caught.value.detail) < 200


@given(st.lists(cursors))
def test_cursors_are_ordered_by_revision_first(some: list[Cursor]) -> None:
    assert sorted(some) == sorted(some, key=lambda cursor: cursor.epoch * 10**9 + cursor.n)


@given(cursors, cursors)
def test_a_position_precedes_only_later_ones(one: Cursor, other: Cursor) -> None:
    if one.precedes(other):
        assert one < other
        assert not other.precedes(one)


@given(cursors)
def test_the_successor_in_a_revision_is_the_next_number(cursor: Cursor) -> None:
    assert cursor.precedes(Cursor(cursor.epoch, cursor.n + 1))
    assert not cursor.precedes(cursor)
    assert not cursor.precedes(Cursor(cursor.epoch, cursor.n + 2))


@given(cursors, st.integers(1, 9), st.integers(0, 9))
def test_a_later_revision_may_follow_from_its_beginning_only(cursor: Cursor, more: int, n: int) -> None:
    assert cursor.precedes(Cursor(cursor.epoch + more, n)) == (n == 0)


def test_the_start_stands_before_every_event() -> None:
    assert Cursor.parse("0-0") == START
    assert START.precedes(Cursor(1, 0))
    assert not START.precedes(Cursor(1, 1))
