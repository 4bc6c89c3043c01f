"""Uploads in parts: bytes are kept as they arrive, and become a file when they are complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import md5 as new_md5
from hashlib import sha256 as new_sha256

from app.domain.errors import DatabaseDown, InvalidInput, NotFound, Overloaded, StoreDown, WrongState
from app.domain.upload_id import is_upload_id, keyed_upload_id, part_id, upload_id
from app.files.errors import BytesMissing, FileTooLarge
from app.files.limits import UploadLimits
from app.files.names import check_name
from app.files.pieces import chunks, digest_of, whole
from app.files.staging import Staged
from app.files.storage import key_of
from app.services.files import Completion, Files, NewFile, naming
from app.services.part_choice import chosen
from app.services.users import new_id
from app.store import files as file_rows
from app.store import uploads
from app.store.database import Database, Tx
from app.store.files import File
from app.store.uploads import Part, PartRow, Upload, UploadRow

# An upload that is not complete after this time is given up.
UPLOAD_SECONDS = 3600.0
# Seconds for which a completion keeps others of its upload out.
COMPLETION_SECONDS = 900.0


class UploadEnded(WrongState):
    """The upload is not pending any more."""

    def __init__(self, upload: Upload) -> None:
        state = "has expired" if upload.status == "expired" else f"is {upload.status}"
        super().__init__(f"The upload {state}.")


class WrongOffset(WrongState):
    """The bytes do not begin where those of the upload end."""

    def __init__(self, upload: Upload) -> None:
        super().__init__(f"The upload has {upload.offset} bytes in order: send what follows them.")


class TooManyParts(WrongState):
    """The upload has as many parts as one may have."""


class TooManyUploads(WrongState):
    """As many uploads of the user are pending as may be at a time."""


class CompletionRunning(Overloaded):
    """Another request is completing the upload. Try again a little later: a finished completion returns its file."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An upload with the file that it became; None while there is none, and when it was deleted since."""

    upload: Upload
    file: File | None = None


