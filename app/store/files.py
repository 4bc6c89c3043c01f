"""Files of users: a row is pending before its bytes are written, and ready behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.file_id import FileStatus, Purpose
from app.store.database import Tx, execute, fetch, fetch_one, mine


@dataclass(frozen=True, slots=True)
class File:
    """A file. ``is_attachment``: it is kept as long as a message refers to it. ``sha256`` is in hexadecimal."""

    id: str
    user_id: str
    filename: str
    purpose: Purpose
    media_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    status: FileStatus
    is_attachment: bool
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class FileRow:
    """The values of a new row. ``expires_after`` is in seconds; None: it does not expire."""

    id: str
    filename: str
    purpose: Purpose
    media_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    is_attachment: bool
    expires_after: float | None


@dataclass(frozen=True, slots=True)
class Used:
    """The room that a user's files take."""

    files: int
    bytes: int


_COLUMNS = """id, user_id, filename, purpose, media_type, bytes, encode(sha256, 'hex') AS sha256, width, height, status,
    is_attachment, created_at, expires_at"""
_HASH = "sha256 = decode(:sha256, 'hex')"
_IS_HERE = "status = 'ready' AND (expires_at IS NULL OR expires_at > now())"


def hold_room(tx: Tx, user_id: str) -> None:
    """Hold the room of a user's files until the end of ``tx``."""
    fetch(tx, "SELECT pg_advisory_xact_lock(hashtextextended('files of ' || :user_id, 0))", user_id=user_id)


def hold(tx: Tx, user_id: str, key: str) -> None:
    """Hold the room of a user's files, and keep the bytes of ``key`` from being removed, until the end of ``tx``."""
    fetch(
        tx,
        """SELECT pg_advisory_xact_lock(hashtextextended('files of ' || :user_id, 0)),
             pg_advisory_xact_lock_shared(hashtextextended('bytes of ' || :key, 0))""",
        user_id=user_id,
        key=key,
    )


def used(tx: Tx, user_id: str, besides: str | None = None) -> Used:
    """The room that a user's files and pending uploads take, those that are being written included.

    An upload takes the bytes that it was created for, or those of its parts where they are more. Parts of one that was
    cancelled or has expired take theirs until they are removed, which a hold puts off. The upload ``besides`` is left
    out.
    """
    row = fetch_one(
        tx,
        f"""WITH taken AS (
                SELECT 1 AS files, bytes FROM files WHERE user_id = :user_id AND {mine()} AND status <> 'deleted'
                UNION ALL
                SELECT 1, greatest(u.bytes, (SELECT sum(p.bytes) FROM upload_parts p
                    WHERE p.upload_id = u.id AND {mine("p.user_id")}))
                FROM uploads u WHERE u.user_id = :user_id AND {mine("u.user_id")} AND u.status = 'pending'
                    AND u.expires_at > now() AND u.id IS DISTINCT FROM CAST(:besides AS text)
                UNION ALL
                SELECT 0, p.bytes FROM uploads u JOIN upload_parts p ON p.upload_id = u.id AND {mine("p.user_id")}
                WHERE u.user_id = :user_id AND {mine("u.user_id")} AND NOT u.is_settled
                    AND (u.status = 'cancelled' OR u.status = 'pending' AND u.expires_at <= now())
            ) SELECT coalesce(sum(files), 0) AS files, coalesce(sum(bytes), 0) AS bytes FROM taken""",
        user_id=user_id,
        besides=besides,
    )
    assert row is not None, "an aggregate"
    return Used(int(row.files), int(row.bytes))


def has_bytes(tx: Tx, user_id: str, sha256: str) -> bool:
    """True when a ready file of the user, or a ready part of an upload, has these bytes."""
    sql = f"""SELECT 1 FROM files WHERE user_id = :user_id AND {mine()} AND {_HASH} AND status = 'ready'
              UNION ALL
              SELECT 1 FROM upload_parts WHERE user_id = :user_id AND {mine()} AND {_HASH} AND is_ready LIMIT 1"""
    return fetch_one(tx, sql, user_id=user_id, sha256=sha256) is not None


def hold_unneeded(tx: Tx, user_id: str, key: str, sha256: str) -> bool:
    """True when no row of the user has the bytes of ``key``. No row then counts on them until ``tx`` ends."""
    sql = "SELECT pg_try_advisory_xact_lock(hashtextextended('bytes of ' || :key, 0)) AS held"
    lock = fetch_one(tx, sql, key=key)
    if not (lock and lock.held):
        return False
    # A statement of its own, behind the lock: it sees the rows that were committed before.
    sql = f"""SELECT 1 FROM files WHERE user_id = :user_id AND {mine()} AND {_HASH}
              UNION ALL SELECT 1 FROM upload_parts WHERE user_id = :user_id AND {mine()} AND {_HASH} LIMIT 1"""
    return fetch_one(tx, sql, user_id=user_id, sha256=sha256) is None


