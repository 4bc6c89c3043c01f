"""Values that PostgreSQL or an encoder cannot take are refused before they are stored or sent."""

from __future__ import annotations

import math
from typing import Any

import pytest

from app.domain.storable import DEEPEST, sound, storable


@pytest.mark.parametrize("text", ["", "plain", "é 日本 👩\u200d🚀", "\n\t\x01"])
def test_ordinary_text_is_returned_as_it_is(text: str) -> None:
    assert storable(text) == text


@pytest.mark.parametrize("text", ["a\0b", "\ud83d", "\ude42 alone"])
def test_text_that_cannot_be_kept_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must not contain"):
        storable(text)


@pytest.mark.parametrize("value", [0, 2**63 - 1, -(2**63) + 1, True, None, 1.5, {"a": [1, {"b": "c"}]}, []])
def test_sound_values_pass(value: Any) -> None:
    sound(value)


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**64), math.inf, -math.inf, math.nan, "\0", "\ud83d"])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"key": [{"deep": v}]}], ids=range(3))
def test_an_unsound_value_is_refused_wherever_it_is(value: Any, wrap: Any) -> None:
    with pytest.raises(ValueError, match="must not contain"):
        sound(wrap(value))


def test_names_are_looked_at_too() -> None:
    with pytest.raises(ValueError, match="NUL"):
        sound({"a\0": 1})


def test_a_depth_has_a_limit() -> None:
    deep: Any = 1
    for _ in range(DEEPEST - 1):
        deep = [deep]
    sound(deep)
    with pytest.raises(ValueError, match="nested"):
        sound([deep])
