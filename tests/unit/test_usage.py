"""An estimate says that it is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.usage import estimate


@pytest.mark.parametrize(("output", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("x" * 400, 100)])
def test_four_characters_are_about_a_token(output: str, tokens: int) -> None:
    assert estimate(output) == {"input_tokens": None, "output_tokens": tokens, "estimated": True}


@given(st.text(), st.text())
def test_more_text_is_never_less_usage(one: str, other: str) -> None:
    assert estimate(one + other)["output_tokens"] >= estimate(one)["output_tokens"]