class Uploads:
    """The uploads in parts of users. Methods with an id raise NotFound for another user's id, as for an unknown one.

    Each method raises DatabaseDown, and those that touch bytes StorageDown. ``file_bytes``: bytes of one file.
    """

    def __init__(self, database: Database, files: Files, limits: UploadLimits, file_bytes: int) -> None:
        self._database = database
        self._files = files
        self._limits = limits
        self._file_bytes = file_bytes

    def create(self, user_id: str, new: NewFile, size: int, key: str | None = None) -> Upload:
        """Begin an upload of ``size`` bytes. They take room of the user's files until it ends.

        Its parts take room until they are removed.
        A repetition with an idempotency ``key`` returns the upload of the first request, as long as it is known.
        Raises InvalidInput, FileTooLarge, TooManyUploads, NoRoomForFiles.
        """
        with naming("filename"):
            name = check_name(new.filename)
        if size > self._file_bytes:
            raise FileTooLarge(self._file_bytes, "bytes")
        made = upload_id(new_id()) if key is None else keyed_upload_id(user_id, key)
        row = UploadRow(made, name, new.purpose, new.declared, size, new.is_attachment, new.expires_after)
        with self._database.user(user_id) as tx:
            file_rows.hold_room(tx, user_id)
            if key is not None and (known := uploads.get(tx, made)):
                return _repeated(known, row)
            if uploads.open_count(tx, user_id) >= self._limits.open_uploads:
                most = self._limits.open_uploads
                raise TooManyUploads(f"One user has at most {most} pending uploads (MAX_OPEN_UPLOADS_PER_USER).")
            self._files.check_room(tx, user_id, size)
            uploads.add(tx, user_id, row, UPLOAD_SECONDS)
            return _found(tx, made)

    def find(self, user_id: str, upload_id: str) -> Ended:
        """One upload, with its file."""
        with self._database.user(user_id) as tx:
            return _with_file(tx, _found(tx, upload_id))

    def append(self, user_id: str, upload_id: str, staged: Staged, offset: int) -> Upload:
        """Add the bytes that follow the first ``offset`` ones. Raises as ``add_part`` does, and WrongOffset."""
        self.add_part(user_id, upload_id, staged, offset)
        return self.find(user_id, upload_id).upload

    def add_part(self, user_id: str, upload_id: str, staged: Staged, starts_at: int | None = None) -> Part:
        """Keep bytes. Without ``starts_at`` the completion says their place.

        Of two requests for one place the later one replaces the other, whose process may have been killed.

        Raises InvalidInput, UploadEnded, TooManyParts, NoRoomForFiles.
        """
        with naming("data"):
            data = staged.data
        sha256, size = digest_of(data, whole(data))
        row = PartRow(part_id(new_id()), upload_id, starts_at, size, sha256)
        key = key_of(user_id, sha256)
        with self._database.user(user_id) as tx:
            file_rows.hold(tx, user_id, key)
            upload = _pending(tx, upload_id)
            if starts_at is not None:
                uploads.remove_unready(tx, upload_id, starts_at)
            self._check_part(tx, upload, row)
            is_known = file_rows.has_bytes(tx, user_id, sha256)
            uploads.add_part(tx, user_id, row)
        with self._removing(user_id, row):
            self._files.write(key, chunks(data, whole(data)), is_known=is_known)
            with self._database.user(user_id) as tx:
                upload = _pending(tx, upload_id)
                _check_offset(upload, starts_at)
                ready = uploads.set_part_ready(tx, row.id)
            if ready is None:
                # A later request for its place has replaced it, or the user is being erased.
                raise NotFound if starts_at is None else WrongOffset(upload)
        return ready

    def complete(self, user_id: str, upload_id: str, part_ids: Sequence[str] | None, md5: str | None) -> Ended:
        """Make a file of the parts, in the order of ``part_ids``; None: of those that were appended.

        A repeated completion with the same parts returns the same file. Raises InvalidInput, FileTooLarge,
        UploadEnded, NoRoomForFiles, CompletionRunning.
        """
        with self._only_completion(user_id, upload_id):
            return self._complete(user_id, upload_id, part_ids, md5)

    def _complete(self, user_id: str, upload_id: str, part_ids: Sequence[str] | None, md5: str | None) -> Ended:
        with self._database.user(user_id) as tx:
            upload = _found(tx, upload_id)
            if _is_repeated(upload, part_ids):
                return _with_file(tx, upload)
            if upload.status != "pending":
                raise UploadEnded(upload)
            named = chosen(upload, uploads.parts(tx, upload_id), part_ids)
        try:
            self._make_file(upload, named, part_ids, md5)
        except (UploadEnded, BytesMissing):
            # A cancel or the sweep of workers was faster, or another completion, where this one has lost its lock.
            ended = self.find(user_id, upload_id)
            if _is_repeated(ended.upload, part_ids):
                return ended
            if ended.upload.status != "pending":
                raise UploadEnded(ended.upload) from None
            raise
        return self.find(user_id, upload_id)

    def cancel(self, user_id: str, upload_id: str) -> Upload:
        """Give an upload up; one that was cancelled before stays so. Raises UploadEnded."""
        with self._database.user(user_id) as tx:
            upload = _found(tx, upload_id, hold=True)
            if upload.status not in ("pending", "cancelled"):
                raise UploadEnded(upload)
            uploads.cancel(tx, upload_id)
            return _found(tx, upload_id)

    def _check_part(self, tx: Tx, upload: Upload, part: PartRow) -> None:
        """Refuse a part that the upload has no place for."""
        _check_offset(upload, part.starts_at)
        if (part.starts_at or 0) + part.bytes > upload.bytes:
            raise InvalidInput(f"data: the upload was created for {upload.bytes} bytes", "data")
        amount = uploads.amount(tx, upload.id)
        if amount.parts >= self._limits.parts:
            raise TooManyParts(f"An upload has at most {self._limits.parts} parts (MAX_UPLOAD_PARTS).")
        taken = max(upload.bytes, amount.bytes + part.bytes)
        self._files.check_room(tx, upload.user_id, taken, besides=upload.id)

    def _make_file(
        self, upload: Upload, parts: Sequence[Part], part_ids: Sequence[str] | None, md5: str | None
    ) -> None:
        """Put the parts together, and store them like any other file."""
        digest = new_md5(usedforsecurity=False)
        with Staged(self._file_bytes, "file") as staged:
            for part in parts:
                for piece in self._files.open(part):
                    staged.write(piece)
                    digest.update(piece)
            if md5 is not None and md5.lower() != digest.hexdigest():
                raise InvalidInput(f"md5: the parts together have {digest.hexdigest()}", "md5")
            new = NewFile(
                upload.filename,
                upload.purpose,
                upload.declared,
                upload.file_seconds,
                is_attachment=upload.is_attachment,
            )
            completion = Completion(upload.id, partial(_complete, upload, _digest_of_ids(part_ids)))
            self._files.store_staged(upload.user_id, new, staged, completion)

    @contextmanager
    def _only_completion(self, user_id: str, upload_id: str) -> Iterator[None]:
        """Keep other completions of an upload out, those in other processes included. Raises CompletionRunning.

        The lock ends with its connection, also when the process is killed.
        """
        with self._database.user(user_id) as tx:
            _found(tx, upload_id)
            if not uploads.hold_completion(tx, upload_id, COMPLETION_SECONDS):
                raise CompletionRunning
            yield

    @contextmanager
    def _removing(self, user_id: str, part: PartRow) -> Iterator[None]:
        """Remove a part when the block fails with an error of a store or of the upload's state.

        Its bytes follow its row. Those of a row that a sweep or an erasure has removed meanwhile are removed here.
        """
        try:
            yield
        except (StoreDown, WrongState, NotFound):
            with suppress(DatabaseDown):
                with self._database.user(user_id) as tx:
                    is_noted = uploads.remove_part(tx, part.id)
                if not is_noted:
                    self._files.drop(user_id, part.sha256)
            raise


