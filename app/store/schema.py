"""Which migration the database is at."""

from __future__ import annotations

from sqlalchemy.exc import ProgrammingError

from app.store.database import Tx, fetch_one


def revision(tx: Tx) -> str | None:
    """The revision alembic has written down; None before the first migration.

    Read as the user who logged in, who migrates: the service's roles have no business in that table.
    """
    tx.exec_driver_sql("SET LOCAL ROLE NONE")
    if fetch_one(tx, "SELECT to_regclass('alembic_version') AS name").name is None:  # type: ignore[union-attr]
        return None
    try:
        row = fetch_one(tx, "SELECT version_num FROM alembic_version")
    except ProgrammingError:
        return None
    return row.version_num if row else None
