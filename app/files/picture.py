"""Rules of all formats of images: a size in pixels, metadata that is left out, an end."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.files.errors import Refused
from app.files.pieces import Data, Piece

# Segments, chunks or blocks of one image: more would take a thread for seconds.
MOST_PARTS = 200_000
# Text that a browser or a server would run, in a part of an image that holds no pixels.
_ACTIVE = (
    b"<script", b"<html", b"<?php", b"<svg ", b"<svg>", b"<iframe", b"javascript:", b"%pdf-1", b"%pdf-2",
)  # fmt: skip
_DOCTYPE = re.compile(rb"<!doctype +html")
# Letters become small, and white space becomes spaces.
_PLAIN = bytes(32 if chr(n) in "\t\n\v\f\r" else n for n in bytes(range(256)).lower())
# A part is searched in pieces, so that other threads run between two of them. Text over a border is in both.
_SEARCHED_BYTES = 65_536
_OVERLAP_BYTES = 256


@dataclass(frozen=True, slots=True)
class Picture:
    """An image: its type, the size in pixels, and its bytes without the metadata."""

    media_type: str
    width: int
    height: int
    pieces: tuple[Piece, ...]


def check_size(width: int, height: int, most_pixels: int) -> None:
    """Refuse an image without pixels, or with too many. Raises Refused."""
    if width < 1 or height < 1:
        raise Refused("the image has no pixels")
    if width * height > most_pixels:
        raise Refused(
            f"the image must have at most {most_pixels} pixels (MAX_IMAGE_PIXELS), and has {width} × {height}"
        )


def check_left_out(data: Data, start: int, stop: int) -> None:
    """Refuse an image that has a page or a program in a part that is left out. Raises Refused."""
    for at in range(start, stop, _SEARCHED_BYTES):
        plain = bytes(data[at : min(at + _SEARCHED_BYTES + _OVERLAP_BYTES, stop)]).translate(_PLAIN)
        if any(text in plain for text in _ACTIVE) or _DOCTYPE.search(plain):
            raise Refused("the image has a page or a program hidden in it")


def check_count(parts: int) -> None:
    """Refuse an image with too many parts. Raises Refused."""
    if parts > MOST_PARTS:
        raise Refused(f"the image has more than {MOST_PARTS} parts")


def cut_off(kind: str) -> Refused:
    """The refusal of an image whose end is missing."""
    return Refused(f"the {kind} image is cut off or damaged")
