"""Compressed bodies: every split and encoding gives equal content, and no step grows without bound."""

from __future__ import annotations

import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.decompression import MOST_ENCODINGS, STEP_BYTES, DamagedBody, Decoder, UnreadableEncoding


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


PACKERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}


def read(encodings: str, *parts: bytes) -> bytes:
    decoder, body = Decoder(encodings), b""
    for part in parts:
        decoder.feed(part)
        while decoder.pending:
            step = decoder.step()
            assert len(step) <= max(STEP_BYTES, len(part))
            body += step
    return body + decoder.close()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@given(
    st.binary(max_size=2000),
    st.lists(st.sampled_from(sorted(PACKERS)), max_size=MOST_ENCODINGS),
    st.lists(st.integers(0, 10**6), max_size=8),
    st.booleans(),
)
def test_any_split_of_any_chain_gives_the_same(body: bytes, chain: list[str], places: list[int], loud: bool) -> None:
    if not chain and body[:2] == b"\x1f\x8b":
        return  # read as gzip, by design
    packed = body
    for name in chain:
        packed = PACKERS[name](packed)
    header = ", ".join(chain)
    assert read(header.upper() if loud else header, *cut(packed, places)) == body


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 10**6), max_size=8), st.booleans())
def test_members_of_gzip_stand_one_behind_the_other(members: list[bytes], places: list[int], named: bool) -> None:
    packed = b"\0".join(gzip.compress(member) for member in members)
    assert read("gzip" if named else "", *cut(packed, places)) == b"".join(members)


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_deflate_without_its_header_is_read(size: int) -> None:
    packed = bare(b"hello " * size)
    assert read("deflate", *(packed[at : at + 1] for at in range(len(packed)))) == b"hello " * size


def test_a_step_of_a_bomb_is_small() -> None:
    packed = gzip.compress(gzip.compress(b"\0" * 50_000_000))
    decoder, size = Decoder("gzip, gzip"), 0
    decoder.feed(packed)
    while decoder.pending:
        step = decoder.step()
        assert len(step) <= STEP_BYTES
        size += len(step)
    assert size == 50_000_000


@pytest.mark.parametrize("encodings", ["br", "BR", "gzip, br", "zstd", "compress", "gzip" + ", gzip" * MOST_ENCODINGS])
def test_what_cannot_be_read_is_named(encodings: str) -> None:
    with pytest.raises(UnreadableEncoding, match="encodings at once" if encodings.count("gzip") > 1 else "(?i)br|z|c"):
        Decoder(encodings)


@pytest.mark.parametrize("encodings", ["gzip", "deflate"])
def test_damage_is_said(encodings: str) -> None:
    with pytest.raises(DamagedBody):
        read(encodings, b"\x1f\x8b\xff\xff\xff\xff\xff\xff\xff\xff", b"xxxx")
