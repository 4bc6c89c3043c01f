"""Service accounts: users of programs. Every function is for a transaction of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.credential import revocable_user
from app.store import revocations
from app.store.database import Tx, fetch, fetch_one


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account. ``keys``: the number of its valid keys."""

    id: str
    name: str
    subject: str
    created_at: datetime
    keys: int


def add(tx: Tx, account_id: str, name: str, most: int) -> bool:
    """Add an account; False when there are ``most`` of them already."""
    row = fetch_one(
        tx,
        "SELECT add_service_account(CAST(:id AS uuid), :name, :most) AS id",
        id=account_id,
        name=name,
        most=most,
    )
    return row is not None and row.id is not None


def page(tx: Tx, limit: int, before: str | None) -> list[ServiceAccount]:
    """Up to ``limit`` accounts, newest first, older than the account ``before``."""
    return _find(tx, None, before, limit)


def get(tx: Tx, account_id: str) -> ServiceAccount | None:
    """The account with this id."""
    return next(iter(_find(tx, account_id, None, 1)), None)


def end(tx: Tx, account_id: str) -> bool:
    """End an account, its keys and what they have opened. False when there is none with this id."""
    row = fetch_one(tx, "SELECT end_service_account(CAST(:id AS uuid)) AS ended", id=account_id)
    ended = row is not None and bool(row.ended)
    if ended:
        revocations.add(tx, [revocable_user(account_id)])
    return ended


def _find(tx: Tx, account_id: str | None, before: str | None, limit: int) -> list[ServiceAccount]:
    rows = fetch(
        tx,
        """SELECT id, name, subject, created_at, keys
           FROM service_accounts(CAST(:id AS uuid), CAST(:before AS uuid), :limit)""",
        id=account_id,
        before=before,
        limit=limit,
    )
    return [ServiceAccount(**row._mapping) for row in rows]
