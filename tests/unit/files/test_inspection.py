"""Files are what their bytes are; metadata of images is left out; hostile files are refused with a reason."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.files.errors import Refused
from app.files.inspection import Content, inspect
from app.files.limits import ContentLimits
from app.files.names import check_name
from app.files.pieces import chunks, digest_of
from app.files.staging import Staged
from tests import made_files as made
from tests.made_files import HOSTILE, Hostile

LIMITS = ContentLimits(pixels=1_000_000, unpacked=1_000_000)
OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def look(data: bytes, name: str = "a", declared: str | None = None) -> tuple[Content, bytes]:
    """The content of a file, and the bytes that are stored, both from a map of a file and from bytes."""
    with Staged(len(data) + 1, "file") as staged:
        staged.write(data)
        content = inspect(staged.data, check_name(name), declared, LIMITS)
        kept = b"".join(chunks(staged.data, content.pieces))
        assert digest_of(staged.data, content.pieces)[1] == len(kept)
    assert inspect(data, name, declared, LIMITS) == content
    return content, kept


@pytest.mark.parametrize(
    ("name", "data", "declared", "media_type"),
    [
        ("a.png", made.png(), "image/png", "image/png"),
        ("a.jpg", made.jpeg(), "image/jpeg", "image/jpeg"),
        ("a.gif", made.gif(), "image/gif", "image/gif"),
        ("a.webp", made.webp(), "image/webp", "image/webp"),
        # A messenger has named it wrongly; it is an image all the same.
        ("a.png", made.jpeg(), "image/png", "image/jpeg"),
        ("paper.pdf", made.pdf(), "application/pdf", "application/pdf"),
        ("a.docx", made.docx(), OFFICE, OFFICE),
        ("a.odt", made.odt(), None, "application/vnd.oasis.opendocument.text"),
        ("a.wav", made.wav(), "audio/wav", "audio/wav"),
        ("a.mp3", b"ID3\x04\0\0\0\0\0\0\0" + bytes(20), "audio/mpeg", "audio/mpeg"),
        ("a.txt", "größer\n".encode(), "text/plain", "text/plain"),
        ("notes.md", b"# Notes", "text/markdown", "text/markdown"),
        ("a.csv", b"a,b\n1,2\n", "application/vnd.ms-excel", "text/csv"),
        ("a.json", b"{}", "application/json", "application/json"),
        ("a.jsonl", b"{}\n{}\n", None, "text/plain"),
        # A page is a text here, and no browser gets it as a page.
        ("index.html", made.PAGE, "text/html", "text/plain"),
        ("with a drawing.html", b"<!doctype html><p><svg></svg>", "text/html", "text/plain"),
        ("a.py", b"print('<svg>')", "text/x-python", "text/plain"),
        ("no extension", made.png(), "application/octet-stream", "image/png"),
    ],
)
def test_the_type_is_found_by_the_bytes(name: str, data: bytes, declared: str | None, media_type: str) -> None:
    content, kept = look(data, name, declared)
    assert content.media_type == media_type
    assert kept == data
    assert (content.width, content.height) == ((3, 2) if media_type.startswith("image/") else (None, None))


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.why)
def test_a_hostile_file_is_refused_with_its_reason(hostile: Hostile) -> None:
    with pytest.raises(Refused) as refused:
        look(hostile.data, hostile.name, hostile.declared)
    assert hostile.word in str(refused.value)


def test_fifty_hostile_files_are_there() -> None:
    assert len(HOSTILE) >= 50


def test_the_position_leaves_a_jpeg_and_its_orientation_stays() -> None:
    data = made.jpeg(
        3, 2, made.segment(0xE1, made.POSITION), made.segment(0xED, b"Photoshop"), made.segment(0xFE, b"me")
    )
    _, kept = look(data)
    assert b"GPS" not in kept
    assert b"Photoshop" not in kept
    turned = made.segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    assert kept == made.jpeg(3, 2, turned)


class Watched(bytes):
    """Bytes that note the size of each range, or of each single byte, that is taken out of them."""

    def __init__(self, *_: object) -> None:
        self.taken: list[int] = []

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.taken.append(len(found) if isinstance(found, bytes) else 1)
        return found


def test_fill_bytes_of_a_jpeg_are_passed_over_at_once() -> None:
    data = Watched(made.jpeg(3, 2, b"\xff" * 100_000))
    assert inspect(data, "a.jpg", None, LIMITS).width == 3
    assert len(data.taken) < 1000


BORDER = 65_536


def test_what_is_behind_an_image_is_searched_in_small_pieces() -> None:
    data = Watched(made.png(end=b"<" * (10 * BORDER)))
    assert inspect(data, "a.png", None, LIMITS).media_type == "image/png"
    assert sum(data.taken) >= 10 * BORDER
    assert max(data.taken) <= 2 * BORDER


@pytest.mark.parametrize(
    "page",
    [
        b"<SCRIPT>",
        b"<html ",
        b"<!DOCTYPE\n \thtml",
        b"<?PHP",
        b"<Svg\n",
        b"<svg>",
        b"<iframe",
        b"JavaScript:",
        b"%PDF-1",
    ],
)
def test_a_page_behind_an_image_is_found_at_each_place(page: bytes) -> None:
    for before in (0, BORDER - len(page), *range(BORDER - len(page) + 1, BORDER + 1), 3 * BORDER - 2):
        with pytest.raises(Refused, match="hidden"):
            look(made.png(end=b"." * before + page + b"." * 10))
    look(made.png(end=page[1:] + b"."))


def test_the_colours_of_a_jpeg_stay() -> None:
    data = made.jpeg(3, 2, made.segment(0xE2, b"ICC_PROFILE\0\x01\x01x"), made.segment(0xEE, b"Adobe\0d\0\0\0\0\0"))
    assert look(data)[1] == data


def test_a_film_behind_a_jpeg_is_left_out() -> None:
    assert look(made.jpeg(end=b"\0\0\0\x18ftypmp42" + bytes(100)))[1] == made.jpeg()


def test_a_jpeg_of_several_scans_is_whole() -> None:
    scan = made.segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"\x01\xff\0\xff\xd7\x02"
    data = made.jpeg()[:-2] + made.segment(0xC4, b"table") + scan + b"\xff\xff\xd9"
    content, kept = look(data)
    assert (content.width, content.height) == (3, 2)
    assert kept.replace(b"\xff\xff\xd9", b"\xff\xd9") == data.replace(b"\xff\xff\xd9", b"\xff\xd9")


def test_texts_and_exif_leave_a_png_and_its_colours_stay() -> None:
    colours = made.chunk(b"gAMA", bytes(4)), made.chunk(b"iCCP", b"x\0\0")
    hidden = made.chunk(b"eXIf", b"GPS"), made.chunk(b"tEXt", b"Author\0me"), made.chunk(b"iTXt", b"XML:com.adobe.xmp")
    assert look(made.png(3, 2, *colours, *hidden))[1] == made.png(3, 2, *colours)


def test_comments_leave_a_gif_and_its_loop_stays() -> None:
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    hidden = b"\x21\xfe\x02me\0", b"\x21\xff\x0bXMP DataXMP\x03xmp\0"
    assert look(made.gif(3, 2, loop, *hidden))[1] == made.gif(3, 2, loop)


def test_exif_leaves_a_webp_and_its_header_says_so() -> None:
    data = made.webp(3, 2, made.riff(b"EXIF", b"GPS"), made.riff(b"XMP ", b"<x:xmpmeta/>"), flags=0x1C)
    assert look(data)[1] == made.webp(3, 2, flags=0x10)


def test_what_is_left_out_of_an_odd_chunk_keeps_the_others_in_place() -> None:
    odd = made.riff(b"ICCP", b"odd")
    assert look(made.webp(3, 2, odd, made.riff(b"EXIF", b"odd"), odd))[1] == made.webp(3, 2, odd, odd)


@pytest.mark.parametrize(
    "kind", [made.png(), made.jpeg(), made.gif(), made.webp(), made.docx(), made.pdf(), made.wav()]
)
@settings(max_examples=40)
@given(data=st.data())
def test_no_damage_is_more_than_a_refusal(kind: bytes, data: st.DataObject) -> None:
    damaged = bytearray(kind)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(damaged)))
    for some in (bytes(damaged), bytes(damaged[:cut])):
        try:
            content = inspect(some, "a", None, LIMITS)
        except Refused:
            continue
        assert all(len(piece) for piece in chunks(some, content.pieces))
        if content.media_type.startswith("image/"):
            # What is stored is an image of this size again.
            again = inspect(b"".join(chunks(some, content.pieces)), "a", None, LIMITS)
            assert (again.width, again.height) == (content.width, content.height)


def test_a_document_may_be_as_large_as_allowed() -> None:
    made_file = io.BytesIO(made.unpacking_to_much())
    with zipfile.ZipFile(made_file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    whole = made_file.getvalue()
    assert inspect(whole, "a.docx", None, ContentLimits(1, size)).media_type == OFFICE
    with pytest.raises(Refused, match="MAX_UNPACKED_BYTES"):
        inspect(whole, "a.docx", None, ContentLimits(1, size - 1))


@pytest.mark.parametrize("name", ["a.txt", "größe 2.5.pdf", "日本語.png", ".env", "a b (1).md", "v1.2", "عقد.pdf"])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert check_name(f" {name} ") == name
