"""Files in an exported conversation: in data URLs, so that it can be imported anywhere, without ids of this service.

The items of a message are written as JSON in pieces, so that an export holds a small part of one file at a time.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import orjson

from app.domain import message_files
from app.domain.errors import NotFound
from app.files.errors import BytesMissing
from app.store.files import File

Part = dict[str, Any]
Item = dict[str, Any]


class FileReader(Protocol):
    """Users' files."""

    def find(self, user_id: str, file_id: str) -> File:
        """One file. Raises NotFound, StoreDown."""
        ...

    def open(self, file: File) -> Iterator[bytes]:
        """The bytes of a file in pieces. Raises StoreDown, and BytesMissing before the first piece."""
        ...


class ExportedFiles:
    """Puts the bytes of a user's files into the items of the messages of one export.

    Each file is written where a message first names it, and again for further messages, which may be thousands, up to
    ``most_repeated`` bytes.
    """

    def __init__(self, files: FileReader, user_id: str, most_repeated: int) -> None:
        self._files = files
        self._user_id = user_id
        self._left = most_repeated
        self._written: set[str] = set()

    def items(self, items: list[Any]) -> Iterator[bytes]:
        """The items of a message as JSON, with the bytes of its files. A part without bytes is a file that is gone."""
        if not any(message_files.in_items(items)):
            yield orjson.dumps(items)
            return
        yield from _array(self._item(item) for item in items)

    def _item(self, item: Item | None) -> Iterator[bytes]:
        if item is None or not any(message_files.in_items([item])):
            yield orjson.dumps(item)
            return
        opening = b"{"
        for name, value in item.items():
            yield opening + orjson.dumps(name) + b":"
            if name == "content":
                yield from _array(self._part(part) for part in value)
            else:
                yield orjson.dumps(value)
            opening = b","
        yield b"}"

    def _part(self, part: Part) -> Iterator[bytes]:
        if not message_files.is_file(part):
            yield orjson.dumps(part)
            return
        shown = {name: part[name] for name in ("type", "filename", "detail") if part.get(name) is not None}
        pieces = self._open(part.get("file_id"))
        if pieces is None:
            yield orjson.dumps(shown)
            return
        field = "image_url" if part["type"] == message_files.IMAGE else "file_data"
        url = f"data:{part.get('media_type') or ''};base64,"
        # Without the end of the URL and of the part.
        yield orjson.dumps({**shown, field: url})[:-2]
        yield from _base64(pieces)
        yield b'"}'

    def _open(self, file_id: str | None) -> Iterator[bytes] | None:
        """The bytes of a file; None for one that is gone, has no bytes, or is repeated too often."""
        if not file_id:
            return None
        try:
            file = self._files.find(self._user_id, file_id)
            repeated = file.bytes if file.id in self._written else 0
            if repeated > self._left:
                return None
            pieces = self._files.open(file)
        except (NotFound, BytesMissing):
            return None
        self._left -= repeated
        self._written.add(file.id)
        return pieces


def _array(elements: Iterable[Iterator[bytes]]) -> Iterator[bytes]:
    opening = b"["
    for element in elements:
        yield opening
        yield from element
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


def _base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces in base64. Three bytes have four characters, so up to two bytes of a piece go with the next one."""
    rest = b""
    for piece in pieces:
        piece = rest + piece
        whole = len(piece) - len(piece) % 3
        rest = piece[whole:]
        yield b64encode(piece[:whole])
    yield b64encode(rest)
