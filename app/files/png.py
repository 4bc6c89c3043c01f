"""PNG: size and chunks. Texts, times and Exif are left out; the chunks of colours and animation stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from app.files.picture import Picture, check_count, check_left_out, check_size, cut_off
from app.files.pieces import Data, Pieces

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = frozenset(
    (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD",
     b"pHYs", b"hIST", b"acTL", b"fcTL", b"fdAT")
)  # fmt: skip


class Chunk(NamedTuple):
    """A chunk of a PNG with its length, name and checksum."""

    name: bytes
    start: int
    stop: int


def read(data: Data, most_pixels: int) -> Picture:
    """The image. Raises Refused."""
    pieces = Pieces()
    pieces.keep(0, len(SIGNATURE))
    names, end = set[bytes](), 0
    width = height = 0
    for count, (name, start, end) in enumerate(_chunks(data)):
        check_count(count)
        if not count:
            if name != b"IHDR" or end - start != 25:
                raise cut_off("PNG")
            width, height = _size(data, start + 8)
            check_size(width, height, most_pixels)
        elif name == b"fcTL":
            # A frame of an animation has a size of its own.
            check_size(*_size(data, start + 12), most_pixels)
        names.add(name)
        if name in _KEPT:
            pieces.keep(start, end)
        else:
            check_left_out(data, start, end)
    if not names >= {b"IDAT", b"IEND"}:
        raise cut_off("PNG")
    check_left_out(data, end, len(data))
    return Picture("image/png", width, height, pieces.all)


def _size(data: Data, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8])


def _chunks(data: Data) -> Iterator[Chunk]:
    """The chunks up to the end of the image. Raises Refused."""
    at, name = len(SIGNATURE), b""
    while name != b"IEND":
        stop = at + 12 + int.from_bytes(data[at : at + 4])
        if stop > len(data):
            raise cut_off("PNG")
        name = bytes(data[at + 4 : at + 8])
        yield Chunk(name, at, stop)
        at = stop
