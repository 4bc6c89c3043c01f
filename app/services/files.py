"""Files of users: stored with a row first, then the bytes, found by id, read by workers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from app.domain.errors import DatabaseDown, InvalidInput, NotFound, StoreDown, WrongState
from app.domain.file_id import Purpose, file_id, is_file_id
from app.files.data_url import decode
from app.files.errors import FileTooLarge, Refused, StorageDown
from app.files.inspection import Content, inspect
from app.files.limits import FileLimits
from app.files.names import check_name
from app.files.pieces import chunks, digest_of
from app.files.staging import Staged
from app.files.storage import Storage, key_of
from app.services.thumbnails import Thumbnails
from app.services.users import new_id
from app.store import files
from app.store.database import Database, Tx
from app.store.files import File, FilePage, FileRow

# OpenAI keeps the files of batches for so long.
BATCH_FILE_SECONDS = 2_592_000.0
DEFAULT_NAMES = {
    "image/png": "image.png",
    "image/jpeg": "image.jpg",
    "image/gif": "image.gif",
    "image/webp": "image.webp",
}


class NoRoomForFiles(WrongState):
    """There are as many files, or as many bytes of them, as one user may have."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file as a client names it. ``declared`` is the client's type of it, which is not believed.

    Without ``purpose`` it is that of its kind. ``is_attachment``: it is kept as long as a message refers to it.
    ``field`` is the part of the request that a refusal names. ``expires_after`` is in seconds.
    """

    filename: str
    purpose: Purpose | None = None
    declared: str | None = None
    expires_after: float | None = None
    is_attachment: bool = False
    field: str = "file"


class Stored(Protocol):
    """Bytes of a user. ``sha256`` is in hexadecimal."""

    @property
    def user_id(self) -> str: ...

    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Completion:
    """The upload in parts that a file completes.

    ``complete`` ends it in the transaction that shows the file, with the file's id. It raises WrongState for an upload
    that has ended otherwise.
    """

    id: str
    complete: Callable[[Tx, str], None]


class Files:
    """The files of users. Methods with an id raise NotFound for another user's id, as for an unknown one.

    Each method raises DatabaseDown, and those that touch bytes StorageDown.
    """

    def __init__(self, database: Database, storage: Storage, limits: FileLimits) -> None:
        self._database = database
        self._storage = storage
        self._limits = limits
        self._thumbnails = Thumbnails(database, storage, limits.thumbnails_at_once)

    def store(self, user_id: str, new: NewFile, source: Iterable[bytes]) -> File:
        """Store the bytes of a source, as ``store_staged`` does."""
        with Staged(self._limits.file_bytes, new.field) as staged:
            with naming(new.field):
                staged.write_all(source)
            return self.store_staged(user_id, new, staged)

    def store_staged(self, user_id: str, new: NewFile, staged: Staged, upload: Completion | None = None) -> File:
        """Store a file whole. Its type is found by looking at the bytes, and metadata of images is left out.

        ``upload``: the upload in parts that the file completes. Raises InvalidInput, FileTooLarge, NoRoomForFiles, and
        WrongState for an upload that has ended meanwhile.
        """
        with naming(new.field):
            name = check_name(new.filename)
            content = inspect(staged.data, name, new.declared, self._limits.content)
        sha256, size = digest_of(staged.data, content.pieces)
        row = _row(new, name, content, sha256, size)
        return self._keep(user_id, row, chunks(staged.data, content.pieces), upload)

    def from_data_url(self, user_id: str, url: str, filename: str | None = None, field: str = "file") -> File:
        """Take the bytes out of a data URL, as an attachment. A user's equal bytes under one name are one file.

        Raises InvalidInput, FileTooLarge, NoRoomForFiles.
        """
        with naming(field):
            declared, source = decode(url)
        name = filename or DEFAULT_NAMES.get(declared, "file")
        return self.store(user_id, NewFile(name, None, declared, is_attachment=True, field=field), source)

    def find(self, user_id: str, file_id: str) -> File:
        """One file."""
        with self._database.user(user_id) as tx:
            found = files.get(tx, file_id) if is_file_id(file_id) else None
        if found is None:
            raise NotFound
        return found

    def page(self, user_id: str, wanted: FilePage) -> list[File]:
        """A page of a user's files."""
        if wanted.after is not None and not is_file_id(wanted.after):
            raise InvalidInput("after: must be the id of a file: file-…", "after")
        with self._database.user(user_id) as tx:
            return files.page(tx, user_id, wanted)

    def check_all(self, tx: Tx, user_id: str, file_ids: Sequence[str], field: str) -> list[File]:
        """The files in the order of their ids. None of them is removed before ``tx`` ends.

        Raises InvalidInput, which names the first element of ``field`` that is no file of the user, or is given twice.
        """
        found = files.hold_all(tx, user_id, [one for one in file_ids if is_file_id(one)])
        for n, one in enumerate(file_ids):
            if one not in found:
                raise InvalidInput(f"{field}[{n}]: there is no such file", f"{field}[{n}]")
            if one in file_ids[:n]:
                raise InvalidInput(f"{field}[{n}]: is given twice", f"{field}[{n}]")
        return [found[one] for one in file_ids]

    def hold(self, tx: Tx, user_id: str, file_ids: Sequence[str]) -> Collection[str]:
        """The ids of those that the user has. None of them is removed before ``tx`` ends."""
        return files.hold_all(tx, user_id, file_ids).keys()

    def open(self, file: Stored) -> Iterator[bytes]:
        """The bytes of a file, or of a part of an upload, in pieces."""
        return self._storage.open(key_of(file.user_id, file.sha256))

    def thumbnail(self, file: File) -> bytes:
        """The thumbnail of an image, as WebP. Raises NoThumbnail, StorageDown, Overloaded when too many are made."""
        return self._thumbnails.read(file)

    def read(self, user_id: str, file_id: str, most: int) -> bytes:
        """All bytes of a file. Raises FileTooLarge for more than ``most``."""
        found = self.find(user_id, file_id)
        if found.bytes > most:
            raise FileTooLarge(most, "file")
        return b"".join(self.open(found))

    def delete(self, user_id: str, file_id: str) -> None:
        """Take a file out of sight. Workers remove its bytes, unless an operator has placed a hold on the user."""
        self.find(user_id, file_id)
        with self._database.user(user_id) as tx:
            if not files.delete(tx, file_id):
                raise NotFound

    def _keep(self, user_id: str, row: FileRow, source: Iterable[bytes], upload: Completion | None) -> File:
        """Add the row, write the bytes, show the row. A crash in between leaves a row that a sweep removes.

        Bytes that a ready row promises and the storage lacks are written again.
        """
        key = key_of(user_id, row.sha256)
        with self._database.user(user_id) as tx:
            files.hold(tx, user_id, key)
            found = files.use_again(tx, user_id, row) if row.is_attachment else None
            is_known = found is not None or files.has_bytes(tx, user_id, row.sha256)
            if found is None:
                self.check_room(tx, user_id, row.bytes, besides=upload.id if upload else None)
                files.add(tx, user_id, row)
        try:
            self.write(key, source, is_known=is_known)
            if found is not None and upload is None:
                return found
            with self._database.user(user_id) as tx:
                ready = found or files.set_ready(tx, row.id)
                if ready is not None and upload is not None:
                    upload.complete(tx, ready.id)
        except (StoreDown, WrongState):
            if found is None:
                with suppress(DatabaseDown), self._database.user(user_id) as tx:
                    files.delete(tx, row.id)
            raise
        if ready is None:
            self.drop(user_id, row.sha256)
            raise NotFound  # its user is being erased
        return ready

    def write(self, key: str, source: Iterable[bytes], *, is_known: bool) -> None:
        """Write bytes. Those that a ready row promises (``is_known``) are written where the storage lacks them."""
        if not (is_known and self._has(key)):
            self._storage.put(key, source)

    def drop(self, user_id: str, sha256: str) -> None:
        """Remove bytes that were written behind the removal of their row, unless another row has them.

        Bytes that a silent store leaves go with the sweep over the storage.
        """
        key = key_of(user_id, sha256)
        with suppress(StoreDown), self._database.user(user_id) as tx:
            if files.hold_unneeded(tx, user_id, key, sha256):
                self._storage.delete(key)

    def _has(self, key: str) -> bool:
        """False for bytes that the storage lacks: a late removal may take them. A silent storage counts as whole."""
        try:
            return self._storage.has(key)
        except StorageDown:
            return True

    def check_room(self, tx: Tx, user_id: str, size: int, besides: str | None = None) -> None:
        """Refuse a file of ``size`` bytes that finds no room. The upload ``besides`` takes none. Raises NoRoomForFiles.

        ``tx`` holds the room.
        """
        used, limits = files.used(tx, user_id, besides), self._limits
        if used.files >= limits.user_files:
            raise NoRoomForFiles(f"One user has at most {limits.user_files} files (MAX_FILES_PER_USER); delete some.")
        if used.bytes + size > limits.user_bytes:
            raise NoRoomForFiles(
                f"The files of one user have at most {limits.user_bytes} bytes (FILE_BYTES_PER_USER); delete some."
            )


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Name the part of the request in a refusal of its content."""
    try:
        yield
    except Refused as refused:
        raise InvalidInput(f"{field}: {refused}", field) from None


def _row(new: NewFile, name: str, content: Content, sha256: str, size: int) -> FileRow:
    is_image = content.width is not None
    purpose: Purpose = new.purpose or ("vision" if is_image else "user_data")
    if purpose == "vision" and not is_image:
        raise InvalidInput("purpose: vision is for images", "purpose")
    if purpose == "batch" and not content.media_type.startswith(("text/", "application/json")):
        raise InvalidInput("purpose: batch is for text with a JSON object in each line", "purpose")
    expires_after = new.expires_after
    if expires_after is None and purpose == "batch":
        expires_after = BATCH_FILE_SECONDS
    return FileRow(
        id=file_id(new_id()),
        filename=name,
        purpose=purpose,
        media_type=content.media_type,
        bytes=size,
        sha256=sha256,
        width=content.width,
        height=content.height,
        is_attachment=new.is_attachment,
        expires_after=expires_after,
    )
