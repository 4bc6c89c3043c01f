"""Tickets: each opens one stream of one user, for a while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Tx, execute, fetch_one


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose ticket it is, and when the token it was issued for expires."""

    user_id: str
    subject: str
    token_expires_at: datetime


def add(tx: Tx, digest: bytes, user_id: str, object_id: str, token_expires_at: float, open_seconds: float) -> datetime:
    """Keep a ticket; until when it opens its stream. ``token_expires_at`` in seconds since 1970."""
    row = fetch_one(
        tx,
        """INSERT INTO stream_tickets (digest, user_id, object, token_expires_at)
           VALUES (:digest, :user_id, :object, to_timestamp(:token_expires_at))
           RETURNING least(created_at + make_interval(secs => :open_seconds), token_expires_at) AS expires_at""",
        digest=digest,
        user_id=user_id,
        object=object_id,
        token_expires_at=token_expires_at,
        open_seconds=open_seconds,
    )
    assert row is not None, "inserted"
    expires_at: datetime = row.expires_at
    return expires_at


def use(tx: Tx, digest: bytes, object_id: str | None, open_seconds: float, reopen_seconds: float) -> Holder | None:
    """Open the stream with a ticket: its holder, or None when it does not open this stream, or not any more.

    ``object_id`` None: the stream of everything its user has.
    It has to be used first within ``open_seconds`` of its issue; after that it is good for ``reopen_seconds`` of it.
    """
    row = fetch_one(
        tx,
        """UPDATE stream_tickets t SET opened_at = coalesce(t.opened_at, now()) FROM users u
           WHERE t.digest = :digest
             AND CAST(t.object AS text) = coalesce(lower(:object), CAST(t.user_id AS text)) AND u.id = t.user_id
             AND t.token_expires_at > now()
             AND t.created_at > now() - make_interval(
                 secs => CASE WHEN t.opened_at IS NULL THEN :open_seconds ELSE :reopen_seconds END)
           RETURNING t.user_id, u.subject, t.token_expires_at""",
        digest=digest,
        object=object_id,
        open_seconds=open_seconds,
        reopen_seconds=reopen_seconds,
    )
    return Holder(**row._mapping) if row else None


def forget(tx: Tx, user_id: str, seconds: float) -> None:
    """Remove a user's tickets that are older than ``seconds``."""
    execute(
        tx,
        """DELETE FROM stream_tickets
           WHERE user_id = :user_id AND created_at < now() - make_interval(secs => :seconds)""",
        user_id=user_id,
        seconds=seconds,
    )
