"""Thumbnails of images, made by a program that is started for each one and cannot take more than its limits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from app.files import thumbnail_program as program
from app.files.errors import NoThumbnail, StorageDown

MEDIA_TYPE = "image/webp"
# Pixels of the longest side.
THUMBNAIL_SIDE = 512
# Seconds in which a thumbnail is made, and bytes of memory of the program that makes it.
THUMBNAIL_SECONDS = 10.0
THUMBNAIL_MEMORY_BYTES = 536_870_912
# Pixels of an image that is decoded; a JPEG of this size takes 0.3 s.
THUMBNAIL_PIXELS = 50_000_000
THUMBNAIL_BYTES = 1_048_576
_TOO_LARGE = "the image is too large to be made smaller"
_PROGRAM = Path(program.__file__)
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}
_LIMITS = (THUMBNAIL_SIDE, THUMBNAIL_PIXELS, int(THUMBNAIL_SECONDS) + 1, THUMBNAIL_MEMORY_BYTES, THUMBNAIL_BYTES)


def check(media_type: str, pixels: int) -> None:
    """Raise NoThumbnail for a file that is known to have none, by its type and its pixels; 0 pixels are unknown."""
    if media_type not in _FORMATS:
        raise NoThumbnail("only images have one")
    if pixels > THUMBNAIL_PIXELS:
        raise NoThumbnail(_TOO_LARGE)


def make(source: Iterable[bytes], media_type: str) -> bytes:
    """The thumbnail of an image, as WebP: its first frame, upright, with no side longer than THUMBNAIL_SIDE pixels.

    Blocks for up to THUMBNAIL_SECONDS. Memory holds a piece of the image at a time. Raises NoThumbnail, the errors of
    ``source``, and StorageDown without room on the disk.
    """
    check(media_type, 0)
    command = [sys.executable, "-I", "-B", str(_PROGRAM), _FORMATS[media_type], *map(str, _LIMITS)]
    with TemporaryFile() as image, TemporaryFile() as made:
        try:
            for piece in source:
                image.write(piece)
            image.seek(0)
        except OSError:
            raise StorageDown("There is no room for the bytes of the image just now.") from None
        status = _run(command, image.fileno(), made.fileno())
        if status == program.TOO_LARGE:
            raise NoThumbnail(_TOO_LARGE)
        if status:
            raise NoThumbnail("the image is damaged, or takes too much time or memory")
        made.seek(0)
        return made.read(THUMBNAIL_BYTES)


def _run(command: list[str], image: int, made: int) -> int:
    """The status of the program, which is killed when its time is over."""
    try:
        ended = subprocess.run(  # the arguments are ours, and there is no shell
            command,
            stdin=image,
            stdout=made,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
            timeout=THUMBNAIL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoThumbnail(f"making it took more than {THUMBNAIL_SECONDS:g} s") from None
    return ended.returncode
