"""Texts of one line."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import titles
from app.domain.single_line import cut, is_single_line, single_line

FLAG = "\U0001f1f3\U0001f1f4"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
CLUSTERS = [FLAG, FAMILY, SCOTLAND, "e\u0301", "\U0001f44d\U0001f3fd", "❤\ufe0f", "\u1112\u1161\u11ab", "न\u094d", "a"]
DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\nb", "a b"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("bill\u202egnp.exe", "billgnp.exe"),
        (f"a{DIRECTIONS}b", "ab"),
        ("\ufeffa\u00ad\x00\x1b[31mb\x7f", "a [31mb"),
        ("\u200d\u200b ", ""),
        (f"  {FAMILY}  {SCOTLAND} ", f"{FAMILY} {SCOTLAND}"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_a_line_has_no_breaks_and_nothing_that_turns_it(text: str, line: str) -> None:
    assert single_line(text) == line


@given(st.text())
def test_every_line_is_one_and_stays_as_it_is(text: str) -> None:
    line = single_line(text)
    assert len(line.splitlines()) <= 1
    assert not set(line) & set(DIRECTIONS)
    assert not any(unicodedata.category(character) == "Cc" for character in line)
    assert single_line(line) == line
    assert is_single_line(line)


@given(st.lists(st.sampled_from(CLUSTERS), min_size=1, max_size=40), st.integers(1, 200))
def test_a_cut_falls_between_two_characters_of_a_reader(clusters: list[str], longest: int) -> None:
    found = cut("".join(clusters), longest)
    assert len(found) <= longest
    wholes = ["".join(clusters[:n]) for n in range(len(clusters) + 1)]
    assert found in wholes
    assert found == max((whole for whole in wholes if len(whole) <= longest), key=len)


def test_a_title_ends_in_no_half_flag_and_a_family_keeps_its_members() -> None:
    title = titles.from_words(FLAG * 40)
    assert title.rstrip("…") == FLAG * (len(title) // 2)
    title = titles.from_words(FAMILY * 40)
    assert title.rstrip("…") == FAMILY * (len(title) // len(FAMILY))
    assert titles.from_answer("good\u202eevil\x1b") == "goodevil"
