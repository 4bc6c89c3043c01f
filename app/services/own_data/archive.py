"""A ZIP archive that is written row by row, without a file: a few pieces of it are held at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import orjson

# Bytes that are collected before they are passed on.
PIECE = 65_536
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class _Pipe(io.RawIOBase):
    """A file that cannot be sought: ``take`` removes what was written."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = self.held = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        self.held += len(part)
        return len(part)

    def tell(self) -> int:
        return self._at

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts, self.held = [], 0
        return data


class Archive:
    """Writes files of JSON lines one after the other. ``pieces`` returns the bytes that are ready."""

    def __init__(self) -> None:
        self._pipe = _Pipe()
        self._zip = ZipFile(self._pipe, "w", ZIP_DEFLATED)
        self._now = datetime.now(UTC).timetuple()[:6]
        # Name, number of rows and digest of each file of rows.
        self.files: list[dict[str, Any]] = []

    def text(self, name: str, content: bytes) -> None:
        """Add a whole small file."""
        self._zip.writestr(self._info(name), content)

    def lines(self, name: str, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Add a file line by line; the pieces of the archive that become ready meanwhile."""
        digest, rows = sha256(), 0
        with self._zip.open(self._info(name), "w") as file:
            for line in lines:
                rows += 1
                digest.update(line)
                file.write(line)
                if self._pipe.held >= PIECE:
                    yield self._pipe.take()
        self.files.append({"file": name, "rows": rows, "sha256": digest.hexdigest()})

    def content(self, name: str, pieces: Iterable[bytes], *, is_packed: bool) -> Iterator[bytes]:
        """Add a file of any kind piece by piece; the pieces of the archive that become ready meanwhile.

        ``is_packed``: compressing it again is a waste of time.
        """
        info = self._info(name)
        info.compress_type = ZIP_STORED if is_packed else ZIP_DEFLATED
        with self._zip.open(info, "w") as file:
            for piece in pieces:
                file.write(piece)
                if self._pipe.held >= PIECE:
                    yield self._pipe.take()

    def close(self) -> bytes:
        """The end of the archive: the pieces that were not passed on, and the directory."""
        self._zip.close()
        return self._pipe.take()

    def _info(self, name: str) -> ZipInfo:
        info = ZipInfo(name, self._now)
        info.compress_type = ZIP_DEFLATED
        return info


def line_of(row: dict[str, Any]) -> bytes:
    """A row as a line of JSON. Times are RFC 3339 in UTC, and decimal numbers are texts."""
    return orjson.dumps(row, default=str, option=_OPTIONS)
