"""Small files of each kind, and hostile ones, made byte by byte."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

POSITION = (
    b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x25\x88\x04\0\x01\0\0\0\x26\0\0\0\0\0\0\0GPS 48.2"
)
PAGE = b"<html><script>alert(1)</script></html>"
MORE_PIXELS = 100_000


class Hostile(NamedTuple):
    """A file that is refused, the type a client declares for it, and a word of the refusal."""

    why: str
    name: str
    data: bytes
    declared: str | None
    word: str


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int = 3, height: int = 2, *more: bytes, end: bytes = b"") -> bytes:
    """A black image; ``more`` are chunks behind its header."""
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height))) if width * height < 10_000 else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"") + end


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(width: int = 3, height: int = 2, *more: bytes, end: bytes = b"") -> bytes:
    """The structure of a JPEG, with a scan that has a stuffed byte and a restart; ``more`` are segments behind JFIF."""
    frame = segment(0xC0, b"\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\0")
    scan = segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"\x12\xff\0\x34\xff\xd0\x56"
    jfif = segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")
    return b"\xff\xd8" + jfif + b"".join(more) + frame + scan + b"\xff\xd9" + end


def gif(width: int = 3, height: int = 2, *more: bytes, frame: tuple[int, int] | None = None, end: bytes = b"") -> bytes:
    size = struct.pack("<HH", width, height)
    place = struct.pack("<HHHH", 0, 0, *(frame or (width, height)))
    body = b"\x2c" + place + b"\0" + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + b"".join(more) + body + b"\x3b" + end


def riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp(width: int = 3, height: int = 2, *more: bytes, flags: int = 0, end: bytes = b"") -> bytes:
    """An extended WebP; ``more`` are chunks behind the pixels."""
    small = [(number - 1).to_bytes(3, "little") for number in (width, height)]
    head = riff(b"VP8X", bytes([flags, 0, 0, 0]) + b"".join(small))
    pixels = riff(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14) + b"\0\0\0")
    content = b"WEBP" + head + pixels + b"".join(more)
    return b"RIFF" + struct.pack("<I", len(content)) + content + end


def pdf(end: bytes = b"") -> bytes:
    return b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n" + end


def archive(entries: dict[str, bytes], *, compressed: bool = True, comment: bytes = b"") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as file:
        for name, data in entries.items():
            file.writestr(name, data)
        file.comment = comment
    return made.getvalue()


def docx(more: dict[str, bytes] | None = None) -> bytes:
    return archive({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w:document/>", **(more or {})})


def odt() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("mimetype", b"application/vnd.oasis.opendocument.text")
        file.writestr("content.xml", b"<office/>", zipfile.ZIP_DEFLATED)
    return made.getvalue()


def wav() -> bytes:
    body = b"WAVE" + riff(b"fmt ", bytes(16)) + riff(b"data", bytes(4))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def overlapping() -> bytes:
    """An archive whose directory names one entry many times."""
    data = docx()
    at = data.index(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    directory = data[at:end]
    total = struct.unpack("<H", data[end + 10 : end + 12])[0]
    counts = struct.pack("<HHI", total * 50, total * 50, len(directory) * 50)
    return data[:at] + directory * 50 + data[end : end + 8] + counts + data[end + 16 :]


def naming_few_parts() -> bytes:
    """An archive whose end names two entries; its directory has 10,002."""
    data = docx()
    at, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    directory = data[at:end] * 5001
    return data[:at] + directory + data[end : end + 12] + struct.pack("<I", len(directory)) + data[end + 16 :]


def in_64_bits() -> bytes:
    """A document with a second end of 64 bits. Programs believe its numbers, not those of the first end."""
    data = docx()
    end = data.rindex(b"PK\x05\x06")
    total, size, begin = struct.unpack("<HII", data[end + 10 : end + 20])
    second = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, total, total, size, begin)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
    covering = struct.pack("<I", size + len(second) + len(locator))
    return data[:end] + second + locator + data[end : end + 12] + covering + data[end + 16 :]


def unpacking_to_much() -> bytes:
    return docx({"word/media/a.bin": bytes(3_000_000)})


def _images() -> Iterator[Hostile]:
    wide = MORE_PIXELS
    yield Hostile("pixels beyond memory in PNG", "a.png", png(wide, wide), "image/png", "MAX_IMAGE_PIXELS")
    yield Hostile("pixels beyond memory in JPEG", "a.jpg", jpeg(65_535, 65_535), "image/jpeg", "MAX_IMAGE_PIXELS")
    yield Hostile("pixels beyond memory in GIF", "a.gif", gif(65_535, 65_535), "image/gif", "MAX_IMAGE_PIXELS")
    yield Hostile("pixels beyond memory in WebP", "a.webp", webp(wide, wide), "image/webp", "MAX_IMAGE_PIXELS")
    yield Hostile("frame larger than its GIF", "a.gif", gif(3, 2, frame=(65_535, 65_535)), None, "MAX_IMAGE_PIXELS")
    frame = chunk(b"fcTL", struct.pack(">III", 0, wide, wide) + bytes(14))
    yield Hostile("frame larger than its PNG", "a.png", png(3, 2, frame), None, "MAX_IMAGE_PIXELS")
    moving = riff(b"ANMF", bytes(6) + (wide).to_bytes(3, "little") * 2 + bytes(4))
    yield Hostile("frame larger than its WebP", "a.webp", webp(3, 2, moving), None, "MAX_IMAGE_PIXELS")
    yield Hostile("no pixels", "a.png", png(0, 5), None, "no pixels")
    yield Hostile("no pixels in GIF", "a.gif", gif(0, 2), None, "no pixels")
    for kind, made in (("png", png()), ("jpg", jpeg()), ("gif", gif()), ("webp", webp())):
        yield Hostile(f"{kind} without its end", f"a.{kind}", made[:-3], None, "cut off")
        yield Hostile(f"{kind} without anything", f"a.{kind}", made[:14], None, "cut off")
        yield Hostile(f"{kind} and a ZIP", f"a.{kind}", made + docx(), None, "archive at once")
        yield Hostile(f"{kind} and a page", f"a.{kind}", made + PAGE, None, "hidden")
        yield Hostile(f"{kind} and a PDF", f"a.{kind}", made + pdf(), None, "hidden")
    yield Hostile("script in a comment of JPEG", "a.jpg", jpeg(3, 2, segment(0xFE, PAGE)), None, "hidden")
    yield Hostile("script in Exif", "a.jpg", jpeg(3, 2, segment(0xE1, b"Exif\0\0" + PAGE)), None, "hidden")
    yield Hostile(
        "PHP in a text of PNG", "a.png", png(3, 2, chunk(b"tEXt", b"c\0<?php system($_GET[0]);")), None, "hidden"
    )
    comment = b"\x21\xfe" + bytes([len(PAGE)]) + PAGE + b"\0"
    yield Hostile("page in a comment of GIF", "a.gif", gif(3, 2, comment), None, "hidden")
    yield Hostile("page in XMP of WebP", "a.webp", webp(3, 2, riff(b"XMP ", PAGE)), None, "hidden")
    two = segment(0xC2, b"\x08" + struct.pack(">HH", 9, 9) + b"\x01\x01\x11\0")
    yield Hostile("two sizes in JPEG", "a.jpg", jpeg(3, 2, two), None, "two sizes")
    yield Hostile(
        "endless blocks in GIF", "a.gif", gif(3, 2, b"\x21\xff\x01a" + b"\x01a" * 250_000 + b"\0"), None, "parts"
    )
    yield Hostile("endless chunks in PNG", "a.png", png(3, 2, chunk(b"tEXt", b"") * 250_000), None, "parts")


def _others() -> Iterator[Hostile]:
    drawing = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
    yield Hostile("SVG", "a.svg", drawing, "image/svg+xml", "SVG")
    yield Hostile("SVG named as text", "a.txt", drawing, "text/plain", "SVG")
    yield Hostile(
        "SVG with a prefix", "a.xml", b'\xef\xbb\xbf<x:svg xmlns:x="http://www.w3.org/2000/svg"/>', None, "SVG"
    )
    yield Hostile("PNG declared as SVG", "a.png", png(), "image/svg+xml", "declared")
    yield Hostile("archive", "a.zip", archive({"a.txt": b"a"}), None, "archives")
    yield Hostile("document that unpacks to much", "a.docx", unpacking_to_much(), None, "MAX_UNPACKED_BYTES")
    yield Hostile("document with entries over each other", "a.docx", overlapping(), None, "over each other")
    yield Hostile("document with more entries than it names", "a.docx", naming_few_parts(), None, "10000 parts")
    yield Hostile("document in 64 bits", "a.docx", in_64_bits(), None, "64-bit")
    yield Hostile("document with a path to elsewhere", "a.docx", docx({"../../etc/passwd": b"x"}), None, "elsewhere")
    yield Hostile("document behind a page", "a.docx", PAGE + docx(), None, "not accepted")
    yield Hostile("document with something behind", "a.docx", docx() + PAGE, None, "behind its end")
    yield Hostile(
        "document with a comment", "a.docx", archive({"[Content_Types].xml": b""}, comment=b"x"), None, "behind"
    )
    stored = archive({"[Content_Types].xml": pdf(), "word/document.xml": b"x"}, compressed=False)
    yield Hostile("document and PDF", "a.docx", stored, None, "PDF at once")
    yield Hostile("document of two kinds", "a.docx", docx({"xl/workbook.xml": b"x"}), None, "archives")
    yield Hostile("damaged document", "a.docx", docx()[:40] + docx()[60:], None, "damaged")
    yield Hostile("PDF and archive", "a.pdf", pdf() + docx(), None, "archive at once")
    yield Hostile("PDF with a page behind", "a.pdf", pdf(PAGE * 40), None, "behind its end")
    yield Hostile("PDF without an end", "a.pdf", b"%PDF-1.7\n1 0 obj", None, "cut off")
    yield Hostile("program of Windows", "a.txt", b"MZ\x90\0\x03\0\0\0" + bytes(60), "text/plain", "not accepted")
    yield Hostile("program of Linux", "a", b"\x7fELF\x02\x01\x01" + bytes(60), None, "not accepted")
    yield Hostile("text that is none", "a.txt", b"caf\xe9", "text/plain", "not accepted")
    yield Hostile("nothing", "a.txt", b"", None, "empty")
    yield Hostile("PNG named as a page", "a.html", png(), None, ".html")
    yield Hostile("PNG named as a program", "a.exe", png(), None, ".exe")
    yield Hostile("text named as an image", "a.png", b"hello", None, ".png")
    yield Hostile("page named as an image", "a.jpg", PAGE, "image/jpeg", ".jpg")
    yield Hostile("PDF declared as an image", "a", pdf(), "image/png", "declared")
    yield Hostile("image declared as PDF", "a", png(), "application/pdf", "declared")
    yield Hostile("document declared as an image", "a", docx(), "image/png", "declared")


def _names() -> Iterator[Hostile]:
    for why, name, word in (
        ("path", "../../etc/passwd", "path"),
        ("path of Windows", "..\\..\\a.txt", "path"),
        ("dots", "..", "have a name"),
        ("spaces", "   ", "have a name"),
        ("control character", "a\x07.txt", "one line"),
        ("break", "a\n.txt", "one line"),
        ("direction turned", "invoice\u202etxt.exe", "one line"),
        ("length", "a" * 252 + ".txt", "255"),
    ):
        yield Hostile(f"name with {why}", name, b"hello", None, word)


HOSTILE = (*_images(), *_others(), *_names())
