"""Names of ended credentials and users, which every web process reads several times a second.

A transaction that ends something adds the name in it. Transactions commit in another order than they add, so a reader
does not rely on ids or times: each row has the id of its transaction, and each read returns the lowest id that was
still at work. The next read begins there, and so sees every row that was committed meanwhile, some of them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from app.store.database import Database, Tx, execute

# Seconds for which a row is kept: for processes that could not read.
KEPT_SECONDS = 3600.0
# Rows of one read, and rows removed in one transaction.
READ_AT_ONCE = 1000
PRUNED_AT_ONCE = 1000

_READ = f"""SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS next,
        array_agg(r.id ORDER BY r.transaction, r.id) AS ids, array_agg(r.name ORDER BY r.transaction, r.id) AS names,
        array_agg(CAST(r.transaction AS text) ORDER BY r.transaction, r.id) AS transactions
    FROM (
        SELECT id, name, transaction FROM revocations
        WHERE (transaction, id) > (CAST(:transaction AS xid8), :id) ORDER BY transaction, id LIMIT {READ_AT_ONCE}
    ) r"""


class Position(NamedTuple):
    """A place among the rows: a transaction's id, and the id of a row of that transaction."""

    transaction: int = 0
    id: int = 0


class Page(NamedTuple):
    """Names by the id of their row. ``more``: the place at which the read goes on; None when it is complete.

    ``next``: the place at which the next read begins that is to see what is committed after this one.
    """

    names: dict[int, str]
    more: Position | None
    next: Position


def add(tx: Tx, names: Iterable[str]) -> None:
    """Revoke these names when ``tx`` commits; ``app.domain.credential`` makes them. Every role may do that."""
    found = sorted(set(names))
    if found:
        execute(tx, "INSERT INTO revocations (name) SELECT unnest(CAST(:names AS text[]))", names=found)


def read(database: Database, after: Position) -> Page:
    """Up to READ_AT_ONCE names past a place, in one round trip. Raises DatabaseDown."""
    row = database.ask("", _READ, transaction=str(after.transaction), id=after.id)
    assert row is not None, "an aggregate has one row"
    ids: list[int] = row["ids"] or []
    more = Position(int(row["transactions"][-1]), ids[-1]) if len(ids) == READ_AT_ONCE else None
    return Page(dict(zip(ids, row["names"] or (), strict=True)), more, Position(int(row["next"])))


def prune(tx: Tx) -> bool:
    """Remove rows that are older than KEPT_SECONDS, PRUNED_AT_ONCE at most. True when there may be more."""
    removed = execute(
        tx,
        """DELETE FROM revocations WHERE id IN (
            SELECT id FROM revocations WHERE revoked_at < now() - make_interval(secs => :seconds)
            ORDER BY revoked_at LIMIT :most)""",
        seconds=KEPT_SECONDS,
        most=PRUNED_AT_ONCE,
    )
    return removed == PRUNED_AT_ONCE
