"""The takeover behind crash recovery, cancels and deletions: fence the old revision, then read its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import orjson
import structlog

from app.domain.attempts import calls_made
from app.domain.cursor import START, Cursor
from app.domain.errors import LeaseLost, LogDown
from app.domain.events import LAST, Entry
from app.domain.lease import Claimed, Lease
from app.domain.transcript import Transcript, merge
from app.domain.usage import estimated_tokens
from app.eventlog import allowance
from app.eventlog.log import PAGE, EventLog
from app.services.history import MOST_TURNS
from app.store import checkpoints, leases, messages, model_configs
from app.store.database import Database, Tx
from app.store.model_configs import Model

T = TypeVar("T")

_log = structlog.get_logger()

FIRST_EPOCH = 1
RETRY_SECONDS = 0.1
# Seconds for which a refused command is repeated in any case: a new connection may work. A server that hangs is not
# asked again, because each command costs a whole timeout.
SECOND_CHANCE_SECONDS = 0.3
# Seconds past the timeout after which a Redis that has not answered counts as hanging.
HANGING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Frozen:
    """The log before a takeover, to which no worker can append any more.

    ``opened``: the new revision is open in Redis. ``read``: Redis showed all it had; otherwise readers may have seen
    more than the transcript says. ``input_tokens`` is an estimate of what each call of the provider was sent.
    ``target`` was called last; None where it is not known. ``calls``: see calls_made.
    """

    transcript: Transcript
    opened: bool
    read: bool
    input_tokens: int = 0
    target: str | None = None
    calls: int = 0


class Takeover:
    """Freezes the log of earlier revisions. ``redis_timeout`` is how many seconds to wait for Redis."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database = database
        self._log = log

    def freeze(self, claimed: Claimed, redis_timeout: float) -> Frozen:
        """Fence the earlier revisions, and make sure PostgreSQL has every event of them that still exists.

        Without Redis the checkpoints have to do; then the revision must be opened before anything is appended.
        Raises LeaseLost when the claim itself has been taken over.
        """
        lease, until = claimed.lease, time.monotonic() + redis_timeout
        opened = self._open(claimed, until)
        if lease.epoch == FIRST_EPOCH:
            # There is no earlier revision. The next checkpoint finds out whether the lease still holds.
            return Frozen(Transcript(), opened=opened, read=opened)
        # A Redis that is full refuses to open a revision and can still be read. A Redis that hangs is not asked again.
        readable = opened or (time.monotonic() < until + HANGING_SECONDS and not allowance.is_spent())
        logged, read = self._earlier(lease, until) if readable else ([], False)
        has_ended = bool(logged) and logged[-1].payload.startswith(LAST)
        frozen = self._kept(claimed, logged[:-1] if has_ended else logged, opened, read)
        if has_ended:
            frozen = replace(frozen, opened=self._begin_log(claimed, until))
        return frozen

    def _kept(self, claimed: Claimed, logged: list[Entry], opened: bool, read: bool) -> Frozen:
        """Save what PostgreSQL lacks of the log, and fold everything that is known. Raises LeaseLost."""
        lease = claimed.lease
        with self._database.user(claimed.user_id) as tx:
            if not leases.holds(tx, lease):
                raise LeaseLost(lease.generation_id)
            stored = checkpoints.chunks(tx, lease.generation_id)
            for run in missing(logged, stored):
                checkpoints.add_chunk(tx, lease.generation_id, claimed.user_id, run)
            said = Transcript.of(merge(stored, logged))
            calls = calls_made(claimed.attempts, said, claimed.target, claimed.begun)
            if calls <= len(claimed.attempts):
                return Frozen(said, opened, read, calls=calls)
            model = model_configs.accepted(tx, claimed.model_version) if claimed.model_version else None
            target = claimed.target or (model.all_targets[0].key if model else None)
            return Frozen(said, opened, read, _input_tokens(tx, claimed, model), target, calls)

    def _open(self, claimed: Claimed, until: float) -> bool:
        """Open the revision in Redis; False when it does not answer in time. Raises LeaseLost.

        A log that has a later revision, or events of this one, knows a claim that PostgreSQL has forgotten, as after a
        restore. The epoch is raised then: an epoch that readers know is never used again.
        """
        lease = claimed.lease
        answer = _repeated(lambda: self._log.open(lease.generation_id, lease.epoch), until)
        if answer is None:
            return False
        if answer.verdict == "OK" and answer.top < 0:
            return True
        known = lease.epoch if answer.verdict == "OK" else answer.top
        with self._database.user(claimed.user_id) as tx:
            is_behind = leases.raise_epoch(tx, lease, known)
        if is_behind:
            _log.warning("epoch of a generation raised to that of its log", action="catch_up", epoch=known)
        raise LeaseLost(lease.generation_id)

    def _begin_log(self, claimed: Claimed, until: float) -> bool:
        """Replace a log that has an end which PostgreSQL does not know, as after a restore: readers would stop there.

        PostgreSQL has the events before that end. False when Redis does not answer.
        """
        try:
            self._log.unlink([claimed.lease.generation_id])
        except LogDown:
            return False
        _log.warning("end of a generation taken out of its log", action="catch_up")
        return self._open(claimed, until)

    def _earlier(self, lease: Lease, until: float) -> tuple[list[Entry], bool]:
        """The entries of earlier revisions that Redis still has, and whether it showed all of them.

        A read is repeated after a lost reply: readers have seen the entries, and would see them taken back.
        """
        entries: list[Entry] = []
        while True:
            after = entries[-1].cursor if entries else START
            page = _repeated(partial(self._log.read, lease.generation_id, after), until)
            if page is None:
                return entries, False
            earlier = [entry for entry in page if entry.cursor.epoch < lease.epoch]
            entries += earlier
            if len(page) < PAGE or len(earlier) < len(page):
                return entries, True


def _input_tokens(tx: Tx, claimed: Claimed, model: Model | None) -> int:
    """An estimate of the tokens that a provider was sent for this answer."""
    chars = messages.context_chars(tx, claimed.user_message_id, MOST_TURNS)
    parameters = {**(model.parameters if model else {}), **claimed.parameters}
    said = (model.system_prompt if model else None, parameters.get("instructions"))
    chars += sum(len(text) for text in said if isinstance(text, str))
    if tools := parameters.get("tools"):
        chars += len(orjson.dumps(tools))
    return estimated_tokens(chars)


def _repeated(command: Callable[[], T], until: float) -> T | None:
    """Repeat a command to Redis until it answers; None when it does not in time.

    A command that is refused at once is repeated for SECOND_CHANCE_SECONDS, also when ``until`` is earlier.
    """
    until = max(until, time.monotonic() + SECOND_CHANCE_SECONDS)
    while True:
        with suppress(LogDown):
            return command()
        if allowance.is_spent():
            return None
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
