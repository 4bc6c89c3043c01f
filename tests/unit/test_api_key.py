"""API keys as text: what is made can be read, and a mistyped key is found without a database."""

from __future__ import annotations

import re
from hashlib import sha256
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.api_key import ALPHABET, CHARACTERS, SECRET_BYTES, SECRET_CHARACTERS, NewKey, make, parse

KEYS = st.builds(make, st.uuids().map(str), st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
FORM = re.compile(r"unb_[0-9A-Za-z]{22}_[0-9A-Za-z]{49}")


@given(KEYS)
def test_a_key_is_read_as_it_was_made(key: NewKey) -> None:
    assert FORM.fullmatch(key.text)
    assert len(key.text) == CHARACTERS
    presented = parse(key.text)
    assert presented is not None
    assert (presented.id, presented.digest) == (key.id, key.digest)


@given(st.uuids(), st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
def test_a_digest_is_of_the_secret_alone_and_a_hint_shows_none_of_it(key_id: UUID, secret: bytes) -> None:
    key = make(str(key_id), secret)
    written = key.text[-SECRET_CHARACTERS - 6 : -6]
    assert key.digest == sha256(written.encode()).digest()
    assert key.hint == "unb_…" + key.text[-4:]


@given(KEYS, st.integers(0, CHARACTERS - 1), st.sampled_from(ALPHABET + "_-é\0 "))
def test_one_wrong_character_is_found(key: NewKey, place: int, character: str) -> None:
    assume(key.text[place] != character)
    assert parse(key.text[:place] + character + key.text[place + 1 :]) is None


@given(KEYS, st.integers(0, CHARACTERS - 2))
def test_two_characters_in_the_wrong_order_are_found(key: NewKey, place: int) -> None:
    first, second = key.text[place : place + 2]
    assume(first != second)
    assert parse(key.text[:place] + second + first + key.text[place + 2 :]) is None


@given(KEYS, st.integers(0, CHARACTERS - 1))
def test_a_missing_character_is_found(key: NewKey, place: int) -> None:
    assert parse(key.text[:place] + key.text[place + 1 :]) is None


@given(st.text(max_size=200) | st.text(ALPHABET + "_", min_size=CHARACTERS, max_size=CHARACTERS).map("unb_".__add__))
def test_no_other_text_is_a_key(text: str) -> None:
    assert parse(text) is None
