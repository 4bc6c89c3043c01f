"""Rows for tests, made in SQL as the superuser, past every service and policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import uuid_utils

from tests.logins import as_administrator

FINAL = {"completed", "error", "cancelled"}


def new_id() -> str:
    return str(uuid_utils.uuid7())


@contextmanager
def owner(url: str) -> Iterator[Any]:
    """A cursor of the superuser, to which no policy applies, in one transaction."""
    connection = psycopg2.connect(as_administrator(url))
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def add_user(cursor: Any, subject: str | None = None) -> str:
    user_id = new_id()
    cursor.execute("INSERT INTO users (id, subject) VALUES (%s, %s)", (user_id, subject or user_id))
    return user_id


def add_conversation(cursor: Any, user_id: str, **columns: Any) -> tuple[str, str]:
    """Insert a conversation with its first message; return the ids of both."""
    conversation_id, message_id = new_id(), new_id()
    values = {"id": conversation_id, "user_id": user_id, "first_message_id": message_id, "message_seq": 1, **columns}
    insert(cursor, "conversations", values)
    add_message(cursor, conversation_id, user_id, seq=1, id=message_id, content="Hello")
    return conversation_id, message_id


def add_message(cursor: Any, conversation_id: str, user_id: str, *, seq: int, **columns: Any) -> str:
    values = {
        "id": new_id(),
        "conversation_id": conversation_id,
        "user_id": user_id,
        "seq": seq,
        "role": "user",
        "status": "completed",
        **columns,
    }
    insert(cursor, "messages", values)
    return str(values["id"])


def add_generation(cursor: Any, user_id: str, status: str = "queued", **columns: Any) -> str:
    """Insert a generation, in a new conversation unless ``conversation_id`` and ``user_message_id`` are given."""
    if "conversation_id" not in columns:
        columns["conversation_id"], columns["user_message_id"] = add_conversation(cursor, user_id)
    seq = columns.pop("seq", 2)
    answer = add_message(
        cursor,
        columns["conversation_id"],
        user_id,
        seq=seq,
        role="assistant",
        status=status,
        parent_id=columns["user_message_id"],
    )
    values = {
        "id": new_id(),
        "user_id": user_id,
        "message_id": answer,
        "seq": seq,
        "model": "offline",
        "status": status,
        **ending(status),
        **columns,
    }
    insert(cursor, "generations", values)
    return str(values["id"])


def add_file(cursor: Any, user_id: str, refers_to: str | None = None, **columns: Any) -> str:
    """Insert a ready file, without bytes; ``refers_to`` is a message with a reference to it."""
    file_id = f"file-{new_id().replace('-', '')}"
    values = {"filename": "a.txt", "purpose": "user_data", "media_type": "text/plain", "bytes": 5, "status": "ready"}
    insert(cursor, "files", {"id": file_id, "user_id": user_id, "sha256": bytes(32), **values, **columns})
    if refers_to is not None:
        insert(cursor, "file_references", {"file_id": file_id, "message_id": refers_to, "user_id": user_id})
    return file_id


def add_upload(cursor: Any, user_id: str, **columns: Any) -> str:
    """Insert a pending upload in parts of five bytes."""
    upload_id = f"upload_{new_id().replace('-', '')}"
    values = {"filename": "a.txt", "purpose": "user_data", "bytes": 5, "expires_at": "2100-01-01"}
    insert(cursor, "uploads", {"id": upload_id, "user_id": user_id, **values, **columns})
    return upload_id


def add_part(cursor: Any, user_id: str, upload_id: str, **columns: Any) -> str:
    """Insert a part of an upload, without its bytes."""
    part_id = f"part_{new_id().replace('-', '')}"
    values = {"bytes": 5, "sha256": bytes(32), "is_ready": True}
    insert(cursor, "upload_parts", {"id": part_id, "upload_id": upload_id, "user_id": user_id, **values, **columns})
    return part_id


def ending(status: str) -> dict[str, Any]:
    """The columns about its end that a row of this status must have."""
    if status in FINAL:
        return {"final_epoch": 1, "final_n": 3, "sha256": "0" * 64, "finished_at": "2026-01-01T00:00:00Z"}
    return {"final_epoch": None, "final_n": None, "sha256": None, "finished_at": None}


def insert(cursor: Any, table: str, values: dict[str, Any]) -> None:
    places = ", ".join(["%s"] * len(values))
    cursor.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", list(values.values()))
