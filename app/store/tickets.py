"""Tickets: each opens one stream of one user, for a while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.commands import User
from app.domain.credential import CredentialKind
from app.store.database import Tx, execute, fetch_one


@dataclass(frozen=True, slots=True)
class Holder:
    """The user of a ticket, and the credential it was issued for, with its expiry.

    The kind is None for a ticket that an earlier release has issued. ``limits`` are those of an API key.
    """

    user_id: str
    subject: str
    token_expires_at: datetime
    credential_kind: CredentialKind | None
    credential_id: str | None
    limits: dict[str, Any] | None


def add(tx: Tx, digest: bytes, user: User, object_id: str, token_expires_at: float, open_seconds: float) -> datetime:
    """Keep a ticket of a user and their credential; until when it opens its stream.

    ``token_expires_at``: the end of the credential, in seconds since 1970.
    """
    row = fetch_one(
        tx,
        """INSERT INTO stream_tickets (digest, user_id, object, token_expires_at, credential_kind, credential_id)
           VALUES (:digest, :user_id, :object, to_timestamp(:token_expires_at), :kind, :credential_id)
           RETURNING least(created_at + make_interval(secs => :open_seconds), token_expires_at) AS expires_at""",
        digest=digest,
        user_id=user.id,
        kind=user.credential.kind,
        credential_id=user.credential.id,
        object=object_id,
        token_expires_at=token_expires_at,
        open_seconds=open_seconds,
    )
    assert row is not None, "inserted"
    expires_at: datetime = row.expires_at
    return expires_at


def use(tx: Tx, digest: bytes, object_id: str | None, open_seconds: float, reopen_seconds: float) -> Holder | None:
    """Open a stream with a ticket: its holder; None for a ticket that is unknown, expired, or of another stream.

    ``object_id`` None: the feed of all conversations of its user. The first use must come within ``open_seconds`` of
    the issue; later ones within ``reopen_seconds`` of the issue.
    """
    row = fetch_one(
        tx,
        """SELECT user_id, subject, token_expires_at, credential_kind, credential_id, limits
           FROM use_ticket(:digest, :object, :open_seconds, :reopen_seconds)""",
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
