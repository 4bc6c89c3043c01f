"""The one primitive behind crash recovery, cancelling and deleting: close the old revision, see what it said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from app.domain.cursor import START, Cursor
from app.domain.errors import LeaseLost, LogDown
from app.domain.events import Entry
from app.domain.transcript import Transcript, merge
from app.eventlog.log import PAGE, EventLog
from app.store import checkpoints, leases
from app.store.database import Database
from app.store.leases import Claimed, Lease

T = TypeVar("T")

FIRST_EPOCH = 1
RETRY_SECONDS = 0.1
# A broken connection is known at once and the next one may work; a server that hangs costs a whole timeout.
SECOND_CHANCE_SECONDS = 0.3
# Whoever took this much longer than the patience to say no did not say anything.
HANGING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Frozen:
    """The log before a takeover, which nobody can write to any more.

    ``opened``: the new revision is open in Redis. ``read``: Redis showed all it had; otherwise readers may have seen
    more than the transcript says.
    """

    transcript: Transcript
    opened: bool
    read: bool


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
        lease, until = claimed.lease, time.monotonic() + patience
        opened = self._open(lease, until)
        if opened and lease.epoch == FIRST_EPOCH:
            # Nobody said anything before; whether the lease still holds, its next checkpoint is told.
            return Frozen(Transcript(), opened=True, read=True)
        # One that is full refuses to open a revision and can still be read; one that hangs is not asked again.
        readable = opened or time.monotonic() < until + HANGING_SECONDS
        logged, read = self._earlier(lease, until) if readable else ([], False)
        with self._database.system() as tx:
            if not leases.holds(tx, lease):
                raise LeaseLost(lease.generation_id)
            stored = checkpoints.chunks(tx, lease.generation_id)
            for run in missing(logged, stored):
                checkpoints.add_chunk(tx, lease.generation_id, claimed.user_id, run)
        return Frozen(Transcript.of(merge(stored, logged)), opened, read)

    def _open(self, lease: Lease, until: float) -> bool:
        """Open the revision in Redis; False when it does not answer in time."""
        answer = _persist(lambda: self._log.open(lease.generation_id, lease.epoch), until)
        if answer is not None and answer.verdict != "OK":
            raise LeaseLost(lease.generation_id)
        return answer is not None

    def _earlier(self, lease: Lease, until: float) -> tuple[list[Entry], bool]:
        """The entries of earlier revisions that Redis still has, and whether it showed all of them.

        One lost reply is no departure: what it has, readers have seen, and would see taken back.
        """
        entries: list[Entry] = []
        while True:
            after = entries[-1].cursor if entries else START
            page = _persist(partial(self._log.read, lease.generation_id, after), until)
            if page is None:
                return entries, False
            earlier = [entry for entry in page if entry.cursor.epoch < lease.epoch]
            entries += earlier
            if len(page) < PAGE or len(earlier) < len(page):
                return entries, True


def _persist(ask: Callable[[], T], until: float) -> T | None:
    """Ask Redis until it answers; None when it does not in time. After a quick no it is asked again in any case."""
    until = max(until, time.monotonic() + SECOND_CHANCE_SECONDS)
    while True:
        with suppress(LogDown):
            return ask()
        time.sleep(RETRY_SECONDS)
        if time.monotonic() >= until:
            return None


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
