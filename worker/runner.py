"""One generation from claim to end. Free of Celery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic, time_ns

import structlog
from structlog.contextvars import bind_contextvars

from app.domain.errors import DatabaseDown, LeaseLost
from app.domain.lease import Claimed
from app.ops import metrics
from app.services.leases import Leases
from worker.blocking import Blocking, timed
from worker.buffer import Buffer
from worker.generation_trace import FAILED, GenerationTraces
from worker.log_access import LogAccess
from worker.log_ids import log_ids
from worker.outcome import HANDED_ON, NOT_CLAIMED, TAKEN_OVER, Outcome
from worker.retry_policy import Deadlines, overdue
from worker.revision import Revisions
from worker.run_state import Draining, OutOfReach, RunState

# How long a worker looks for the end of a generation that was taken from it, in seconds.
FATE_SECONDS = 2.0

# The ends that another process writes without the provider.
_ENDED_BY_OTHERS = frozenset({"cancelled", "deleted", "error"})

_log = structlog.get_logger()


def nothing(claimed: Claimed) -> None:
    """Do nothing about a claim."""


class Runner:
    """Runs the generations of a process on its loop. ``hand_on`` sends a doorbell to other workers."""

    def __init__(
        self,
        leases: Leases,
        blocking: Blocking,
        revisions: Revisions,
        log_access: LogAccess,
        buffer: Buffer,
        deadlines: Deadlines,
        traces: GenerationTraces,
        hand_on: Callable[[str], None],
    ) -> None:
        self._leases = leases
        self._blocking = blocking
        self._revisions = revisions
        self._log_access = log_access
        self._buffer = buffer
        self._deadlines = deadlines
        self._traces = traces
        self._hand_on = hand_on
        self._runs: set[RunState] = set()
        self._claiming = 0
        self._draining = asyncio.Event()
        self._paused = False

    @property
    def running(self) -> int:
        """The number of generations at work."""
        return len(self._runs)

    @property
    def is_idle(self) -> bool:
        """True when no generation is at work or being claimed."""
        return not self._runs and not self._claiming

    def pause(self) -> None:
        """Claim no generation; those at work go on."""
        self._paused = True

    def resume(self) -> None:
        """Claim generations again."""
        self._paused = False

    def hand_over(self, most: int) -> list[str]:
        """Give up to ``most`` generations back, so that other workers continue them; the ids of their conversations."""
        given = [run for run in self._runs if not run.is_interrupted][: max(most, 0)]
        for run in given:
            run.interrupt(Draining())
        return [run.claimed.conversation_id for run in given]

    async def run(self, generation_id: str, on_claim: Callable[[Claimed], None] = nothing) -> Outcome:
        """Claim the generation whose turn it is and bring it to its end; return at once when none may begin.

        The generation that the doorbell names is claimed when its turn has come, or when its worker has gone.
        ``on_claim`` is called with the one that begins; it must not block.
        """
        if self._draining.is_set() or self._paused:
            self._send_doorbell(generation_id, "handed_on")  # the broker gave it to a worker that drains
            return HANDED_ON
        delay, began = self._log_access.takeover_delay, time_ns()
        asked_at, claimed = await self._claim(generation_id, delay)
        if claimed is None:
            return NOT_CLAIMED
        # Of this asyncio task, and of its calls in threads: every line of the generation has these.
        bind_contextvars(**log_ids(claimed))
        _log.info("generation claimed", action="claim", epoch=claimed.lease.epoch, tries=claimed.tries)
        _count_claim(claimed)
        on_claim(claimed)
        run = RunState(claimed, self._traces.claimed(claimed, began), asked_at=asked_at, hesitated=delay > 0)
        self._runs.add(run)
        if self._draining.is_set():
            run.interrupt(Draining())  # the worker began to leave while the claim was on its way
        outcome = FAILED
        try:
            ended = await self._bring_to_end(run)
            outcome = ended.status
            return ended
        finally:
            self._runs.discard(run)
            run.trace.close(outcome)

    async def drain(self) -> None:
        """Give every generation back; none is claimed any more."""
        self._draining.set()
        for run in list(self._runs):
            run.interrupt(Draining())
        while self._runs or self._claiming:
            await asyncio.sleep(0.02)

    def watch(self) -> None:
        """Interrupt the providers that have been silent for too long. Called some times a second."""
        now = monotonic()
        self._buffer.resume()
        for run in self._runs:
            if error := overdue(run, now, self._deadlines):
                run.interrupt(error)

    async def _claim(self, doorbell: str, delay: float) -> tuple[float, Claimed | None]:
        """Claim what a doorbell leads to, with the monotonic time before the claim.

        A doorbell that served for another generation is sent once more.
        """
        claim = partial(timed, partial(self._leases.claim_next, doorbell, delay))
        self._claiming += 1
        try:
            asked_at, (claimed, is_owed) = await self._blocking.run_blocking(claim)
        finally:
            self._claiming -= 1
        if is_owed:
            self._send_doorbell(doorbell, "owed")
        return asked_at, claimed

    def _send_doorbell(self, generation_id: str, reason: str) -> None:
        metrics.DOORBELLS_AGAIN.labels(reason).inc()
        self._hand_on(generation_id)

    async def _bring_to_end(self, run: RunState) -> Outcome:
        """Make revisions until one of them ends the generation, or until another worker has to go on."""
        log = _log.bind(epoch=run.claimed.lease.epoch)
        try:
            while not await self._revisions.make(run):
                advance = partial(self._leases.advance, run.claimed.lease, run.all_attempts, run.target)
                asked_at, claimed = await self._blocking.retry_while_db_down(run, partial(timed, advance))
                run.advance(claimed, asked_at)
            return run.outcome
        except LeaseLost:
            log.info("generation taken over", action="fenced")
            run.trace.event("fenced")
            metrics.FENCED.inc()
            fate = await self._fate(run.claimed.lease.generation_id)
            if fate.status in _ENDED_BY_OTHERS:
                self._revisions.leave(run)
            return fate
        except OutOfReach:
            await self._leave(run)
            return HANDED_ON
        except Draining:
            await self._give_back(run)
            return HANDED_ON
        except Exception:
            log.exception("run failed", action="run")
            raise

    async def _fate(self, generation_id: str) -> Outcome:
        """The end of a generation that was taken from this worker; it is written some time after the takeover."""
        until = monotonic() + FATE_SECONDS
        while monotonic() < until and not self._draining.is_set():
            with suppress(DatabaseDown):
                if fate := await self._blocking.run_blocking(partial(self._leases.fate, generation_id)):
                    return Outcome(*fate)
            await asyncio.sleep(0.1)
        return TAKEN_OVER

    async def _give_back(self, run: RunState) -> None:
        """Release the lease and send a doorbell to another worker. Without PostgreSQL the lease expires."""
        lease = run.claimed.lease
        with suppress(DatabaseDown):
            release = partial(self._leases.release, lease, run.all_attempts, run.target)
            if await self._blocking.run_blocking(release):
                self._send_doorbell(lease.generation_id, "handed_on")

    async def _leave(self, run: RunState) -> None:
        """Leave the generation to workers that may see more of its log. Without PostgreSQL the lease expires."""
        _log.warning("generation given back, Redis is out of reach", action="leave")
        with suppress(DatabaseDown):
            await self._blocking.run_after_renewals(partial(self._leases.leave, run.claimed.lease))


def _count_claim(claimed: Claimed) -> None:
    """Add a claim to the metrics. ``age`` is that of the claim, so only a first one shows the wait for a worker."""
    if claimed.lease.epoch > 1:
        metrics.CLAIMS.labels("later").inc()
        metrics.TAKEOVERS.inc()
    else:
        metrics.CLAIMS.labels("first").inc()
        metrics.CLAIM_SECONDS.observe(claimed.age)
