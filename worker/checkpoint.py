"""When partial text is saved, and how leases stay alive: one statement for all generations of the process.

They are saved on a common beat, so that many share a transaction: with two hundred of them that is ten times fewer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from time import monotonic

import structlog

from app.domain.errors import DatabaseDown, LeaseLost
from app.domain.events import pack
from app.services.leases import Leases
from app.store.leases import Checkpoint
from worker.outbox import Draft, Outbox

# A checkpoint is due at the latest at this many bytes.
FULL_BYTES = 4096
# How often due drafts are looked for; in strict mode this is what a token waits for.
LOOK_SECONDS = 0.05
# So many in one statement: far from any limit, and a failure costs little.
BATCH = 200

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Policy:
    """A draft is saved after so many events, or so many seconds (a quarter more at most, to be saved with others); its
    lease is renewed at least every heartbeat.
    """

    events: int
    seconds: float
    heartbeat: float


@dataclass(frozen=True, slots=True)
class _Part:
    """The events of a draft that one checkpoint covers, its size with them, and when that was decided."""

    draft: Draft
    first: int
    end: int
    size: int
    at: float

    @classmethod
    def of(cls, draft: Draft, now: float) -> _Part:
        """All that is not saved, also what no tick has made an event of yet."""
        draft.seal()
        return cls(draft, draft.saved, len(draft.payloads), draft.size, now)

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


class Checkpointer:
    """Saves the drafts of a process. A draft whose lease has gone is told so."""

    def __init__(self, leases: Leases, outbox: Outbox, policy: Policy, executor: Executor) -> None:
        self._leases = leases
        self._outbox = outbox
        self._policy = policy
        self._executor = executor
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
        """Take a draft on. An earlier revision that is still at work here has been replaced: it is told so.

        Renewals answer with generations; two revisions of one would be taken for each other.
        """
        generation_id = draft.claimed.lease.generation_id
        for other in [one for one in self._drafts if one.claimed.lease.generation_id == generation_id]:
            self._drafts.discard(other)
            other.lost(LeaseLost(generation_id))
        self._drafts.add(draft)

    def leave(self, draft: Draft) -> None:
        """Let a draft go."""
        self._drafts.discard(draft)

    async def save(self, draft: Draft) -> None:
        """Save everything of one draft now. Raises DatabaseDown."""
        await self._renew([_Part.of(draft, monotonic())])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = monotonic()
            due = [part for draft in self._drafts if (part := self._due(draft, now))]
            for start in range(0, len(due), BATCH):
                try:
                    await self._renew(due[start : start + BATCH])
                except DatabaseDown as error:
                    # Tokens keep flowing until the self-fence; the same events are offered again.
                    _log.warning("checkpoint put off", action="checkpoint", error=error.detail)
                    await asyncio.sleep(0.5)
                except Exception:
                    _log.exception("checkpoint failed", action="checkpoint")
                    await asyncio.sleep(1)

    def _due(self, draft: Draft, now: float) -> _Part | None:
        waiting, fresh = now - draft.saved_at, len(draft.payloads) - draft.saved
        if (fresh or draft.pending) and (
            draft.strict
            or fresh >= self._policy.events
            or self._beat(draft, now, waiting)
            or draft.size - draft.saved_size >= FULL_BYTES
        ):
            return _Part.of(draft, now)
        if waiting >= self._policy.heartbeat:
            return _Part.of(draft, now)
        return None

    def _beat(self, draft: Draft, now: float, waiting: float) -> bool:
        """Whether the common beat has come since this draft was saved; one saved just before waits for the next."""
        seconds = self._policy.seconds
        return now // seconds > draft.saved_at // seconds and waiting >= seconds / 4

    async def _renew(self, parts: list[_Part]) -> None:
        """One transaction for all of them, composed and run off the loop."""
        loop = asyncio.get_running_loop()
        held = await loop.run_in_executor(self._executor, lambda: self._leases.renew([p.packed() for p in parts]))
        for part in parts:
            draft = part.draft
            if draft not in self._drafts:
                continue  # it left meanwhile; its run may hold the lease of the next revision
            if draft.claimed.lease.generation_id not in held:
                draft.lost(LeaseLost(draft.claimed.lease.generation_id))
                continue
            if part.end > draft.saved:
                draft.saved, draft.saved_size = part.end, part.size
            draft.proven_at = draft.saved_at = part.at
            if draft.acked < draft.sendable:
                self._outbox.touch(draft)
