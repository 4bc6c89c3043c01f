"""People as an identity provider knows them, and their sign-ins that have begun."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.store.database import Tx, execute, fetch_one


@dataclass(frozen=True, slots=True)
class Kept:
    """The values of a sign-in that has begun, and the path that follows it."""

    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    next: str


def note(tx: Tx, user_id: str, issuer: str, subject: str, email: str | None, name: str | None) -> None:
    """Note the sign-in of the transaction's user, with the address and the name as they are now."""
    execute(
        tx,
        """INSERT INTO identities (user_id, issuer, subject, email, name)
           VALUES (:user_id, :issuer, :subject, :email, :name)
           ON CONFLICT (user_id) DO UPDATE SET email = :email, name = :name, signed_in_at = now()""",
        user_id=user_id,
        issuer=issuer,
        subject=subject,
        email=email,
        name=name,
    )


def owner(tx: Tx, issuer: str, subject: str) -> str | None:
    """The id of the user with this identity, in a transaction without a user; None for somebody unknown."""
    row = fetch_one(tx, "SELECT user_of_identity(:issuer, :subject) AS id", issuer=issuer, subject=subject)
    return str(row.id) if row is not None and row.id is not None else None


def begin(tx: Tx, state: bytes, browser: bytes, kept: Kept, seconds: float) -> None:
    """Keep a sign-in that begins, for ``seconds``. ``state`` and ``browser`` are digests."""
    fetch_one(
        tx,
        "SELECT begin_sign_in(:state, :browser, :nonce, :verifier, :next, :seconds)",
        state=state,
        browser=browser,
        nonce=kept.nonce,
        verifier=kept.verifier,
        next=kept.next,
        seconds=seconds,
    )


def take(tx: Tx, state: bytes, browser: bytes) -> Kept | None:
    """The sign-in of this browser with this state, which is removed; None where there is none."""
    row = fetch_one(
        tx, "SELECT nonce, verifier, next FROM take_sign_in(:state, :browser)", state=state, browser=browser
    )
    return Kept(**row._mapping) if row else None


def prune(tx: Tx, limit: int) -> int:
    """Remove up to ``limit`` sign-ins that were not finished in time; their number. For workers."""
    return execute(
        tx,
        """DELETE FROM sign_in_requests WHERE state IN (
               SELECT state FROM sign_in_requests WHERE expires_at < now() LIMIT :limit FOR UPDATE SKIP LOCKED
           )""",
        limit=limit,
    )
