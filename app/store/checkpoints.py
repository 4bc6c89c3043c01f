"""The log of a generation in PostgreSQL: rows of checkpoints while it runs, one archive afterwards.

No other module reads or writes generation_chunks and generation_archives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from app.domain.events import Entry, number, pack, unpack
from app.domain.lease import Lease
from app.store.database import Tx, as_json, execute, fetch, fetch_one, mine

# A row of checkpoints grows up to this many bytes. A larger row would leave its page when many rows grow.
ROW_BYTES = 512
# Above every possible epoch.
_NO_EPOCH = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A renewal of a lease, with the events since the last one.

    ``body`` is the packed events ``first_n`` to ``last_n``; None where there are none. ``first_token_age``: seconds
    since the first piece of the answer; None before it.
    """

    lease: Lease
    user_id: str
    first_n: int
    last_n: int
    body: bytes | None
    first_token_age: float | None


def chunks(
    tx: Tx, generation_id: str, from_epoch: int = 0, from_n: int = 0, before_epoch: int = _NO_EPOCH
) -> list[Entry]:
    """The checkpointed entries, each once and in order, from the row with position (from_epoch, from_n) on.

    ``before_epoch``: entries of this epoch and of later ones are left out. Rows may overlap: two saves can be on their
    way at once, and both may begin at the same event.
    """
    rows = fetch(
        tx,
        f"""SELECT epoch, first_n, body FROM generation_chunks
            WHERE generation_id = :id AND {mine()} AND (epoch, last_n) >= (:epoch, :n) AND epoch < :before
            ORDER BY epoch, first_n""",
        id=generation_id,
        epoch=from_epoch,
        n=from_n,
        before=before_epoch,
    )
    entries = (entry for row in rows for entry in number(row.epoch, row.first_n, unpack(row.body)))
    return list({entry.cursor: entry for entry in entries}.values())


def append(tx: Tx, checkpoints: Sequence[Checkpoint]) -> None:
    """Add checkpoints of generations whose rows this transaction holds.

    No other transaction adds checkpoints to them meanwhile, so no upsert is needed, which writes more. Events that
    follow the newest row are put in front of its body while the row stays within ROW_BYTES: for a heap-only update
    PostgreSQL writes ahead the bytes between the first and the last change, so only the new events, no key, and no
    deletion later. After a lost COMMIT reply the events come again, perhaps with more behind them. Of two saves on
    their way, one whose events are all there adds nothing.
    """
    execute(
        tx,
        """MERGE INTO generation_chunks c
           USING (
               SELECT given.*, newest.goes_on,
                   CASE WHEN newest.goes_on THEN newest.first_n ELSE given.from_n END AS first_n
               FROM unnest(CAST(:ids AS uuid[]), CAST(:users AS uuid[]), CAST(:epochs AS int[]),
                   CAST(:firsts AS int[]), CAST(:lasts AS int[]), CAST(:bodies AS bytea[]))
                   AS given(id, user_id, epoch, from_n, last_n, body)
               LEFT JOIN LATERAL (
                   SELECT first_n, last_n,
                       last_n = given.from_n - 1 AND octet_length(body) + octet_length(given.body) <= :most AS goes_on
                   FROM generation_chunks
                   WHERE generation_id = given.id AND epoch = given.epoch ORDER BY first_n DESC LIMIT 1
               ) newest ON true
               WHERE (newest.last_n >= given.last_n) IS NOT TRUE
           ) given
           ON c.generation_id = given.id AND c.epoch = given.epoch AND c.first_n = given.first_n
           WHEN MATCHED AND given.goes_on THEN UPDATE SET last_n = given.last_n, body = given.body || c.body
           WHEN MATCHED THEN UPDATE SET last_n = given.last_n, body = given.body
           WHEN NOT MATCHED THEN INSERT (generation_id, user_id, epoch, first_n, last_n, body)
               VALUES (given.id, given.user_id, given.epoch, given.first_n, given.last_n, given.body)""",
        most=ROW_BYTES,
        ids=[c.lease.generation_id for c in checkpoints],
        users=[c.user_id for c in checkpoints],
        epochs=[c.lease.epoch for c in checkpoints],
        firsts=[c.first_n for c in checkpoints],
        lasts=[c.last_n for c in checkpoints],
        bodies=[c.body for c in checkpoints],
    )


def add_chunk(tx: Tx, generation_id: str, user_id: str, entries: list[Entry]) -> None:
    """Add consecutive entries of one revision as a row. A row that is there already stays as it is."""
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
    """Pack a whole log into one row that keeps every id, and remove its checkpoints."""
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
    execute(tx, f"DELETE FROM generation_chunks WHERE generation_id = :id AND {mine()}", id=generation_id)


def archived(tx: Tx, generation_id: str) -> list[Entry]:
    """The whole log of a finished generation; empty where there is no archive."""
    sql = f"SELECT revisions, body FROM generation_archives WHERE generation_id = :id AND {mine()}"
    row = fetch_one(tx, sql, id=generation_id)
    if row is None:
        return []
    payloads, entries, at = unpack(row.body), [], 0
    for epoch, count in row.revisions:
        entries += number(epoch, 0, payloads[at : at + count])
        at += count
    return entries
