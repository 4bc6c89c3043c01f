"""Excerpts show the found words and give their positions, for every text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.excerpt import LONGEST, MOST_HIGHLIGHTS, Word, excerpt, words_of

TEXTS = st.text(st.sampled_from("aäßb 🙂<>&'\"\\-\n.日") | st.characters(exclude_categories=["Cs"]), max_size=400)


def shown(text: str, *words: Word) -> list[str]:
    found = excerpt(text, words)
    return [found.text[begin:end] for begin, end in found.highlights]


def test_postgresqls_notation_is_read():
    assert words_of("'tide' & 'moo':* | 'it''s'") == [Word("tide"), Word("moo", True), Word("it's")]
    assert words_of("T") == words_of("") == []


def test_words_are_found_whole_and_beginnings_with_what_follows():
    assert shown("Tides and tide, the TIDE.", Word("tide")) == ["tide", "TIDE"]
    assert shown("Tides and tide", Word("tid", begins=True)) == ["Tides", "tide"]
    assert shown("flood-tide", Word("flood-tide"), Word("tide")) == ["flood-tide"]


def test_a_hit_far_down_is_shown_with_what_stands_before_it():
    found = excerpt("word " * 1000 + "needle here" + " tail" * 1000, [Word("needle")])
    assert found.text.startswith("…word ")
    assert found.text.endswith("…")
    [(begin, end)] = found.highlights
    assert found.text[begin:end] == "needle"


def test_without_a_hit_the_beginning_is_shown():
    assert excerpt("A short text", [Word("nothing")]).text == "A short text"
    assert excerpt("A short text", []).highlights == ()


@given(TEXTS, st.lists(st.builds(Word, st.text(min_size=1, max_size=4), st.booleans()), max_size=4))
def test_positions_are_inside_the_snippet_in_order_and_apart(text: str, words: list[Word]):
    found = excerpt(text, words)
    assert len(found.text) <= LONGEST + 2
    assert len(found.highlights) <= MOST_HIGHLIGHTS
    places = [place for pair in found.highlights for place in pair]
    assert places == sorted(places)
    assert all(0 <= begin < end <= len(found.text) for begin, end in found.highlights)
    assert found.text.strip("…") in text or not text.strip("…")