def _complete(upload: Upload, completed_with: bytes, tx: Tx, file_id: str) -> None:
    if not uploads.complete(tx, upload.id, file_id, completed_with):
        raise UploadEnded(_found(tx, upload.id))


def _repeated(known: Upload, row: UploadRow) -> Upload:
    """The upload of a repeated request. Raises InvalidInput when its key was used for another file."""
    if (known.filename, known.bytes, known.declared) != (row.filename, row.bytes, row.declared):
        raise InvalidInput("Idempotency-Key: was used before for another file", "Idempotency-Key")
    return known


def _found(tx: Tx, wanted: str, *, hold: bool = False) -> Upload:
    found = uploads.get(tx, wanted, hold=hold) if is_upload_id(wanted) else None
    if found is None:
        raise NotFound
    return found


def _pending(tx: Tx, wanted: str) -> Upload:
    """An upload that takes parts. It stays so until ``tx`` ends."""
    found = _found(tx, wanted, hold=True)
    if found.status != "pending":
        raise UploadEnded(found)
    return found


def _with_file(tx: Tx, upload: Upload) -> Ended:
    return Ended(upload, file_rows.get(tx, upload.file_id) if upload.file_id else None)


def _check_offset(upload: Upload, starts_at: int | None) -> None:
    if starts_at is not None and starts_at != upload.offset:
        raise WrongOffset(upload)


def _digest_of_ids(part_ids: Sequence[str] | None) -> bytes:
    return new_sha256(b"appended" if part_ids is None else "\n".join(part_ids).encode()).digest()


def _is_repeated(upload: Upload, part_ids: Sequence[str] | None) -> bool:
    return upload.status == "completed" and upload.completed_with == _digest_of_ids(part_ids)
