"""Uploads in parts. A part's row is added before its bytes are written, and ready behind them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.file_id import Purpose
from app.domain.upload_id import UploadStatus
from app.store.database import Tx, execute, fetch, fetch_one, mine

# The classes below have a field with the name of the type.
Digest = bytes


@dataclass(frozen=True, slots=True)
class UploadRow:
    """The values of a new upload. ``declared``: the type that the client named. ``file_seconds``: life of the file."""

    id: str
    filename: str
    purpose: Purpose | None
    declared: str | None
    bytes: int
    is_attachment: bool
    file_seconds: float | None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload. ``offset``: bytes that were appended in order.

    ``file_id`` and ``completed_with``, the digest of the ids of the parts, are set when it is completed.
    """

    id: str
    user_id: str
    filename: str
    purpose: Purpose | None
    declared: str | None
    bytes: int
    is_attachment: bool
    file_seconds: int | None
    status: UploadStatus
    file_id: str | None
    completed_with: Digest | None
    created_at: datetime
    expires_at: datetime
    offset: int


@dataclass(frozen=True, slots=True)
class PartRow:
    """The values of a new part. ``starts_at`` is in bytes; None: the completion says its place."""

    id: str
    upload_id: str
    starts_at: int | None
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part whose bytes are written. ``sha256`` is in hexadecimal."""

    id: str
    user_id: str
    upload_id: str
    starts_at: int | None
    bytes: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Amount:
    """The number of parts of an upload and their bytes, those that are being written included."""

    parts: int
    bytes: int


_COLUMNS = f"""id, user_id, filename, purpose, declared, bytes, is_attachment, file_seconds,
    CASE WHEN status = 'pending' AND expires_at <= now() THEN 'expired' ELSE status END AS status,
    (SELECT coalesce(sum(p.bytes), 0) FROM upload_parts p WHERE p.upload_id = uploads.id AND {mine("p.user_id")}
       AND p.is_ready AND p.starts_at IS NOT NULL) AS "offset",
    file_id, completed_with, created_at, expires_at"""
_PART = "id, user_id, upload_id, starts_at, bytes, encode(sha256, 'hex') AS sha256, created_at"


def add(tx: Tx, user_id: str, row: UploadRow, seconds: float) -> None:
    """Add an upload that expires after some seconds."""
    execute(
        tx,
        """INSERT INTO uploads (id, user_id, filename, purpose, declared, bytes, is_attachment, file_seconds,
               expires_at)
           VALUES (:id, :user_id, :filename, :purpose, :declared, :bytes, :is_attachment,
               CAST(:file_seconds AS integer), now() + make_interval(secs => :seconds))""",
        user_id=user_id,
        seconds=seconds,
        id=row.id,
        filename=row.filename,
        purpose=row.purpose,
        declared=row.declared,
        bytes=row.bytes,
        is_attachment=row.is_attachment,
        file_seconds=row.file_seconds,
    )


def open_count(tx: Tx, user_id: str) -> int:
    """The number of a user's uploads that can still be completed."""
    sql = f"""SELECT count(*) AS n FROM uploads WHERE user_id = :user_id AND {mine()} AND status = 'pending'
              AND expires_at > now()"""
    row = fetch_one(tx, sql, user_id=user_id)
    return int(row.n) if row else 0


def get(tx: Tx, upload_id: str, *, hold: bool = False) -> Upload | None:
    """One upload of the user. ``hold``: no other transaction changes its state before ``tx`` ends."""
    if hold:
        # A statement of its own: the next one sees the parts that were committed while this one waited.
        fetch(tx, f"SELECT FROM uploads WHERE id = :id AND {mine()} FOR UPDATE", id=upload_id)
    row = fetch_one(tx, f"SELECT {_COLUMNS} FROM uploads WHERE id = :id AND {mine()}", id=upload_id)
    return _upload(row) if row else None


