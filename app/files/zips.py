"""ZIP archives: office documents are accepted when they cannot unpack to more than is allowed. Nothing is unpacked."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import IO, cast
from zipfile import BadZipFile, ZipFile, ZipInfo

from app.files.errors import Refused
from app.files.pieces import Data

SIGNATURE = b"PK\x03\x04"
_END = b"PK\x05\x06"
_DIRECTORY = b"PK\x01\x02"
_END_BYTES = 22
# Names a second end whose numbers replace those of the first: archives of 4 GB and more have one.
_LOCATOR = b"PK\x06\x07"
_LOCATOR_BYTES = 20
_LONGEST_COMMENT = 65_535
_ENTRY_BYTES = 30
MOST_ENTRIES = 10_000
MOST_DIRECTORY_BYTES = 4_194_304
_OOXML = "application/vnd.openxmlformats-officedocument."
# A document has this entry, and the list of its types.
_BY_ENTRY = {
    "word/document.xml": _OOXML + "wordprocessingml.document",
    "xl/workbook.xml": _OOXML + "spreadsheetml.sheet",
    "ppt/presentation.xml": _OOXML + "presentationml.presentation",
}
_TYPES = "[Content_Types].xml"
# The first entry of the others names the type, not compressed.
_BY_MIMETYPE = frozenset(
    (
        "application/vnd.oasis.opendocument.text",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.presentation",
        "application/epub+zip",
    )
)


def read(data: Data, most_unpacked: int) -> str:
    """The type of an office document. Raises Refused."""
    _check_end(data)
    entries = _entries(data)
    _check_entries(entries, len(data), most_unpacked)
    found = _type_of(data, entries)
    if found is None:
        raise Refused("archives are not accepted: send the files in it one by one")
    return found


def has_archive_at_end(data: Data) -> bool:
    """True for a file behind which an archive lies: programs that unpack read from the end."""
    at = data.rfind(_END, max(0, len(data) - _END_BYTES - _LONGEST_COMMENT))
    if at < 0 or len(data) < at + _END_BYTES:
        return False
    comment, size = struct.unpack("<H", data[at + 20 : at + 22])[0], struct.unpack("<I", data[at + 12 : at + 16])[0]
    return at + _END_BYTES + comment <= len(data) and bytes(data[at - size : at - size + 4]) == _DIRECTORY


def _check_end(data: Data) -> None:
    """The directory lies directly before the end, and nothing lies elsewhere."""
    end = bytes(data[-_END_BYTES:])
    if len(end) < _END_BYTES or end[:4] != _END:
        raise Refused("the archive is cut off, or has something behind its end")
    disk, first_disk, here, total, size, begin, comment = struct.unpack("<HHHHIIH", end[4:])
    if disk or first_disk or comment or here != total or begin + size != len(data) - _END_BYTES:
        raise Refused("the archive is damaged, or has something beside its entries")
    if bytes(data[begin + size - _LOCATOR_BYTES : begin + size]).startswith(_LOCATOR):
        raise Refused("the archive has the 64-bit form, which a document of this size does not need")
    # The number in the end may be wrong, and each entry has the mark.
    if size > MOST_DIRECTORY_BYTES or max(total, data[begin : begin + size].count(_DIRECTORY)) > MOST_ENTRIES:
        raise Refused(f"the document must have at most {MOST_ENTRIES} parts")


def _entries(data: Data) -> Sequence[ZipInfo]:
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        with ZipFile(cast("IO[bytes]", source)) as archive:
            return archive.infolist()
    except (BadZipFile, UnicodeDecodeError, NotImplementedError, struct.error, ValueError):
        raise Refused("the archive is damaged") from None


def _check_entries(entries: Sequence[ZipInfo], size: int, most_unpacked: int) -> None:
    """Refuse entries that lie over each other, are encrypted, name a path elsewhere, or unpack to too much."""
    if sum(entry.file_size for entry in entries) > most_unpacked:
        raise Refused(f"the document unpacks to more than {most_unpacked} bytes (MAX_UNPACKED_BYTES)")
    placed = sorted(entries, key=lambda entry: entry.header_offset)
    if not placed or placed[0].header_offset:
        raise Refused("the archive has something before its first entry")
    ends = [entry.header_offset + _ENTRY_BYTES + entry.compress_size for entry in placed]
    begins = [entry.header_offset for entry in placed[1:]]
    if any(end > begin for end, begin in zip(ends, [*begins, size], strict=True)):
        raise Refused("the parts of the archive lie over each other")
    for entry in entries:
        if entry.flag_bits & 1:
            raise Refused("the document is encrypted")
        if entry.filename.startswith("/") or "\\" in entry.filename or ".." in entry.filename.split("/"):
            raise Refused("the archive has a part with a path to elsewhere")


def _type_of(data: Data, entries: Sequence[ZipInfo]) -> str | None:
    names = {entry.filename for entry in entries}
    if _TYPES in names:
        found = [kind for name, kind in _BY_ENTRY.items() if name in names]
        return found[0] if len(found) == 1 else None
    first = min(entries, key=lambda entry: entry.header_offset)
    if first.filename == "mimetype" and not first.compress_type and first.file_size < 100:
        name, extra = struct.unpack("<HH", data[26:30])
        begin = _ENTRY_BYTES + name + extra
        text = bytes(data[begin : begin + first.file_size]).decode("ascii", "replace").strip()
        return text if text in _BY_MIMETYPE else None
    return None
