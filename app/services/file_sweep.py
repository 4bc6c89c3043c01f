"""The removal of files: rows that are due, then bytes that no row has. Each step can be repeated by any worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

from app.files.errors import StorageDown
from app.files.storage import Storage, is_key, key_of_thumbnail, thumbnail_key_of
from app.store import ended_uploads, removed_files
from app.store.database import Database, Tx
from app.store.removed_files import Ages

# Seconds after which an upload that is not complete was given up.
PENDING_FILE_SECONDS = 3600.0
# Seconds for which an upload in parts is shown after it has expired.
ENDED_UPLOAD_SECONDS = 3600.0
# Rows and keys of one transaction or page, and the seconds for which a sweep goes on with each of its parts.
FILES_AT_ONCE = 200
FILES_LOOKED_AT_AT_ONCE = 2000
UPLOADS_AT_ONCE = 20
FILE_SWEEP_SECONDS = 0.3
# Seconds from the end of one pass over all rows, or over the whole storage, to the next.
UNUSED_PASS_SECONDS = 1800.0
STORAGE_PASS_SECONDS = 21_600.0

_log = structlog.get_logger()


class FileSweep:
    """Removes files that were deleted, have expired, were never completed, or that no message refers to any more.

    It also removes the parts of uploads that have ended.

    ``unused``: seconds for which an attachment may have no message. ``retention_days``: other files without a message
    are kept so long; None: until they are deleted.
    """

    def __init__(self, database: Database, storage: Storage, unused: float, retention_days: float | None) -> None:
        self._database = database
        self._storage = storage
        kept = retention_days * 86_400 if retention_days is not None else None
        self._ages = Ages(PENDING_FILE_SECONDS, unused, kept)
        self._row_after, self._next_row_pass = "", monotonic()
        self._key_after, self._next_key_pass = "", monotonic() + STORAGE_PASS_SECONDS
        self._removal_after = ""
        self._failure: Exception | None = None

    def sweep(self) -> None:
        """Go on with each part for some time. Raises DatabaseDown, StorageDown.

        Bytes that the storage does not remove are left to a later sweep. An error ends its part alone. The first one is
        raised behind the last part.
        """
        self._failure = None
        parts = (self._end_uploads, self._remove_due, self._remove_unused, self._remove_bytes, self._remove_unknown)
        for part in parts:
            try:
                part(monotonic() + FILE_SWEEP_SECONDS)
            except Exception as error:
                self._failure = self._failure or error
        if self._failure is not None:
            raise self._failure

    def _remove_due(self, until: float) -> None:
        """Remove rows of files that were deleted, have expired or were never completed."""
        removed = FILES_AT_ONCE
        while removed == FILES_AT_ONCE and monotonic() < until:
            with self._database.system() as tx:
                removed = removed_files.remove_due(tx, self._ages.pending, FILES_AT_ONCE)

    def _end_uploads(self, until: float) -> None:
        """Remove the parts of uploads that have ended, and uploads that ended long ago."""
        settled = UPLOADS_AT_ONCE
        while settled == UPLOADS_AT_ONCE and monotonic() < until:
            with self._database.system() as tx:
                settled = ended_uploads.settle(tx, PENDING_FILE_SECONDS, UPLOADS_AT_ONCE)
        with self._database.system() as tx:
            ended_uploads.remove_old(tx, ENDED_UPLOAD_SECONDS, FILES_AT_ONCE)

    def begin_passes(self) -> None:
        """Begin both passes, and the removal of noted bytes, with the next sweep."""
        self._row_after, self._next_row_pass = "", monotonic()
        self._key_after, self._next_key_pass = "", monotonic()
        self._removal_after = ""

    def _remove_unused(self, until: float) -> None:
        """Go on with the pass over all rows."""
        while self._next_row_pass <= monotonic() < until:
            with self._database.system() as tx:
                unused, behind = removed_files.unused_behind(tx, self._row_after, self._ages, FILES_LOOKED_AT_AT_ONCE)
                removed_files.remove_unused(tx, unused)
            if behind is None:
                self._row_after, self._next_row_pass = "", monotonic() + UNUSED_PASS_SECONDS
            else:
                self._row_after = behind

    def _remove_bytes(self, until: float) -> None:
        """Go on with the bytes of removed rows. Keys that an upload holds are left to a later sweep."""
        while monotonic() < until:
            with self._database.system() as tx:
                keys = removed_files.removals(tx, self._removal_after, FILES_AT_ONCE)
            if not keys:
                self._removal_after = ""
                return
            for key in keys:
                if monotonic() >= until:
                    return
                self._removal_after = key
                self._try_to(self._remove_key, key)

    def _try_to(self, remove: Callable[[str], None], key: str) -> None:
        try:
            remove(key)
        except StorageDown as refusal:
            self._failure = self._failure or refusal

    def _remove_key(self, key: str) -> None:
        """Remove the bytes of one key and their thumbnail, unless a row has them.

        The lock keeps an upload from counting on them. Each has a transaction: a bucket refuses after seconds only.
        """
        for name in (thumbnail_key_of(key), key):
            with self._database.system() as tx:
                if not removed_files.hold_key(tx, key):
                    return
                is_needed = _is_needed(tx, key)
                if not is_needed:
                    self._storage.delete(name)
                if is_needed or name == key:
                    removed_files.forget(tx, key)
                    return

    def _remove_thumbnail(self, key: str) -> None:
        """Remove the thumbnail of an image, unless a row has the image."""
        with self._database.system() as tx:
            if removed_files.hold_key(tx, key) and not _is_needed(tx, key):
                self._storage.delete(thumbnail_key_of(key))

    def _remove_unknown(self, until: float) -> None:
        """Go on with the pass over the storage: bytes and thumbnails whose row was gone before they were written."""
        newest = datetime.now(UTC) - timedelta(seconds=PENDING_FILE_SECONDS)
        while self._next_key_pass <= monotonic() < until:
            page = self._storage.page(self._key_after, FILES_AT_ONCE)
            for stored in page:
                if monotonic() >= until:
                    return
                self._key_after = stored.key
                if stored.at < newest:
                    self._look_at(stored.key)
            if len(page) < FILES_AT_ONCE:
                self._key_after, self._next_key_pass = "", monotonic() + STORAGE_PASS_SECONDS

    def _look_at(self, name: str) -> None:
        """Remove what an entry of the storage is, when no row needs it. Other names belong to somebody else."""
        if is_key(name):
            self._try_to(self._remove_key, name)
        elif image := key_of_thumbnail(name):
            self._try_to(self._remove_thumbnail, image)


def _is_needed(tx: Tx, key: str) -> bool:
    user_id, _, sha256 = key.partition("/")
    return removed_files.is_needed(tx, user_id, sha256)
