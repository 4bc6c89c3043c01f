"""The kind of a file, found by looking at its bytes; names and declared types that contradict it are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.files import gif, jpeg, png, texts, webp, zips
from app.files.errors import Refused
from app.files.limits import ContentLimits
from app.files.names import DESCRIPTIONS, Family, check_extension, text_type
from app.files.picture import Picture
from app.files.pieces import Data, Piece, whole

PDF = "application/pdf"
ACCEPTED = (
    "PNG, JPEG, GIF, WebP, PDF, office documents (docx, xlsx, pptx, odt, ods, odp, epub), WAV, MP3 and text in UTF-8"
)
# Bytes behind the end of a PDF that programs leave there.
_PDF_TAIL = 1024
# Programs look for the beginning of a PDF in so many bytes.
_PDF_HEAD = 1024
_OFFICE = re.compile(r"application/(zip|x-zip-compressed|epub\+zip|vnd\.(openxmlformats|oasis)[\w.+-]*)")


@dataclass(frozen=True, slots=True)
class Content:
    """A file that is accepted: its type, its bytes, and for an image the size in pixels."""

    media_type: str
    pieces: tuple[Piece, ...]
    width: int | None = None
    height: int | None = None


def inspect(data: Data, name: str, declared: str | None, limits: ContentLimits) -> Content:
    """The content of a file with this name and declared type. Raises Refused."""
    family, content = _look(data, name, limits)
    check_extension(name, family)
    _check_declared(declared, family)
    if family != "office" and zips.has_archive_at_end(data):
        raise Refused(f"the file is {DESCRIPTIONS[family]} and an archive at once")
    if family not in ("pdf", "text") and b"%PDF-" in data[:_PDF_HEAD]:
        raise Refused(f"the file is {DESCRIPTIONS[family]} and a PDF at once")
    return content


def _look(data: Data, name: str, limits: ContentLimits) -> tuple[Family, Content]:
    picture = _picture(data, limits.pixels)
    if picture is not None:
        return "image", Content(picture.media_type, picture.pieces, picture.width, picture.height)
    head = bytes(data[:16])
    if head.startswith(b"%PDF-"):
        _check_pdf(data)
        return "pdf", Content(PDF, whole(data))
    if head.startswith(zips.SIGNATURE):
        return "office", Content(zips.read(data, limits.unpacked), whole(data))
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "audio", Content("audio/wav", whole(data))
    if _is_mp3(head):
        return "audio", Content("audio/mpeg", whole(data))
    if not texts.is_text(data):
        raise Refused(f"files of this kind are not accepted; accepted are {ACCEPTED}")
    texts.check_no_drawing(data)
    return "text", Content(text_type(name), whole(data))


def _picture(data: Data, most_pixels: int) -> Picture | None:
    head = bytes(data[:12])
    if head.startswith(png.SIGNATURE):
        return png.read(data, most_pixels)
    if head.startswith(b"\xff\xd8\xff"):
        return jpeg.read(data, most_pixels)
    if head.startswith(gif.SIGNATURES):
        return gif.read(data, most_pixels)
    if head.startswith(b"RIFF") and head[8:] == b"WEBP":
        return webp.read(data, most_pixels)
    return None


def _check_pdf(data: Data) -> None:
    end = data.rfind(b"%%EOF")
    if end < 0:
        raise Refused("the PDF is cut off")
    if len(data) - end > _PDF_TAIL and bytes(data[end + 5 :]).strip(b"\0\r\n\t "):
        raise Refused("the PDF has something behind its end")


def _is_mp3(head: bytes) -> bool:
    """True for the tag ID3, or the first frame of an MPEG layer III stream."""
    if head[:3] == b"ID3" and len(head) > 10:
        return head[3] <= 4
    is_frame = len(head) > 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
    return is_frame and head[2] & 0xF0 not in (0, 0xF0) and head[2] & 0x0C != 0x0C


def _check_declared(declared: str | None, family: Family) -> None:
    """Refuse a type that the client declared and that is one of another kind. Raises Refused."""
    kind = (declared or "").partition(";")[0].strip().lower()
    claimed = _claimed(kind)
    if claimed is not None and claimed != family:
        raise Refused(f"the declared type is {kind[:100]}, and the content is {DESCRIPTIONS[family]}")


def _claimed(kind: str) -> Family | None:
    """The kind of content that a declared type stands for; None for a type that says nothing here."""
    if kind == PDF:
        return "pdf"
    if _OFFICE.fullmatch(kind):
        return "office"
    match kind.partition("/")[0]:
        case "image":
            return "other" if kind.startswith("image/svg") else "image"
        case "audio":
            return "audio"
        case "video" | "font" | "model":
            return "other"
        case "text":
            return "text"
    return None
