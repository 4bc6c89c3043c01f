"""Bytes that wait to be used: a few in memory, more in a file without a name."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile

# A larger spool is a file: a thousand waiting connections cost some ten megabytes of memory instead of a gigabyte.
IN_MEMORY_BYTES = 32_768


class Spool:
    """A file of bytes: written first, then read from the beginning."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile[bytes](max_size=IN_MEMORY_BYTES, mode="w+b")  # closed by close
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes at the end. Raises OSError when the disk is full."""
        self._file.write(data)
        self.size += len(data)

    def rewind(self) -> None:
        """Go back to the beginning."""
        self._file.seek(0)

    def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        return self._file.read(size)

    def close(self) -> None:
        """Free memory and disk."""
        self._file.close()