def use_again(tx: Tx, user_id: str, row: FileRow) -> File | None:
    """An attachment of the user with this name and these bytes. It counts as used now."""
    found = fetch_one(
        tx,
        f"""UPDATE files SET used_at = now() WHERE id = (
                SELECT id FROM files WHERE user_id = :user_id AND {mine()} AND {_HASH} AND filename = :filename
                  AND is_attachment AND {_IS_HERE} AND expires_at IS NULL ORDER BY id LIMIT 1)
            AND {mine()} AND {_IS_HERE} RETURNING {_COLUMNS}""",
        user_id=user_id,
        sha256=row.sha256,
        filename=row.filename,
    )
    return _file(found) if found else None


def add(tx: Tx, user_id: str, row: FileRow) -> File:
    """Add a pending file."""
    found = fetch_one(
        tx,
        f"""INSERT INTO files (id, user_id, filename, purpose, media_type, bytes, sha256, width, height, is_attachment,
                expires_at)
            VALUES (:id, :user_id, :filename, :purpose, :media_type, :bytes, decode(:sha256, 'hex'), :width, :height,
                :is_attachment, now() + make_interval(secs => CAST(:expires_after AS float8))) RETURNING {_COLUMNS}""",
        id=row.id,
        user_id=user_id,
        filename=row.filename,
        purpose=row.purpose,
        media_type=row.media_type,
        bytes=row.bytes,
        sha256=row.sha256,
        width=row.width,
        height=row.height,
        is_attachment=row.is_attachment,
        expires_after=row.expires_after,
    )
    assert found is not None, "inserted"
    return _file(found)


def set_ready(tx: Tx, file_id: str) -> File | None:
    """Show a pending file, whose bytes are written. None: it is gone."""
    row = fetch_one(
        tx,
        f"""UPDATE files SET status = 'ready', used_at = now() WHERE id = :id AND {mine()} AND status = 'pending'
            RETURNING {_COLUMNS}""",
        id=file_id,
    )
    return _file(row) if row else None


def get(tx: Tx, file_id: str) -> File | None:
    """One ready file of the user."""
    row = fetch_one(tx, f"SELECT {_COLUMNS} FROM files WHERE id = :id AND {mine()} AND {_IS_HERE}", id=file_id)
    return _file(row) if row else None


def hold_all(tx: Tx, user_id: str, file_ids: Sequence[str]) -> dict[str, File]:
    """Those of the files that the user has and that are ready, by id. None of them is removed before ``tx`` ends."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM files WHERE id = ANY(CAST(:ids AS text[])) AND user_id = :user_id AND {mine()}
              AND {_IS_HERE} ORDER BY id FOR KEY SHARE""",
        ids=list(file_ids),
        user_id=user_id,
    )
    return {row.id: _file(row) for row in rows}


@dataclass(frozen=True, slots=True)
class FilePage:
    """The place and the filter of a page: files behind the id ``after``, newest first unless ``is_ascending``."""

    limit: int
    after: str | None = None
    purpose: Purpose | None = None
    is_ascending: bool = False


def page(tx: Tx, user_id: str, wanted: FilePage) -> list[File]:
    """A page of a user's ready files."""
    sign, order = (">", "ASC") if wanted.is_ascending else ("<", "DESC")
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM files WHERE user_id = :user_id AND {mine()} AND {_IS_HERE}
              AND (CAST(:after AS text) IS NULL OR id {sign} :after)
              AND (CAST(:purpose AS text) IS NULL OR purpose = :purpose) ORDER BY id {order} LIMIT :limit""",
        user_id=user_id,
        after=wanted.after,
        purpose=wanted.purpose,
        limit=wanted.limit,
    )
    return [_file(row) for row in rows]


def delete(tx: Tx, file_id: str) -> bool:
    """Take a file out of sight. A worker removes its row and its bytes. False: there is no such file."""
    sql = f"UPDATE files SET status = 'deleted', used_at = now() WHERE id = :id AND {mine()} AND status <> 'deleted'"
    return execute(tx, sql, id=file_id) > 0


def _file(row: Any) -> File:
    return File(**row._mapping)
