"""Data URLs are taken apart in pieces, and a damaged one is refused."""

from __future__ import annotations

import base64

import pytest

from app.files.data_url import decode
from app.files.errors import Refused


@pytest.mark.parametrize("size", [0, 1, 2, 3, 49_151, 49_152, 49_153, 200_000])
def test_the_bytes_are_those_that_were_encoded(size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    declared, source = decode(f"data:image/png;base64,{base64.b64encode(data).decode()}")
    pieces = list(source)
    assert declared == "image/png"
    assert b"".join(pieces) == data
    assert max(map(len, pieces), default=0) <= 49_152


def test_other_forms_are_read() -> None:
    assert [*decode("data:,a%20b")[1]] == [b"a b"]
    assert decode("data:text/plain;charset=utf-8;base64,YQ==")[0] == "text/plain"
    assert decode("DATA:Image/PNG;base64,YQ")[0] == "image/png"


@pytest.mark.parametrize("url", ["", "data:", "data:image/png;base64", "https://example.com/a.png", "data:a b,c"])
def test_a_text_that_is_no_data_url_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="data URL"):
        decode(url)


@pytest.mark.parametrize("text", ["Y Q==", "Y", "YQ==YQ==", "Ü"])
def test_damaged_base64_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="base64"):
        list(decode(f"data:image/png;base64,{text}")[1])
