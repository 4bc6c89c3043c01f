"""Codes that sign somebody in, once. Only their digests are stored, and only the owner of the tables adds them."""

from __future__ import annotations

import hashlib
from contextlib import closing

from app.domain.sign_in_code import SignInCode
from app.store.database import Tx, execute, fetch_one
from app.store.logins import connect


def add(owner_url: str, code: str, subject: str, role: str | None, seconds: float) -> None:
    """Add a code that is good for ``seconds``, with the login of the owner of the tables.

    Raises what psycopg2 raises.
    """
    statement = """INSERT INTO sign_in_codes (digest, subject, role, expires_at)
        VALUES (%s, %s, %s, now() + make_interval(secs => %s))"""
    with closing(connect(owner_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, (_digest(code), subject, role, seconds))


def look(tx: Tx, code: str) -> SignInCode | None:
    """The code as it is; None for one that was never made. It stays unused."""
    return _call(tx, code, redeem=False)


def redeem(tx: Tx, code: str) -> SignInCode | None:
    """Use the code: its state is good for the first caller only, once the transaction commits."""
    return _call(tx, code, redeem=True)


def prune(tx: Tx, kept_seconds: float, limit: int) -> int:
    """Remove up to ``limit`` codes that expired more than ``kept_seconds`` ago; their number. For workers."""
    return execute(
        tx,
        """DELETE FROM sign_in_codes WHERE digest IN (
               SELECT digest FROM sign_in_codes WHERE expires_at < now() - make_interval(secs => :kept)
               LIMIT :limit FOR UPDATE SKIP LOCKED
           )""",
        kept=kept_seconds,
        limit=limit,
    )


def _call(tx: Tx, code: str, *, redeem: bool) -> SignInCode | None:
    row = fetch_one(
        tx, "SELECT state, subject, role FROM sign_in_code(:digest, :redeem)", digest=_digest(code), redeem=redeem
    )
    return SignInCode(**row._mapping) if row else None


def _digest(code: str) -> bytes:
    # The code is random and long: a fast digest is as good as a slow one.
    return hashlib.sha256(code.encode()).digest()
