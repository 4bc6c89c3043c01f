"""JPEG: size and segments. Metadata such as the position is left out; the orientation and colour profile stay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from app.files.errors import Refused
from app.files.picture import Picture, check_count, check_left_out, check_size, cut_off
from app.files.pieces import Data, Pieces

_END, _SCAN, _EXIF = 0xD9, 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
# Segments of applications that the pixels need: JFIF, colour profile, Adobe's colour transform.
_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_APPLICATION, _COMMENT = range(0xE0, 0xF0), 0xFE
# In a scan 0xFF is followed by 0 or by the mark of a restart.
_BEHIND_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
# Any number of fill bytes may stand before a marker.
_FILL = re.compile(rb"\xff+")
_ORIENTATION = 0x0112
_MOST_ENTRIES = 1000


class Segment(NamedTuple):
    """A segment of a JPEG; a scan has its pixels behind it up to ``stop``."""

    marker: int
    start: int
    stop: int


def read(data: Data, most_pixels: int) -> Picture:
    """The image. Raises Refused."""
    pieces = Pieces()
    pieces.keep(0, 2)
    size: tuple[int, int] | None = None
    end = 2
    for segment in _segments(data):
        marker, start, end = segment
        if marker in _FRAMES:
            if size is not None:
                raise Refused("the JPEG image has two sizes")
            height, width = (int.from_bytes(data[at : at + 2]) for at in (start + 5, start + 7))
            check_size(width, height, most_pixels)
            size = width, height
        if _is_kept(data, segment):
            pieces.keep(start, end)
        else:
            check_left_out(data, start, end)
            if marker == _EXIF and (oriented := _orientation(bytes(data[start + 4 : end]))):
                pieces.add(oriented)
    if size is None:
        raise cut_off("JPEG")
    check_left_out(data, end, len(data))
    return Picture("image/jpeg", *size, pieces.all)


def _segments(data: Data) -> Iterator[Segment]:
    """All segments; the last one is the end of the image. Raises Refused."""
    at, count = 2, 0
    while True:
        count += 1
        check_count(count)
        if fill := _FILL.match(data, at):
            at = fill.end() - 1
        if len(data) < at + 2 or data[at] != 0xFF:
            raise cut_off("JPEG")
        marker = data[at + 1]
        if marker == _END:
            yield Segment(marker, at, at + 2)
            return
        stop = at + 2 if marker in _STANDALONE else _end_of(data, at)
        yield Segment(marker, at, stop)
        at = stop


def _end_of(data: Data, at: int) -> int:
    length = int.from_bytes(data[at + 2 : at + 4])
    stop = at + 2 + length
    if length < 2 or stop > len(data):
        raise cut_off("JPEG")
    if data[at + 1] == _SCAN:
        found = _BEHIND_SCAN.search(data, stop)
        if found is None:
            raise cut_off("JPEG")
        return found.start()
    return stop


def _is_kept(data: Data, segment: Segment) -> bool:
    if segment.marker in _KEPT:
        name = _KEPT[segment.marker]
        return bytes(data[segment.start + 4 : segment.start + 4 + len(name)]) == name
    return segment.marker not in _APPLICATION and segment.marker != _COMMENT


def _orientation(exif: bytes) -> bytes | None:
    """A segment with the orientation alone, where the Exif data turns the image."""
    if not exif.startswith(b"Exif\0\0"):
        return None
    tiff = exif[6:]
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    first = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[first : first + 2], order)
    for n in range(min(count, _MOST_ENTRIES)):
        entry = tiff[first + 2 + 12 * n : first + 14 + 12 * n]
        if int.from_bytes(entry[:2], order) == _ORIENTATION:
            value = int.from_bytes(entry[8:10], order)
            return _exif_with(value) if 2 <= value <= 8 else None
    return None


def _exif_with(orientation: int) -> bytes:
    """Exif with one entry, an unsigned short."""
    entry = b"".join(
        (_ORIENTATION.to_bytes(2), (3).to_bytes(2), (1).to_bytes(4), orientation.to_bytes(2), bytes(2)),
    )
    tiff = b"MM\0*" + (8).to_bytes(4) + (1).to_bytes(2) + entry + bytes(4)
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body
