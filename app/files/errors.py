"""Errors of files: a content that is refused, a limit, a storage that does not answer."""

from __future__ import annotations

from app.domain.errors import InvalidInput, StoreDown


class Refused(ValueError):
    """The content or the name of a file is not accepted. The text is a sentence that its owner reads."""


class FileTooLarge(InvalidInput):
    """A file, or a part of one, is larger than it may be."""

    def __init__(self, most: int, field: str, variable: str = "MAX_FILE_BYTES") -> None:
        """``most``: the value of the limit; ``variable``: its name."""
        what = "file" if variable == "MAX_FILE_BYTES" else "part"
        super().__init__(f"The {what} has more than {most} bytes ({variable}).", field)


class NoThumbnail(InvalidInput):
    """There is no thumbnail of this file."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"variant: there is no thumbnail of this file: {reason}", "variant")
        self.reason = reason


class StorageDown(StoreDown):
    """The storage of files does not answer just now. Try again a little later."""


class BytesMissing(StorageDown):
    """The storage has no bytes of this file."""
