"""What of a generation's log is in PostgreSQL: checkpoint rows while it runs, one archive afterwards."""

from __future__ import annotations

from itertools import groupby

from app.domain.events import Entry, number, pack, unpack
from app.store.database import Tx, as_json, execute, fetch, fetch_one


def chunks(tx: Tx, generation_id: str, from_epoch: int = 0, from_n: int = 0) -> list[Entry]:
    """The checkpointed entries, each once and in order, from the row that holds position (from_epoch, from_n) on.

    Rows may overlap: two saves can be on their way at once, and the later one began where the earlier one did.
    """
    rows = fetch(
        tx,
        """SELECT epoch, first_n, body FROM generation_chunks
           WHERE generation_id = :id AND (epoch, last_n) >= (:epoch, :n) ORDER BY epoch, first_n""",
        id=generation_id,
        epoch=from_epoch,
        n=from_n,
    )
    entries = (entry for row in rows for entry in number(row.epoch, row.first_n, unpack(row.body)))
    return list({entry.cursor: entry for entry in entries}.values())


def add_chunk(tx: Tx, generation_id: str, user_id: str, entries: list[Entry]) -> None:
    """Add consecutive entries of one revision as a row; the same row a second time is no error."""
    first, last = entries[0].cursor, entries[-1].cursor
    execute(
        tx,
        """INSERT INTO generation_chunks (generation_id, user_id, epoch, first_n, last_n, body)
           VALUES (:id, :user_id, :epoch, :first_n, :last_n, :body) ON CONFLICT DO NOTHING""",
        id=generation_id,
        user_id=user_id,
        epoch=first.epoch,
        first_n=first.n,
        last_n=last.n,
        body=pack([entry.payload for entry in entries]),
    )


def archive(tx: Tx, generation_id: str, user_id: str, entries: list[Entry]) -> None:
    """Fold a whole log into one row that keeps every id, and remove its checkpoints."""
    revisions = [[epoch, len(list(run))] for epoch, run in groupby(entries, key=lambda entry: entry.cursor.epoch)]
    execute(
        tx,
        """INSERT INTO generation_archives (generation_id, user_id, revisions, body)
           VALUES (:id, :user_id, :revisions, :body)""",
        id=generation_id,
        user_id=user_id,
        revisions=as_json(revisions),
        body=pack([entry.payload for entry in entries]),
    )
    execute(tx, "DELETE FROM generation_chunks WHERE generation_id = :id", id=generation_id)


def archived(tx: Tx, generation_id: str) -> list[Entry]:
    """The whole log of a finished generation, or nothing."""
    row = fetch_one(tx, "SELECT revisions, body FROM generation_archives WHERE generation_id = :id", id=generation_id)
    if row is None:
        return []
    payloads, entries, at = unpack(row.body), [], 0
    for epoch, count in row.revisions:
        entries += number(epoch, 0, payloads[at : at + count])
        at += count
    return entries
