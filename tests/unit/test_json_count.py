"""The values of a body are counted before anything is made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api import json_body
from app.domain.errors import MalformedInput
from tests.unit.test_split_body import VALUES, Counted


def refusal(data: bytes, most: int) -> str:
    try:
        json_body.check_count(data, most, "MAX_JSON_VALUES")
    except MalformedInput as error:
        return error.detail
    return ""


@given(value=VALUES | st.lists(VALUES, max_size=8), most=st.integers(0, 20))
def test_json_is_refused_for_its_values_alone(value: Any, most: int) -> None:
    data = json.dumps(value).encode()
    signs = sum(map(data.count, (b",", b"[", b"{")))
    assert refusal(data, signs) == ""
    assert refusal(data, most) in ("", f"The body has more than {most} values (MAX_JSON_VALUES).")


def test_a_flood_of_strings_is_not_read_through(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(json_body._TOKENS)
    monkeypatch.setattr(json_body, "_TOKENS", counted)
    with pytest.raises(MalformedInput, match="not valid JSON"):
        json_body.check_count(b'"' + b"," * 100 + b'"' + b'""' * 1000, 10, "MAX_JSON_VALUES")
    assert counted.count < 12
