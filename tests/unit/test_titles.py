"""The titles of conversations, made from a message or from a model's answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import titles


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("Hello", "Hello"),
        ("  What is\n\na **hub**?  ", "What is a hub?"),
        ("Calculate 12*7 with snake_case", "Calculate 12*7 with snake_case"),
        ("# Plan\n- one\n- two", "Plan - one - two"),
        ("", ""),
        ("***", ""),
        ("word " * 40, "word word word word word word word word word word word…"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_the_first_words_are_a_title(message: str, title: str) -> None:
    assert titles.from_words(message) == title


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Streams that never break", "Streams that never break"),
        ('"Streams that never break."', "Streams that never break"),
        ("Title: Streams\n\nIs that all right?", "Streams"),
        ("**Ströme**", "Ströme"),
        ("\n\n# Streams\n", "Streams"),
        ("", ""),
        ('""', ""),
        ("<think>\nOkay, the user wants a title. </think>\n\nNice Greeting", "Nice Greeting"),
        ("Okay, the user wants a title.\n</think>\n\nNice Greeting", "Nice Greeting"),
        ("<think>\nOkay, the user wants", ""),
        ("A tag </think>", ""),
        ("Nice Greeting\n<think>Was that good?", "Nice Greeting"),
    ],
)
def test_an_answer_becomes_a_title(answer: str, title: str) -> None:
    assert titles.from_answer(answer) == title


@given(st.text(max_size=300))
def test_every_title_is_one_line_that_fits(text: str) -> None:
    for title in (titles.from_words(text), titles.from_answer(text)):
        assert len(title) <= titles.LONGEST
        assert len(title.splitlines()) <= 1
        assert title == title.strip()
