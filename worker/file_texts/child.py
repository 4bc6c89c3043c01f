"""Reads the text of one file: a program that the worker starts for each file, because files are hostile.

The file comes by standard input, the text leaves as JSON by standard output: ``{"text": …, "is_cut": …}`` or
``{"trouble": …}``. Arguments: the media type, and the most characters, pages, unpacked bytes,
seconds of CPU and bytes of memory. The program imports nothing of the service, so that it starts in a moment.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from xml.etree import ElementTree

PDF = "application/pdf"
_OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX = f"{_OFFICE}wordprocessingml.document"
XLSX = f"{_OFFICE}spreadsheetml.sheet"
PPTX = f"{_OFFICE}presentationml.presentation"
ODF = tuple(f"application/vnd.oasis.opendocument.{kind}" for kind in ("presentation", "spreadsheet", "text"))
_SLIDE = re.compile(r"ppt/slides/slide(\d{1,6})\.xml")
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_ODF_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
# Files that are open at a time.
_MOST_FILES = 64
# Numbers of Linux: system calls of Landlock, its rights that change files, an option of prctl.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_WRITING = 0x1FF2
_NO_NEW_PRIVILEGES = 38

TOO_LARGE = "it is too large when it is unpacked"
DAMAGED = "it is damaged, or not of a kind that can be read"


class Unreadable(Exception):
    """A file without a text that could be read; the text is the reason."""


def pdf(data: bytes, most_pages: int) -> Iterator[str]:
    """The text of each page."""
    from pypdf import PdfReader

    reader = PdfReader(BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("it is encrypted")
    for number, page in enumerate(reader.pages):
        if number == most_pages:
            yield CUT
            return
        yield page.extract_text()


def docx(data: bytes, most_pages: int) -> Iterator[str]:
    """Paragraphs, and the rows of tables, in order."""
    from docx import Document
    from docx.table import Table

    for block in Document(BytesIO(data)).iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                yield "\t".join(cell.text for cell in row.cells)
        else:
            yield block.text


def xlsx(data: bytes, most_pages: int) -> Iterator[str]:
    """The rows of each sheet, with the values that were last calculated."""
    from openpyxl import load_workbook

    book = load_workbook(BytesIO(data), read_only=True, data_only=True)
    for number, sheet in enumerate(book.worksheets):
        if number == most_pages:
            yield CUT
            return
        yield f"[{sheet.title}]"
        for row in sheet.iter_rows(values_only=True):
            if any(value is not None for value in row):
                yield "\t".join("" if value is None else str(value) for value in row)


def pptx(data: bytes, most_pages: int) -> Iterator[str]:
    """The paragraphs of each slide."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        slides = {int(found[1]): name for name in archive.namelist() if (found := _SLIDE.fullmatch(name))}
        for count, number in enumerate(sorted(slides)):
            if count == most_pages:
                yield CUT
                return
            yield f"[{number}]"
            for paragraph in ElementTree.fromstring(archive.read(slides[number])).iter(f"{_DRAWING}p"):
                yield "".join(run.text or "" for run in paragraph.iter(f"{_DRAWING}t"))


def opendocument(data: bytes, most_pages: int) -> Iterator[str]:
    """The headings and paragraphs of a text, a table or a presentation."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        root = ElementTree.fromstring(archive.read("content.xml"))
    for element in root.iter():
        if element.tag in (f"{_ODF_TEXT}h", f"{_ODF_TEXT}p"):
            yield "".join(element.itertext())


# A piece in the place of the pages beyond the most that are read.
CUT = "\0cut"
READERS: dict[str, Callable[[bytes, int], Iterator[str]]] = {
    PDF: pdf,
    DOCX: docx,
    XLSX: xlsx,
    PPTX: pptx,
    **dict.fromkeys(ODF, opendocument),
}


def read(data: bytes, media_type: str, most_chars: int, most_pages: int, most_unpacked: int) -> dict[str, object]:
    """The text of a file, or the trouble with it."""
    try:
        if media_type != PDF:
            _check_unpacked(data, most_unpacked)
        text, is_cut = _joined(READERS[media_type](data, most_pages), most_chars)
    except Unreadable as error:
        return {"trouble": str(error)}
    except MemoryError:
        return {"trouble": TOO_LARGE}
    except Exception:  # every error of the libraries
        return {"trouble": DAMAGED}
    if not text.strip():
        return {"trouble": "it has no text; its pages may be images"}
    return {"text": text, "is_cut": is_cut}


def _joined(pieces: Iterable[str], most: int) -> tuple[str, bool]:
    """The pieces as lines, cut at ``most`` characters."""
    kept: list[str] = []
    size = 0
    for piece in pieces:
        if piece == CUT:
            return _text(kept), True
        kept.append(piece)
        size += len(piece) + 1
        if size > most:
            return _text(kept)[:most], True
    return _text(kept), False


def _text(lines: Iterable[str]) -> str:
    """The lines as one text that can be stored and sent: no NUL, no half of a surrogate pair."""
    text = "\n".join(lines).replace("\0", "")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _check_unpacked(data: bytes, most: int) -> None:
    """Refuse an archive whose parts are too large. Raises Unreadable, and BadZipFile for what is no archive."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        if sum(part.file_size for part in archive.infolist()) > most:
            raise Unreadable(TOO_LARGE)


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


def main() -> None:
    """Read standard input, write standard output."""
    media_type, *numbers = sys.argv[1:]
    most_chars, most_pages, most_unpacked, seconds, memory = map(int, numbers)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    confine()
    found = read(sys.stdin.buffer.read(), media_type, most_chars, most_pages, most_unpacked)
    sys.stdout.buffer.write(json.dumps(found).encode())


if __name__ == "__main__":
    main()
