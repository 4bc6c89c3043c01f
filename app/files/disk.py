"""Files below a folder of this machine, one folder for each user."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import time
from typing import IO

from app.files.errors import BytesMissing, StorageDown
from app.files.pieces import CHUNK_BYTES
from app.files.storage import Stored

# A key has one slash. No part of it begins with a dot, as files do that are being written.
_KEY = re.compile(r"[0-9a-f-]{1,64}/[0-9a-f]{64}(\.[a-z]{1,20})?")
_FOLDER = re.compile(r"[0-9a-f-]{1,64}")
_UNFINISHED = ".unfinished-"
# Seconds after which a file that is being written belongs to a process that was killed.
UNFINISHED_SECONDS = 3600.0
_TRIES = 5


class DiskStorage:
    """A Storage in a folder. The folder is made with the first file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        path = self._path(key)
        with _errors(), _new_file(path.parent) as file:
            try:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
            _sync_folder(path.parent)
            _sync_folder(self._folder)

    def open(self, key: str) -> Iterator[bytes]:
        with _errors():
            file = self._path(key).open("rb")

        def pieces() -> Iterator[bytes]:
            with file, _errors():
                while piece := file.read(CHUNK_BYTES):
                    yield piece

        return pieces()

    def has(self, key: str) -> bool:
        with _errors():
            return self._path(key).exists()

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _errors(), suppress(FileNotFoundError):
            path.unlink()
            _sync_folder(path.parent)
        # A user without files has no folder. Another process may be about to use it.
        with suppress(OSError):
            path.parent.rmdir()

    def page(self, after: str, limit: int) -> list[Stored]:
        found: list[Stored] = []
        with _errors():
            for folder in self._folders(after.partition("/")[0]):
                found += (one for one in self._files(folder) if one.key > after)
                if len(found) >= limit:
                    break
        return found[:limit]

    def _folders(self, first: str) -> list[Path]:
        """The folders of users from this name on, in order. Others, such as lost+found, may be closed to us."""
        if not self._folder.exists():
            return []
        named = (path for path in self._folder.iterdir() if path.name >= first and _FOLDER.fullmatch(path.name))
        return sorted(path for path in named if path.is_dir())

    def _files(self, folder: Path) -> list[Stored]:
        """The files of a user, in order. What killed processes have left is removed."""
        found = []
        for path in sorted(folder.iterdir()):
            with suppress(FileNotFoundError):
                at = path.stat().st_mtime
                if path.name.startswith(_UNFINISHED):
                    if time() - at > UNFINISHED_SECONDS:
                        path.unlink()
                    continue
                found.append(Stored(f"{folder.name}/{path.name}", datetime.fromtimestamp(at, UTC)))
        return found

    def _path(self, key: str) -> Path:
        assert _KEY.fullmatch(key), "made by key_of"
        return self._folder / key


def _new_file(folder: Path) -> IO[bytes]:
    """A file without its final name. Another process may remove the folder while it is empty."""
    for _ in range(_TRIES):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            return NamedTemporaryFile(dir=folder, prefix=_UNFINISHED, delete=False)
    raise StorageDown


def _sync_folder(folder: Path) -> None:
    """Make the names of a folder outlast a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BytesMissing from error
    except OSError as error:
        raise StorageDown(f"The storage of files refuses ({error.strerror}). Try again a little later.") from error
