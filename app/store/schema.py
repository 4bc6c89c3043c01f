"""The oldest PostgreSQL, the migration the database is at, and the code that may run on it."""

from __future__ import annotations

from app.store.database import Tx, fetch_one

OLDEST_POSTGRESQL = 18


def too_old(server_version: int, variable: str, place: str) -> str | None:
    """The refusal of an old server in one sentence; None when it is new enough.

    ``server_version`` is PostgreSQL's server_version_num, such as 180004. ``variable`` names the setting that leads to
    the server at ``place`` (host:port).
    """
    found = server_version // 10_000
    if found >= OLDEST_POSTGRESQL:
        return None
    return f"{variable}: the server at {place} is PostgreSQL {found}; version {OLDEST_POSTGRESQL} or newer is needed."


def revision(tx: Tx) -> str | None:
    """The revision alembic has written down; None before the first migration."""
    if fetch_one(tx, "SELECT to_regclass('alembic_version') AS name").name is None:  # type: ignore[union-attr]
        return None
    row = fetch_one(tx, "SELECT version_num FROM alembic_version")
    return row.version_num if row else None


def minimum_code_revision(tx: Tx) -> str | None:
    """The migration that code must know to run on this schema; None where the schema does not say it."""
    if fetch_one(tx, "SELECT to_regclass('schema_info') AS name").name is None:  # type: ignore[union-attr]
        return None
    row = fetch_one(tx, "SELECT minimum_code_revision FROM schema_info")
    return row.minimum_code_revision if row else None
