"""The texts of files: each kind is read by a program of its own, and a hostile file costs that program only."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

import pytest
from docx import Document
from openpyxl import Workbook

from app.domain import file_kinds
from worker.file_texts import child, reader
from worker.file_texts.reader import FileTexts


@pytest.fixture(scope="module")
def texts() -> Iterator[FileTexts]:
    texts = FileTexts(most_chars=2000, most_pages=3, seconds=60)
    yield texts
    texts.close()


def pdf(*pages: str, extra: bytes = b"") -> bytes:
    """A PDF with a line on each page, and no table of its objects: readers find them all the same."""
    numbers = range(4, 4 + 2 * len(pages), 2)
    kids = " ".join(f"{n} 0 R" for n in numbers)
    parts = [
        "1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj",
        f"2 0 obj <</Type /Pages /Kids [{kids}] /Count {len(pages)}>> endobj",
        "3 0 obj <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>> endobj",
    ]
    for n, text in zip(numbers, pages, strict=True):
        drawn = f"BT /F 12 Tf 10 10 Td ({text}) Tj ET"
        parts.append(
            f"{n} 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents {n + 1} 0 R "
            f"/Resources <</Font <</F 3 0 R>>>>>> endobj"
        )
        parts.append(f"{n + 1} 0 obj <</Length {len(drawn)}>> stream\n{drawn}\nendstream endobj")
    return b"%PDF-1.4\n" + "\n".join(parts).encode() + extra + b"\ntrailer <</Root 1 0 R>>\nstartxref\n0\n%%EOF"


def docx() -> bytes:
    document, out = Document(), BytesIO()
    document.add_paragraph("Grüße aus Wörth")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "one", "two"
    document.save(out)
    return out.getvalue()


def xlsx() -> bytes:
    book, out = Workbook(), BytesIO()
    book.active.append(["Name", 7, None, 2.5])
    book.save(out)
    return out.getvalue()


def archive(**parts: str) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in parts.items():
            made.writestr(name.replace("__", "/").replace("_", "."), text)
    return out.getvalue()


def slide(text: str) -> str:
    space = "http://schemas.openxmlformats.org/drawingml/2006/main"
    return f'<sld xmlns:a="{space}"><a:p><a:r><a:t>{text}</a:t></a:r></a:p></sld>'


PPTX = archive(ppt__slides__slide2_xml=slide("second"), ppt__slides__slide10_xml=slide("tenth"))
ODT = archive(
    content_xml='<d xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><text:h>Head</text:h>'
    "<text:p>Text <text:span>inside</text:span></text:p></d>"
)


def test_the_text_of_each_kind_is_read(texts: FileTexts) -> None:
    """One start of the program for each: they take a moment each, and the cache must not start another."""
    found = {
        child.PDF: texts.read(pdf("Hello page", "Second"), child.PDF).text,
        child.DOCX: texts.read(docx(), child.DOCX).text,
        child.XLSX: texts.read(xlsx(), child.XLSX).text,
        child.PPTX: texts.read(PPTX, child.PPTX).text,
        child.ODF[2]: texts.read(ODT, child.ODF[2]).text,
    }
    assert found == {
        child.PDF: "Hello page\nSecond",
        child.DOCX: "Grüße aus Wörth\none\ttwo",
        child.XLSX: "[Sheet]\nName\t7\t\t2.5",
        child.PPTX: "[2]\nsecond\n[10]\ntenth",
        child.ODF[2]: "Head\nText inside",
    }
    assert texts.read(ODT, child.ODF[2]) is texts.read(ODT, child.ODF[2])


def test_a_text_is_cut_at_its_limits(texts: FileTexts) -> None:
    assert child.read(pdf("a", "b", "c", "d"), child.PDF, 2000, 3, 10**6) == {"text": "a\nb\nc", "is_cut": True}
    assert child.read(pdf("a" * 50), child.PDF, 20, 3, 10**6) == {"text": "a" * 20, "is_cut": True}
    found = texts.read("é".encode() * 3000, "text/plain")
    assert (found.text, found.is_cut) == ("é" * 2000, True)
    assert texts.read("\ufeffok\0".encode(), "text/csv").text == "ok"
    assert texts.read("ok".encode("utf-16"), "text/plain").text == "ok"


@pytest.mark.parametrize(
    ("data", "media_type", "trouble"),
    [
        (b"%PDF-1.4 nothing else", child.PDF, child.DAMAGED),
        (pdf(" "), child.PDF, "it has no text"),
        (b"PK\3\4 no archive", child.DOCX, child.DAMAGED),
        (archive(word__document_xml=" " * 3_000_000), child.DOCX, child.TOO_LARGE),
        (archive(content_xml="<a>" * 9), child.ODF[2], child.DAMAGED),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, media_type: str, trouble: str) -> None:
    found = child.read(data, media_type, 2000, 3, 1_000_000)
    assert trouble in str(found["trouble"])


def test_a_bomb_costs_the_program_and_not_the_worker() -> None:
    """A page of 256 MB in a quarter of a megabyte."""
    packed = zlib.compress(bytes(1 << 28), 1)
    stream = b"5 0 obj <</Length %d /Filter /FlateDecode>> stream\n" % len(packed) + packed + b"\nendstream endobj"
    texts = FileTexts(most_chars=1000, most_pages=3, seconds=60)
    found = texts.read(pdf("x", extra=b"\n" + stream), child.PDF)
    assert found.trouble is not None or found.text == ""


def test_a_program_that_takes_too_long_is_killed() -> None:
    texts = FileTexts(most_chars=1000, most_pages=3, seconds=0)
    found = texts.read(pdf("x"), child.PDF)
    assert "FILE_TEXT_SECONDS" in (found.trouble or "")
    texts.close()
    assert FileTexts(1000, 3, 60).read(pdf("x"), child.PDF).text == "x"


def test_a_file_that_could_not_be_read_is_not_read_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = FileTexts(most_chars=1000, most_pages=3, seconds=0)
    first = texts.read(pdf("x"), child.PDF)
    assert first.trouble is not None
    assert texts.read(pdf("x"), child.PDF) is first
    # Troubles have no characters: their number is bounded.
    monkeypatch.setattr(reader, "CACHED_FILES", 1)
    other = texts.read(pdf("y"), child.PDF)
    assert texts.read(pdf("y"), child.PDF) is other
    assert texts.read(pdf("x"), child.PDF) is not first
    # A busy machine may be the reason, so a trouble ends.
    monkeypatch.setattr(reader, "TROUBLE_SECONDS", 0.0)
    assert texts.read(pdf("z"), child.PDF) is not texts.read(pdf("z"), child.PDF)


def test_the_lists_of_readable_kinds_agree() -> None:
    assert child.READERS.keys() == file_kinds.WITH_TEXT
