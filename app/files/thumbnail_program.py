"""Makes the thumbnail of one image: a program that is started for each image, because images are hostile.

The image is standard input, a file. The thumbnail leaves by standard output as WebP. A status other than 0 says that
there is none: ``DAMAGED`` or ``TOO_LARGE``. Arguments: the format of the image, and the longest side, most pixels,
seconds of CPU, bytes of memory and bytes of the thumbnail. The program imports nothing of the service, so that it
starts in a moment.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image

DAMAGED, TOO_LARGE = 3, 4
_QUALITY = 80
# Bytes of a colour profile; those of cameras have a few thousand.
_MOST_PROFILE_BYTES = 65_536
# Files that are open at a time.
_MOST_FILES = 64
# Numbers of Linux: system calls of Landlock, its rights that change files, an option of prctl.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_WRITING = 0x1FF2
_NO_NEW_PRIVILEGES = 38


class TooLarge(Exception):
    """The image has more pixels than are decoded."""


def thumbnail(source: BinaryIO, form: str, side: int, most_pixels: int) -> bytes:
    """The first frame of an image as WebP, upright, with no side longer than ``side`` pixels.

    Raises TooLarge, and the errors of Pillow.
    """
    from PIL import Image, ImageOps

    # The limit below is ours, and smaller.
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(source, formats=(form,)) as image:
        if image.width * image.height > most_pixels:
            raise TooLarge
        # A JPEG is decoded in the smallest size that is large enough.
        image.draft("RGB", (2 * side, 2 * side))
        profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
        small = _flat(image)
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        upright = ImageOps.exif_transpose(small)
    out = BytesIO()
    kept = profile if profile and len(profile) <= _MOST_PROFILE_BYTES else None
    upright.save(out, "WEBP", quality=_QUALITY, icc_profile=kept, exif=b"")
    return out.getvalue()


def _flat(image: Image) -> Image:
    """The image in the colours of a screen, with transparency where it has any."""
    if image.mode.startswith("I"):
        # Grey with 16 bits. A conversion would show every grey above 255 as white.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
        image.info.pop("transparency", None)
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    mode = "RGBA" if has_alpha else "RGB"
    image.load()
    return image if image.mode == mode else image.convert(mode)


def confine() -> None:
    """Take from this program what it does not need: many files, written files, the memory of others.

    Landlock (Linux 5.13 and later) denies it the environment of its parent, which has the secrets of the service. A
    kernel without Landlock leaves that open, and so does a service that runs as root.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(ctypes.c_uint64(_WRITING)), ctypes.c_size_t(8), 0)
    if rules >= 0:
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        libc.syscall(_RESTRICT_SELF, rules, 0)
        os.close(rules)


def main() -> int:
    """Read standard input, write standard output; the status of the program."""
    form, *numbers = sys.argv[1:]
    side, most_pixels, seconds, memory, most_bytes = map(int, numbers)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    confine()
    try:
        made = thumbnail(sys.stdin.buffer, form, side, most_pixels)
    except (TooLarge, MemoryError):
        return TOO_LARGE
    except Exception:  # every error of the library
        return DAMAGED
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
