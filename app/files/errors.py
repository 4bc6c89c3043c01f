"""Errors of files: a content that is refused, a limit, a storage that does not answer."""

from __future__ import annotations

from app.domain.errors import InvalidInput, StoreDown


class Refused(ValueError):
    """The content or the name of a file is not accepted. The text is a sentence that its owner reads."""


class FileTooLarge(InvalidInput):
    """The file is larger than a file may be."""

    def __init__(self, most: int, field: str) -> None:
        super().__init__(f"The file has more than {most} bytes (MAX_FILE_BYTES).", field)


class StorageDown(StoreDown):
    """The storage of files does not answer just now. Try again a little later."""


class BytesMissing(StorageDown):
    """The storage has no bytes of this file."""
