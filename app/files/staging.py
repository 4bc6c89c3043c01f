"""The bytes of an upload while they are looked at: in a file without a name, mapped into memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from tempfile import TemporaryFile
from types import TracebackType

from app.files.errors import FileTooLarge, Refused, StorageDown
from app.files.pieces import Data


class Staged:
    """The bytes of one upload: written first, then read. They are freed at the end of its ``with`` block.

    ``field`` is the part of the request that a refusal names; ``most`` is in bytes, and ``variable`` names the limit.
    """

    def __init__(self, most: int, field: str, variable: str = "MAX_FILE_BYTES") -> None:
        self._most = most
        self._field = field
        self._variable = variable
        self._file = TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._map: mmap.mmap | None = None
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises FileTooLarge, and StorageDown without room on the disk."""
        self.size += len(chunk)
        if self.size > self._most:
            raise FileTooLarge(self._most, self._field, self._variable)
        try:
            self._file.write(chunk)
        except OSError:
            raise _no_room() from None

    def write_all(self, source: Iterable[bytes]) -> None:
        """Add all bytes of a source."""
        for chunk in source:
            self.write(chunk)

    @property
    def data(self) -> Data:
        """The bytes; nothing is written any more. Raises Refused when there are none."""
        if not self.size:
            raise Refused("must not be empty")
        if self._map is None:
            try:
                self._file.flush()
                self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError:
                raise _no_room() from None
        return self._map

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._map is not None:
            self._map.close()
        self._file.close()


def _no_room() -> StorageDown:
    return StorageDown("There is no room for the bytes of the file just now.")
