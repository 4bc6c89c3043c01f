"""Checkpoints of drafts and renewals of their leases: one statement for all generations of the process.

The drafts are saved on a common beat, so that many share a transaction: 200 drafts need a tenth of the transactions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from time import monotonic

import structlog

from app.domain.errors import DatabaseDown, LeaseLost
from app.domain.events import pack
from app.ops import metrics
from app.services.leases import Leases
from app.store.checkpoints import Checkpoint
from worker.draft import Draft
from worker.outbox import Outbox

# A draft with this many unsaved bytes is due, whatever the beat.
FULL_BYTES = 4096
# Seconds between two searches for due drafts; a token of strict mode waits for the next one.
LOOK_SECONDS = 0.05
# The most drafts in one statement: far from any limit of PostgreSQL, and a failure costs little.
BATCH = 200
# The most of one draft and of all drafts in one statement: after an outage of PostgreSQL far more may be unsaved.
PART_BYTES = 1_048_576
BATCH_BYTES = 4_194_304

# A renewal is late when so many periods have passed since the last one.
LATE_HEARTBEATS = 2

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Policy:
    """A draft is saved after ``events`` events or ``seconds`` seconds (at most a quarter more).

    Its lease is renewed at least every ``heartbeat`` seconds.
    """

    events: int
    seconds: float
    heartbeat: float


@dataclass(frozen=True, slots=True)
class Part:
    """Events ``first`` to ``end`` of a draft, which one checkpoint saves.

    ``size``: bytes of the draft up to ``end``. ``at``: the monotonic time at which the part was chosen.
    """

    draft: Draft
    first: int
    end: int
    size: int
    at: float

    @classmethod
    def of(cls, draft: Draft, now: float) -> Part:
        """The unsaved events of a draft, with its pending text as the last one; the first ``PART_BYTES`` of many."""
        draft.seal()
        end = draft.end_of(draft.saved, PART_BYTES)
        size = draft.saved_size + sum(map(len, draft.payloads[draft.saved : end]))
        return cls(draft, draft.saved, end, size, now)

    def packed(self) -> Checkpoint:
        draft, claimed = self.draft, self.draft.claimed
        payloads = draft.payloads[self.first : self.end]
        return Checkpoint(
            lease=claimed.lease,
            user_id=claimed.user_id,
            first_n=self.first,
            last_n=max(self.end - 1, self.first),
            body=pack(payloads) if payloads else None,
            first_token_age=draft.first_token_age(self.at),
        )


def _batches(due: list[Part]) -> Iterator[list[Part]]:
    """The parts in batches, one for each statement."""
    batch: list[Part] = []
    size = 0
    for part in due:
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += part.size - part.draft.saved_size
    if batch:
        yield batch


class Checkpointer:
    """Saves the drafts of a process. ``saved`` is called after each save, ``Draft.lost`` when a lease is lost."""

    def __init__(
        self,
        leases: Leases,
        outbox: Outbox,
        policy: Policy,
        executor: Executor,
        saved: Callable[[], None] = lambda: None,
    ) -> None:
        self._leases = leases
        self._outbox = outbox
        self._policy = policy
        self._executor = executor
        self._saved = saved
        self._drafts: set[Draft] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin looking for due drafts."""
        self._task = asyncio.ensure_future(self._run())

    def close(self) -> None:
        """Save no more."""
        if self._task:
            self._task.cancel()

    def enter(self, draft: Draft) -> None:
        """Begin to save a draft. An earlier revision of its generation that is still at work here has lost its lease.

        Renewals return ids of generations: two revisions of one could not be told apart.
        """
        generation_id = draft.claimed.lease.generation_id
        for other in [one for one in self._drafts if one.claimed.lease.generation_id == generation_id]:
            self._drafts.discard(other)
            other.lost(LeaseLost(generation_id))
        self._drafts.add(draft)

    def leave(self, draft: Draft) -> None:
        """Save a draft no more."""
        self._drafts.discard(draft)

    def lag(self, now: float) -> float:
        """The longest time for which unsaved events have waited, in seconds since the last save of their draft."""
        unsaved = (now - draft.saved_at for draft in self._drafts if draft.pending or len(draft.payloads) > draft.saved)
        return max(unsaved, default=0.0)

    async def save(self, draft: Draft) -> None:
        """Save everything of one draft now. Raises DatabaseDown, and LeaseLost when its lease is not in force."""
        draft.seal()
        end = len(draft.payloads)
        generation_id = draft.claimed.lease.generation_id
        while True:
            held = await self._renew([Part.of(draft, monotonic())])
            if draft not in self._drafts:
                return
            if generation_id not in held:
                raise LeaseLost(generation_id)
            if draft.saved >= end:
                return

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = monotonic()
            due = [part for draft in self._drafts if (part := self._due(draft, now))]
            for batch in _batches(due):
                try:
                    await self._renew(batch)
                except DatabaseDown as error:
                    # Events are sent until the self-fence; the next round saves these events again.
                    _log.warning("checkpoint postponed", action="checkpoint", error=error.detail)
                    await asyncio.sleep(0.5)
                except Exception:
                    _log.exception("checkpoint failed", action="checkpoint")
                    await asyncio.sleep(1)

    def _due(self, draft: Draft, now: float) -> Part | None:
        waiting, fresh = now - draft.saved_at, len(draft.payloads) - draft.saved
        if (fresh or draft.pending) and (
            draft.strict
            or fresh >= self._policy.events
            or self._beat(draft, now, waiting)
            or draft.size - draft.saved_size >= FULL_BYTES
        ):
            return Part.of(draft, now)
        if waiting >= self._policy.heartbeat:
            return Part.of(draft, now)
        return None

    def _beat(self, draft: Draft, now: float, waiting: float) -> bool:
        """True when a common beat has passed since the draft was saved, and that was not just before the beat."""
        seconds = self._policy.seconds
        return now // seconds > draft.saved_at // seconds and waiting >= seconds / 4

    async def _renew(self, parts: list[Part]) -> set[str]:
        """Save the parts in one transaction, composed and run off the loop. The generations whose lease was held."""
        loop = asyncio.get_running_loop()
        held = await loop.run_in_executor(self._executor, lambda: self._leases.renew([p.packed() for p in parts]))
        for part in parts:
            draft = part.draft
            if draft not in self._drafts:
                continue  # it left meanwhile; its run may hold the lease of the next revision
            if draft.claimed.lease.generation_id not in held:
                draft.lost(LeaseLost(draft.claimed.lease.generation_id))
                continue
            if part.at - draft.proven_at > LATE_HEARTBEATS * self._policy.heartbeat:
                metrics.RENEWALS_LATE.inc()
            if part.end > draft.saved:
                draft.saved, draft.saved_size = part.end, part.size
            draft.proven_at = draft.saved_at = part.at
            if draft.acked < draft.sendable:
                self._outbox.touch(draft)
        self._saved()
        return held
