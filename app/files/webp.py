"""WebP: size and chunks. Exif and XMP are left out, and the header says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from app.files.picture import Picture, check_count, check_left_out, check_size, cut_off
from app.files.pieces import Data, Pieces

_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_HEAD_BYTES, _CHUNK_HEAD = 12, 8
# Flags of VP8X that announce what is left out: Exif and XMP.
_WITHOUT_METADATA = 0xFF & ~0x0C


class Chunk(NamedTuple):
    """A chunk of a WebP; its content begins at ``body``."""

    name: bytes
    start: int
    body: int
    stop: int


def read(data: Data, most_pixels: int) -> Picture:
    """The image. Raises Refused."""
    end = _CHUNK_HEAD + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise cut_off("WebP")
    pieces, size, has_pixels = Pieces(), None, False
    for chunk in _chunks(data, _HEAD_BYTES, end):
        found = _size(data, chunk)
        if found is not None:
            check_size(*found, most_pixels)
            size = size or found
        has_pixels = has_pixels or chunk.name in (b"VP8 ", b"VP8L", b"ANMF")
        _keep(data, chunk, pieces)
    if size is None or not has_pixels:
        raise cut_off("WebP")
    check_left_out(data, end, len(data))
    pieces.prepend(b"RIFF" + (pieces.size + 4).to_bytes(4, "little") + b"WEBP")
    return Picture("image/webp", *size, pieces.all)


def _keep(data: Data, chunk: Chunk, pieces: Pieces) -> None:
    if chunk.name not in _KEPT:
        check_left_out(data, chunk.start, chunk.stop)
    elif chunk.name == b"VP8X":
        pieces.keep(chunk.start, chunk.body)
        pieces.add(bytes([data[chunk.body] & _WITHOUT_METADATA]))
        pieces.keep(chunk.body + 1, chunk.stop)
    else:
        pieces.keep(chunk.start, chunk.stop)


def _chunks(data: Data, at: int, end: int) -> Iterator[Chunk]:
    count = 0
    while at < end:
        count += 1
        check_count(count)
        body = at + _CHUNK_HEAD
        length = int.from_bytes(data[at + 4 : body], "little")
        stop = body + length + length % 2
        if body > end or body + length > end:
            raise cut_off("WebP")
        yield Chunk(bytes(data[at : at + 4]), at, body, min(stop, end))
        at = stop


def _size(data: Data, chunk: Chunk) -> tuple[int, int] | None:
    """The size that a chunk names, of the image or of a frame."""
    at, name = chunk.body, chunk.name
    needed = {b"VP8X": 10, b"ANMF": 16, b"VP8 ": 10, b"VP8L": 5}.get(name)
    if needed is None:
        return None
    if chunk.stop - at < needed:
        raise cut_off("WebP")
    if name == b"VP8X":
        return _less_one(data, at + 4), _less_one(data, at + 7)
    if name == b"ANMF":
        return _less_one(data, at + 6), _less_one(data, at + 9)
    if name == b"VP8 ":
        width, height = (int.from_bytes(data[place : place + 2], "little") for place in (at + 6, at + 8))
        return width & 0x3FFF, height & 0x3FFF
    bits = int.from_bytes(data[at + 1 : at + 5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _less_one(data: Data, at: int) -> int:
    """A number of three bytes that is stored less one."""
    return int.from_bytes(data[at : at + 3], "little") + 1