def amount(tx: Tx, upload_id: str) -> Amount:
    """The parts of an upload, those that are being written included."""
    sql = f"""SELECT count(*) AS parts, coalesce(sum(bytes), 0) AS bytes FROM upload_parts
              WHERE upload_id = :upload_id AND {mine()}"""
    row = fetch_one(tx, sql, upload_id=upload_id)
    assert row is not None, "an aggregate"
    return Amount(int(row.parts), int(row.bytes))


def parts(tx: Tx, upload_id: str) -> list[Part]:
    """The parts of an upload whose bytes are written, in order of their places."""
    sql = f"""SELECT {_PART} FROM upload_parts WHERE upload_id = :upload_id AND {mine()} AND is_ready
              ORDER BY starts_at, id"""
    return [Part(**row._mapping) for row in fetch(tx, sql, upload_id=upload_id)]


def add_part(tx: Tx, user_id: str, row: PartRow) -> None:
    """Add a part whose bytes are not written yet."""
    execute(
        tx,
        """INSERT INTO upload_parts (id, upload_id, user_id, starts_at, bytes, sha256)
           VALUES (:id, :upload_id, :user_id, :starts_at, :bytes, decode(:sha256, 'hex'))""",
        user_id=user_id,
        id=row.id,
        upload_id=row.upload_id,
        starts_at=row.starts_at,
        bytes=row.bytes,
        sha256=row.sha256,
    )


def set_part_ready(tx: Tx, part_id: str) -> Part | None:
    """Count a part, whose bytes are written. None: it is gone."""
    sql = f"UPDATE upload_parts SET is_ready = true WHERE id = :id AND {mine()} RETURNING {_PART}"
    row = fetch_one(tx, sql, id=part_id)
    return Part(**row._mapping) if row else None


def remove_part(tx: Tx, part_id: str) -> bool:
    """Remove a part whose bytes could not be written, or are not wanted. False: it is gone."""
    return execute(tx, f"DELETE FROM upload_parts WHERE id = :id AND {mine()} AND NOT is_ready", id=part_id) > 0


def remove_unready(tx: Tx, upload_id: str, starts_at: int) -> None:
    """Remove parts of one place whose bytes are not written."""
    sql = f"DELETE FROM upload_parts WHERE upload_id = :id AND {mine()} AND starts_at = :starts_at AND NOT is_ready"
    execute(tx, sql, id=upload_id, starts_at=starts_at)


def hold_completion(tx: Tx, upload_id: str, seconds: float) -> bool:
    """Hold the completion of an upload until the end of ``tx``, which may be idle for some seconds.

    False: another transaction holds it.
    """
    row = fetch_one(
        tx,
        """SELECT pg_try_advisory_xact_lock(hashtextextended('completion of ' || :id, 0)) AS held,
             set_config('idle_in_transaction_session_timeout', :idle, true)""",
        id=upload_id,
        idle=f"{seconds:.0f}s",
    )
    return bool(row and row.held)


def complete(tx: Tx, upload_id: str, file_id: str, completed_with: bytes) -> bool:
    """End a pending upload with its file. False: it has ended otherwise."""
    sql = f"""UPDATE uploads SET status = 'completed', file_id = :file_id, completed_with = :completed_with
              WHERE id = :id AND {mine()} AND status = 'pending' AND NOT is_settled"""
    return execute(tx, sql, id=upload_id, file_id=file_id, completed_with=completed_with) > 0


def cancel(tx: Tx, upload_id: str) -> None:
    """End a pending upload without a file. Workers remove its parts."""
    sql = f"UPDATE uploads SET status = 'cancelled' WHERE id = :id AND {mine()} AND status = 'pending'"
    execute(tx, sql, id=upload_id)


def _upload(row: Any) -> Upload:
    values = dict(row._mapping)
    with_bytes = values["completed_with"]
    return Upload(**values | {"offset": int(row.offset), "completed_with": with_bytes and bytes(with_bytes)})
