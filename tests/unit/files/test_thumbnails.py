"""Thumbnails: small, upright, the first frame; a hostile image costs the program that looks at it, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.files import thumbnails
from app.files.errors import NoThumbnail
from tests import made_files

RED, BLUE = (220, 30, 30), (30, 30, 220)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def halves(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """An image that is red at the left, and blue at the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image.convert(mode)


def shown(data: bytes, media_type: str) -> Image.Image:
    """The thumbnail, decoded."""
    made = thumbnails.make([data[:100], data[100:]], media_type)
    assert len(made) <= thumbnails.THUMBNAIL_BYTES
    image = Image.open(BytesIO(made))
    assert (image.format, getattr(image, "n_frames", 1)) == ("WEBP", 1)
    return image


def is_near(image: Image.Image, at: tuple[int, int], colour: tuple[int, ...]) -> bool:
    found = image.convert("RGB").getpixel(at)
    assert isinstance(found, tuple)
    return all(abs(one - other) < 40 for one, other in zip(found, colour, strict=True))


@pytest.mark.parametrize(
    ("form", "mode", "media_type"),
    [
        ("PNG", "RGB", "image/png"),
        ("PNG", "P", "image/png"),
        ("JPEG", "RGB", "image/jpeg"),
        ("JPEG", "CMYK", "image/jpeg"),
        ("GIF", "RGB", "image/gif"),
        ("WEBP", "RGB", "image/webp"),
    ],
)
def test_each_kind_of_image_becomes_small(form: str, mode: str, media_type: str) -> None:
    image = shown(saved(halves(1600, 800, mode), form), media_type)
    assert image.size == (thumbnails.THUMBNAIL_SIDE, thumbnails.THUMBNAIL_SIDE // 2)
    assert is_near(image, (60, 100), RED)
    assert is_near(image, (450, 100), BLUE)


def test_a_small_image_is_not_enlarged() -> None:
    assert shown(saved(halves(40, 30), "PNG"), "image/png").size == (40, 30)


def test_a_very_long_image_keeps_a_pixel_of_its_short_side() -> None:
    assert shown(saved(halves(8000, 2), "PNG"), "image/png").size == (thumbnails.THUMBNAIL_SIDE, 1)


def test_a_photo_that_was_turned_is_upright_and_tells_nothing_else() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    image = shown(saved(halves(1600, 800), "JPEG", exif=exif), "image/jpeg")
    assert image.size == (thumbnails.THUMBNAIL_SIDE // 2, thumbnails.THUMBNAIL_SIDE)
    # Its left side is at the top.
    assert is_near(image, (100, 60), RED)
    assert is_near(image, (100, 450), BLUE)
    assert not image.getexif()


def test_transparency_stays() -> None:
    clear = Image.new("RGBA", (800, 800), (0, 0, 0, 0))
    clear.paste(RED, (0, 0, 400, 800))
    for form in ("PNG", "WEBP"):
        image = shown(saved(clear, form), f"image/{form.lower()}")
        assert image.mode == "RGBA"
        assert image.getpixel((500, 100))[3] == 0  # type: ignore[index]
        assert is_near(image, (60, 100), RED)


def test_grey_with_16_bits_keeps_its_shades() -> None:
    image = Image.new("I;16", (800, 800), 30_000)
    assert is_near(shown(saved(image, "PNG"), "image/png"), (100, 100), (117, 117, 117))


@pytest.mark.parametrize(("form", "media_type"), [("GIF", "image/gif"), ("WEBP", "image/webp"), ("PNG", "image/png")])
def test_an_animation_shows_its_first_frame(form: str, media_type: str) -> None:
    frames = [Image.new("RGB", (900, 600), colour) for colour in (RED, BLUE)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=100)
    assert is_near(shown(data, media_type), (100, 100), RED)


def hostile() -> dict[str, tuple[bytes, str, str]]:
    """Images of which there is no thumbnail: bytes, type, and a word of the reason."""
    whole = saved(halves(900, 900), "PNG")
    photo = saved(halves(900, 900), "JPEG")
    return {
        "a bomb": (made_files.png(60_000, 60_000), "image/png", "too large"),
        "cut off": (whole[:2000], "image/png", "damaged"),
        "a photo that is cut off": (photo[: len(photo) // 2], "image/jpeg", "damaged"),
        "only a structure": (made_files.jpeg(300, 300), "image/jpeg", "damaged"),
        "another type": (whole, "image/jpeg", "damaged"),
        "no image": (b"%PDF-1.4 nothing", "image/gif", "damaged"),
        "a format that is not accepted": (saved(halves(9, 9), "TIFF"), "image/png", "damaged"),
        "a document": (b"text", "text/plain", "only images"),
    }


@pytest.mark.parametrize("name", hostile())
def test_a_hostile_image_has_a_reason(name: str) -> None:
    data, media_type, word = hostile()[name]
    with pytest.raises(NoThumbnail, match=word) as refusal:
        thumbnails.make([data], media_type)
    assert refusal.value.field == "variant"


PROGRAMS: dict[str, tuple[str, str]] = {
    "hangs": ("import time; time.sleep(60)", "more than"),
    "computes": ("while True: pass", "more than|too much time"),
    "dies": ("import os; os.abort()", "too much time or memory"),
    "takes memory": (
        "import resource, sys; m = int(sys.argv[5]); resource.setrlimit(resource.RLIMIT_AS, (m, m)); 'x' * 2**34",
        "too much time or memory",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_does_not_end_well_is_ended(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, word = PROGRAMS[name]
    (tmp_path / "program.py").write_text(source)
    monkeypatch.setattr(thumbnails, "_PROGRAM", tmp_path / "program.py")
    monkeypatch.setattr(thumbnails, "THUMBNAIL_SECONDS", 2.0)
    began = time.monotonic()
    with pytest.raises(NoThumbnail, match=word):
        thumbnails.make([b"an image"], "image/png")
    assert time.monotonic() - began < 20


def test_a_thumbnail_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = (*thumbnails._LIMITS[:-1], 100)
    monkeypatch.setattr(thumbnails, "_LIMITS", limits)
    with pytest.raises(NoThumbnail):
        thumbnails.make([saved(halves(900, 900), "PNG")], "image/png")


def test_the_largest_image_that_is_decoded_fits_into_the_memory() -> None:
    makers: dict[str, Callable[[], bytes]] = {
        "image/png": lambda: saved(Image.new("RGBA", (7000, 7000), RED), "PNG", compress_level=1),
        "image/jpeg": lambda: saved(Image.new("RGB", (7000, 7000), RED), "JPEG", progressive=True),
    }
    for media_type, maker in makers.items():
        assert shown(maker(), media_type).size == (thumbnails.THUMBNAIL_SIDE, thumbnails.THUMBNAIL_SIDE), media_type
