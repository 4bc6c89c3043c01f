"""Files in an exported conversation: in data URLs, so that it can be imported anywhere, without ids of this service."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Protocol

from app.domain import message_files
from app.domain.errors import NotFound

Part = dict[str, Any]
Item = dict[str, Any]


class FileReader(Protocol):
    """The bytes of users' files."""

    def read(self, user_id: str, file_id: str, most: int) -> bytes:
        """The bytes of a file. Raises NotFound, StoreDown."""
        ...


class ExportedFiles:
    """Puts the bytes of a user's files into the items of messages; ``most_bytes`` of one file at most."""

    def __init__(self, files: FileReader, user_id: str, most_bytes: int) -> None:
        self._files = files
        self._user_id = user_id
        self._most_bytes = most_bytes

    def items(self, items: list[Any] | None) -> list[Any] | None:
        """The items of a message with the bytes of its files. A part without bytes is a file that is gone."""
        if not any(message_files.in_items(items)):
            return items
        return [item and self._item(item) for item in items or ()]

    def _item(self, item: Item) -> Item:
        if not any(message_files.in_items([item])):
            return item
        content = [self._part(part) if message_files.is_file(part) else part for part in item["content"]]
        return {**item, "content": content}

    def _part(self, part: Part) -> Part:
        shown = {name: part[name] for name in ("type", "filename", "detail") if part.get(name) is not None}
        try:
            data = self._files.read(self._user_id, part["file_id"], self._most_bytes) if part.get("file_id") else None
        except NotFound:
            data = None
        if data is None:
            return shown
        url = f"data:{part.get('media_type') or ''};base64,{b64encode(data).decode()}"
        return {**shown, "image_url" if part["type"] == message_files.IMAGE else "file_data": url}
