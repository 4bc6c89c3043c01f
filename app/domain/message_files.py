"""Files in messages: the parts that are stored in the items of a message. Pure.

A part is a part of OpenAI's Responses API, ``input_image`` or ``input_file``, with facts about the file beside it:
``filename``, ``media_type``, ``bytes``, ``width`` and ``height``. The facts stay when the file is deleted. A part
without ``file_id`` is that of an imported message whose file was gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Protocol

IMAGE = "input_image"
FILE = "input_file"
TYPES = (IMAGE, FILE)
DETAILS = ("auto", "low", "high", "original")
FACTS = ("filename", "media_type", "bytes", "width", "height")

FilePart = dict[str, Any]
Item = dict[str, Any]


class StoredFile(Protocol):
    """The facts of a stored file."""

    @property
    def id(self) -> str: ...
    @property
    def filename(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...


def digest(text: str) -> str:
    """A short name of a long text, such as a data URL."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_file(part: Any) -> bool:
    """True for a part of a message that is a file."""
    return isinstance(part, dict) and part.get("type") in TYPES


def part_of(file: StoredFile, detail: str = "auto") -> FilePart:
    """The part of a message that is this file; ``detail`` is the resolution in which a model looks at an image."""
    facts = {name: getattr(file, name) for name in FACTS}
    if file.media_type.startswith("image/"):
        return {"type": IMAGE, "file_id": file.id, "detail": detail, **facts}
    return {"type": FILE, "file_id": file.id, **facts}


def in_items(items: Iterable[Item | None] | None) -> Iterator[FilePart]:
    """The files of a message in order."""
    for item in items or ():
        content = item.get("content") if item and item.get("type", "message") == "message" else None
        if isinstance(content, list):
            yield from filter(is_file, content)


def attachments(items: Iterable[Item | None] | None) -> list[dict[str, Any]]:
    """The files of a message as clients of the native API read them."""
    return [{"file_id": part.get("file_id"), **{name: part.get(name) for name in FACTS}} for part in in_items(items)]


def items_with(text: str, files: Sequence[FilePart]) -> tuple[Item, ...]:
    """The items of a user's message with files; none for a message of text only."""
    if not files:
        return ()
    said = [{"type": "input_text", "text": text}] if text else []
    return ({"type": "message", "role": "user", "content": [*said, *files]},)


def names_of(items: Iterable[Item | None] | None) -> str:
    """The names of the files of a message, for a place that shows a line of text."""
    return ", ".join(part.get("filename") or "file" for part in in_items(items))
