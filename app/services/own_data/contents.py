"""The contents of a user's files in an export, streamed from the storage. A file without bytes stops nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from app.files.errors import BytesMissing, StorageDown
from app.files.storage import Storage, key_of
from app.services.own_data.archive import Archive

FOLDER = "files"
_LOST = "The storage has no bytes of this file."
_SILENT = "The storage did not answer. Request the archive again later."
_DAMAGED = "Its bytes are not those that were stored."
# Texts become smaller in the archive; images, PDFs and office documents are compressed already.
_COMPRESSIBLE = ("text/", "application/json", "audio/wav")


class Contents:
    """Writes the contents of files into an archive. Rows are those of the section ``files``.

    ``entries`` are for the manifest: ``file``, ``id`` and ``sha256`` of each file that was written, ``id`` and
    ``missing``, a sentence, of each other one. A file that was cut off or damaged has all of them.
    """

    def __init__(self, storage: Storage, user_id: str) -> None:
        self._storage = storage
        self._user_id = user_id
        self._is_silent = False
        self.entries: list[dict[str, Any]] = []

    def write(self, archive: Archive, rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
        """Add the files one after the other; the pieces of the archive that become ready meanwhile.

        A file without bytes has an empty piece, so that a caller keeps its place through many of them.
        """
        for row in rows:
            pieces, missing = self._open(row)
            if pieces is None:
                self.entries.append({"id": row["id"], "missing": missing})
                yield b""
            else:
                yield from self._copy(archive, row, pieces)

    def _open(self, row: dict[str, Any]) -> tuple[Iterator[bytes] | None, str]:
        # One silence is enough: each further file would wait for the storage again.
        if self._is_silent:
            return None, _SILENT
        try:
            return self._storage.open(key_of(self._user_id, row["sha256"])), ""
        except BytesMissing:
            return None, _LOST
        except StorageDown:
            self._is_silent = True
            return None, _SILENT

    def _copy(self, archive: Archive, row: dict[str, Any], pieces: Iterator[bytes]) -> Iterator[bytes]:
        name = f"{FOLDER}/{row['id']}/{row['filename']}"
        reading = _Reading(pieces)
        yield from archive.content(name, reading, is_packed=not row["media_type"].startswith(_COMPRESSIBLE))
        self._is_silent = reading.is_cut
        entry = {"id": row["id"], "file": name, "sha256": reading.digest.hexdigest()}
        if reading.is_cut:
            entry["missing"] = _SILENT
        elif entry["sha256"] != row["sha256"]:
            entry["missing"] = _DAMAGED
        self.entries.append(entry)


class _Reading:
    """The pieces of a file up to its end, or to where the storage stops answering (``is_cut``)."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.digest = sha256()
        self.is_cut = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._pieces:
                self.digest.update(piece)
                yield piece
        except StorageDown:
            self.is_cut = True
