"""Estimated usage is marked as an estimate."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.usage import MOST_TOKENS, estimate, estimated_tokens, tokens
from worker.attempts import prompt_tokens
from worker.providers.base import ChatMessage, Prompt, ToolCall


@pytest.mark.parametrize(("output", "count"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("x" * 400, 100)])
def test_four_characters_are_about_a_token(output: str, count: int) -> None:
    assert estimate(7, len(output)) == {"input_tokens": 7, "output_tokens": count, "estimated": True}


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_more_text_is_never_less_usage(one: int, other: int) -> None:
    assert estimated_tokens(one + other) >= estimated_tokens(one)


@pytest.mark.parametrize(
    ("usage", "count"),
    [
        (None, 0),
        ({}, 0),
        ({"input_tokens": None}, 0),
        ({"input_tokens": 7}, 7),
        ({"input_tokens": -5}, 0),
        ({"input_tokens": 10**30}, MOST_TOKENS),
    ],
)
def test_what_a_provider_counts_is_never_negative_nor_beyond_measure(usage: dict[str, Any] | None, count: int) -> None:
    assert tokens(usage, "input_tokens") == count


def test_reasoning_that_goes_back_to_the_provider_is_counted() -> None:
    call = ToolCall("c", "name", "{}")
    message = ChatMessage("assistant", "text", (call,), reasoning="r" * 400)
    assert prompt_tokens(Prompt("m", (message,))) == estimated_tokens(len("textname{}") + 400)
