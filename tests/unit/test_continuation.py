"""Joining an answer with its continuation when the model repeats its last words."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.providers.reading.continuation import MIN_OVERLAP, OverlapCutter, join, overlap

# Few letters, so that accidental and partial repeats are the rule.
words = st.lists(st.sampled_from(["a", "ab", "aba", "the river", "the riverbank", " ", "\n"]), max_size=12)
texts = words.map(" ".join) | st.text("ab ", max_size=40)


def longest_repeat_by_trying(prefix: str, continuation: str) -> int:
    for length in range(min(len(prefix), len(continuation)), MIN_OVERLAP - 1, -1):
        at = len(prefix) - length
        inside_a_word = at > 0 and prefix[at - 1].isalnum() and prefix[at].isalnum()
        if prefix.endswith(continuation[:length]) and not inside_a_word:
            return length
    return 0


@pytest.mark.parametrize(
    ("prefix", "continuation", "whole"),
    [
        ("Once upon a time there was", " a king.", "Once upon a time there was a king."),
        ("Once upon a time there was", "a time there was a king.", "Once upon a time there was a king."),
        ("Once upon a time there was", "Once upon a time there was a king.", "Once upon a time there was a king."),
        ("Once upon a time there w", "a time there was a king.", "Once upon a time there was a king."),
        ("hel", "lo", "hello"),
        ("bye ", "bye now", "bye bye now"),
        ("ha ha ha ", "ha ha!", "ha ha ha ha ha!"),
        ("some prefix that is long", "", "some prefix that is long"),
        ("", "all of it", "all of it"),
    ],
)
def test_a_long_repeat_is_cut_and_a_short_one_is_meant(prefix: str, continuation: str, whole: str) -> None:
    assert join(prefix, continuation) == whole


def test_a_repeat_that_begins_inside_a_word_is_not_cut() -> None:
    assert join("xx" + "a" * MIN_OVERLAP, "a" * MIN_OVERLAP + "b") == "xx" + "a" * (2 * MIN_OVERLAP) + "b"


@given(texts, texts)
@example("the riverbank the river", "the riverbank the river")
def test_the_longest_repeat_is_found(prefix: str, continuation: str) -> None:
    assert overlap(prefix, continuation) == longest_repeat_by_trying(prefix, continuation)


@given(texts, st.sampled_from([" the riverbank", "\n\n- a river runs", " a a a a a a a a"]), texts)
def test_a_model_that_repeats_its_last_words_leaves_no_seam(before: str, repeated: str, after: str) -> None:
    joined = join(before + repeated, repeated + after)
    assert joined.startswith(before + repeated)
    # At least the repeated words are cut; a text with repeats of its own may lose more.
    assert after.endswith(joined[len(before + repeated) :])


@given(texts, texts, st.lists(st.integers(0, 60), max_size=8))
def test_the_parts_a_continuation_arrives_in_make_no_difference(
    prefix: str, continuation: str, cuts: list[int]
) -> None:
    edges = [0, *sorted(min(cut, len(continuation)) for cut in cuts), len(continuation)]
    cutter = OverlapCutter(prefix)
    shown = "".join(cutter.feed(continuation[a:b]) for a, b in itertools.pairwise(edges)) + cutter.close()
    assert prefix + shown == join(prefix, continuation)


def test_text_that_cannot_be_a_repeat_is_shown_at_once() -> None:
    cutter = OverlapCutter("Once upon a time there was a king")
    assert cutter.feed(" who") == " who"
    assert cutter.feed(" was") == " was"


def test_text_is_held_only_while_it_may_be_a_repeat() -> None:
    cutter = OverlapCutter("Once upon a time there was a king")
    assert cutter.feed("upon a") == ""
    assert cutter.feed(" mountain") == "upon a mountain"


def test_a_long_restart_of_the_same_letter_is_decided_quickly() -> None:
    cutter = OverlapCutter(" " + "a" * 50_000)
    assert "".join(cutter.feed("aaaa") for _ in range(15_000)) + cutter.close() == "a" * 10_000
