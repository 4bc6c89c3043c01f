"""A body split into parts has the content of the whole body, and is valid exactly when the whole is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api import split_body
from app.api.split_body import split

TEXTS = st.text(st.sampled_from('ab"\\[]{},: \n\0é😀') | st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
NAME = "messages"
OTHERS = st.dictionaries(TEXTS.filter(lambda name: name != NAME), VALUES, max_size=3)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """An object with the array somewhere among other fields, and one way to write it."""
    elements = draw(st.lists(VALUES, max_size=4))
    value = {**draw(OTHERS), NAME: elements, **draw(OTHERS)}
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    if draw(st.booleans()):
        text = text.replace('"messages":', r'"mess\u0061ges" : ')
    return value, text.encode()


def is_json(part: bytes) -> bool:
    try:
        json.loads(part)
    except ValueError:
        return False
    return True


@given(body=bodies())
def test_the_parts_say_what_the_whole_says(body: tuple[dict[str, Any], bytes]) -> None:
    value, data = body
    parts = split(data, NAME)
    assert [json.loads(data[element]) for element in parts.elements] == value[NAME]
    assert json.loads(parts.rest) == {**value, NAME: []}


@given(
    body=bodies(), at=st.floats(0, 1, exclude_max=True), cut=st.integers(0, 2), put=st.sampled_from(list('[]{},:"\\0 '))
)
def test_the_parts_are_valid_exactly_when_the_whole_is(
    body: tuple[dict[str, Any], bytes], at: float, cut: int, put: str
) -> None:
    _, data = body
    place = int(at * len(data))
    broken = data[:place] + put.encode() + data[place + cut :]
    parts = split(broken, NAME)
    assert is_json(broken) == all(map(is_json, [bytes(parts.rest), *(broken[one] for one in parts.elements)]))


@given(value=SCALARS | st.lists(VALUES | st.just(NAME), max_size=4) | OTHERS)
def test_a_body_without_the_array_is_all_rest(value: Any) -> None:
    data = json.dumps(value).encode()
    parts = split(data, NAME)
    assert (bytes(parts.rest), parts.elements) == (data, [])


class Counted:
    """A pattern that counts its matches."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.count = 0

    def finditer(self, body: bytes) -> Iterator[re.Match[bytes]]:
        for found in self._pattern.finditer(body):
            self.count += 1
            yield found


@pytest.mark.parametrize("start", [b"", b"{", b'{"messages":[', b'{"messages":[{', b"{}"])
@pytest.mark.parametrize("sign", [b"]", b"}", b'""'])
def test_a_flood_of_signs_that_belong_to_no_value_is_not_read_through(
    start: bytes, sign: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(split_body._STRUCTURE)
    monkeypatch.setattr(split_body, "_STRUCTURE", counted)
    body = start + sign * 1000
    parts = split(body, NAME)
    assert counted.count < 12
    assert not all(map(is_json, [bytes(parts.rest), *(body[one] for one in parts.elements)]))
