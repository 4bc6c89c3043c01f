"""Kinds of files, by media type: what models see, what they take as it is, and of which a text can be read. Pure."""

from __future__ import annotations

PDF = "application/pdf"
_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN = "application/vnd.oasis.opendocument."
# Images that every provider with images takes.
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
# Documents that every provider with files takes as they are.
DOCUMENTS = frozenset({PDF})
# Documents whose text a worker reads; the program that reads them has the list, too, and a test compares both.
WITH_TEXT = frozenset(
    {
        PDF,
        f"{_OPEN}presentation",
        f"{_OPEN}spreadsheet",
        f"{_OPEN}text",
        f"{_OFFICE}presentationml.presentation",
        f"{_OFFICE}spreadsheetml.sheet",
        f"{_OFFICE}wordprocessingml.document",
    }
)
# Types beside text/* whose bytes are text.
_TEXTS = frozenset({"application/json", "application/xml", "application/x-ndjson", "application/yaml"})


def is_text(media_type: str) -> bool:
    """True for a type whose bytes are text."""
    return media_type.startswith("text/") or media_type in _TEXTS


def has_text(media_type: str) -> bool:
    """True for a type of which a text can be read."""
    return is_text(media_type) or media_type in WITH_TEXT


def is_image(media_type: str) -> bool:
    """True for any image, also of a kind that no provider takes."""
    return media_type.startswith("image/")
