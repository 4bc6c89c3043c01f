"""The incarnation of the database: another one begins with a restore, and with another primary server."""

from __future__ import annotations

from app.store.database import Tx, execute, fetch_one

# The server, its timeline, the database and the table of generations. A restored dump makes another table; files that
# are rolled forward, and a replica that is promoted, begin another timeline.
_NAME = """(SELECT system_identifier FROM pg_control_system()) || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    || ' ' || (SELECT oid FROM pg_database WHERE datname = current_database()) || ' ' || 'generations'::regclass::oid"""
# 2026-01-01 in seconds. Epochs that begin at the seconds since then are beyond all that claims have counted.
_EPOCHS_FROM = 1_767_225_600


def changed(tx: Tx) -> str | None:
    """The name of this incarnation where another one is stored, or none; None where it is the stored one."""
    found = fetch_one(tx, f"SELECT {_NAME} AS name, (SELECT name FROM incarnation) AS stored")
    assert found is not None, "it has no FROM"
    return None if found.name == found.stored else str(found.name)


def enter(tx: Tx, name: str) -> str | None:
    """Store the name of this incarnation. Returns the one that was stored until now; None where there was none.

    The row is locked, so that of several processes one alone finds the earlier name.
    """
    stored = fetch_one(tx, "SELECT name FROM incarnation FOR UPDATE")
    execute(
        tx,
        """INSERT INTO incarnation (name) VALUES (:name)
           ON CONFLICT (is_only) DO UPDATE SET name = excluded.name, entered_at = now()""",
        name=name,
    )
    return stored.name if stored else None


def raise_epochs(tx: Tx) -> int:
    """Raise the epochs of all unfinished generations beyond every epoch that a reader may know. Returns their number.

    Their leases end, and workers take them over at once.
    """
    return execute(
        tx,
        """UPDATE generations SET lease_until = NULL, next_dispatch_at = now(),
               epoch = greatest(epoch + 1, CAST(extract(epoch FROM now()) AS bigint) - :beginning)
           WHERE status IN ('queued', 'running')""",
        beginning=_EPOCHS_FROM,
    )
