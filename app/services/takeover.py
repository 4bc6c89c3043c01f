"""The one primitive behind crash recovery, cancelling and deleting: close the old revision, see what it said."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.domain.cursor import Cursor
from app.domain.errors import LeaseLost, LogDown
from app.domain.events import Entry
from app.domain.transcript import Transcript, merge
from app.eventlog.log import PAGE, EventLog
from app.store import checkpoints, generations
from app.store.database import Database
from app.store.generations import Claimed, Lease


@dataclass(frozen=True, slots=True)
class Frozen:
    """The log before a takeover, which nobody can write to any more. ``opened``: the new revision is open in Redis."""

    transcript: Transcript
    opened: bool


class Takeover:
    """Freezes what earlier revisions said. ``patience`` is how long to wait for Redis, in seconds."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database = database
        self._log = log

    def freeze(self, claimed: Claimed, patience: float) -> Frozen:
        """Fence the earlier revisions, and make sure PostgreSQL has every event of them that still exists.

        Without Redis the checkpoints have to do; then the revision must be opened before anything is appended.
        Raises LeaseLost when the claim itself has been taken over.
        """
        lease = claimed.lease
        opened = self._open(lease, patience)
        logged = list(self._earlier(lease)) if opened else []
        with self._database.system() as tx:
            if not generations.holds(tx, lease):
                raise LeaseLost(lease.generation_id)
            stored = checkpoints.chunks(tx, lease.generation_id)
            for run in missing(logged, stored):
                checkpoints.add_chunk(tx, lease.generation_id, claimed.user_id, run)
        return Frozen(Transcript.of(merge(stored, logged)), opened)

    def _open(self, lease: Lease, patience: float) -> bool:
        """Open the revision in Redis, trying for ``patience`` seconds; whether it is open."""
        until = time.monotonic() + patience
        while True:
            try:
                answer = self._log.open(lease.generation_id, lease.epoch)
            except LogDown:
                if time.monotonic() >= until:
                    return False
                time.sleep(0.1)
                continue
            if answer.verdict != "OK":
                raise LeaseLost(lease.generation_id)
            return True

    def _earlier(self, lease: Lease) -> Iterator[Entry]:
        """The entries of earlier revisions that Redis still has. A Redis that leaves now is as good as empty."""
        after = Cursor(0, 0)
        while True:
            try:
                page = self._log.read(lease.generation_id, after)
            except LogDown:
                return
            for entry in page:
                if entry.cursor.epoch >= lease.epoch:
                    return
                yield entry
            if len(page) < PAGE:
                return
            after = page[-1].cursor


def missing(logged: Iterable[Entry], stored: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Runs of consecutive entries that are in ``logged`` and not in ``stored``."""
    known = {entry.cursor for entry in stored}
    run: list[Entry] = []
    for entry in logged:
        if entry.cursor in known:
            continue
        if run and entry.cursor != Cursor(run[-1].cursor.epoch, run[-1].cursor.n + 1):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run
