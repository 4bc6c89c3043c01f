"""The choice of a target for each call, with the breakers, and the report of how the call ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

import structlog

from app.domain.attempts import Attempt
from app.domain.breaker import CallResult, Refusal
from app.domain.errors import DatabaseDown
from app.ops import metrics
from app.services.leases import Leases
from worker.blocking import Blocking
from worker.providers.base import ProviderError
from worker.retry_policy import LONGEST_PAUSE, Rules, pause
from worker.run_state import RunState
from worker.shared_breakers import SharedBreakers
from worker.target_call import Candidate, TargetCall
from worker.targets import after_failure, failures_of, in_order, is_targets_fault

# Pauses before breakers that admitted no call are asked again, in seconds: a probe may have closed one meanwhile.
LOOK_SECONDS = 1.0

_log = structlog.get_logger()


class TargetChoice:
    """Chooses the target of each call. Breakers are asked for models with several targets only."""

    def __init__(self, blocking: Blocking, leases: Leases, breakers: SharedBreakers, rules: Rules) -> None:
        self._blocking = blocking
        self._leases = leases
        self._breakers = breakers
        self.rules = rules
        self._reports: set[asyncio.Future[None]] = set()

    async def first(self, run: RunState, found: Sequence[Candidate]) -> TargetCall:
        """The call of a revision that begins. Raises ProviderError when no breaker admits one in time."""
        call, run.next_call = run.next_call, None
        if call is not None:
            return call
        if len(found) == 1:
            return TargetCall(found[0])
        return await self._wait_for(run, in_order(found, run.all_attempts, run.target))

    async def following(
        self, run: RunState, found: Sequence[Candidate], failed: TargetCall, error: ProviderError
    ) -> TargetCall | None:
        """The call after a failed one: the next target at once, or one of those that failed, after a pause.

        None when the answer has failed. The failed call is in the attempts, and reported.
        """
        made = [attempt for attempt in run.all_attempts if attempt["outcome"] != "finished"]
        allowed = after_failure(found, failed.key, made, error, self.rules)
        if not allowed:
            return None
        fresh = [one for one in allowed if not failures_of(one.key, made)]
        if fresh:
            call = await self._admit(fresh)
            if isinstance(call, TargetCall):
                return call
        is_same = allowed[0].key == failed.key
        seconds = pause(error if is_same else _elsewhere(error), len(made))
        self._begin(self._note_pause(run, error, seconds))
        with run.waiting():
            await asyncio.sleep(seconds)
        if len(found) == 1:
            return TargetCall(found[0])
        with suppress(ProviderError):
            return await self._wait_for(run, allowed)
        return None

    async def take_note(self, run: RunState, call: TargetCall, found: Sequence[Candidate]) -> None:
        """Store the target of the call that begins, unless it is the one that is stored: a takeover keeps to it."""
        before = run.target or found[0].key
        run.target = call.key
        if call.key == before:
            return
        metrics.FAILOVERS.labels(before).inc()
        _log.info("answer passed to another target", action="failover", left=before, target=call.key)
        # Without it a takeover begins with another target, whose name lost calls get.
        note = partial(self._leases.note_target, run.claimed.lease, call.key, run.all_attempts)
        with suppress(DatabaseDown):
            await self._blocking.run_blocking(note)

    async def _note_pause(self, run: RunState, error: ProviderError, seconds: float) -> None:
        """Store the pause before the next attempt, for the user who waits. The pause does not wait for it."""
        lease, attempt = run.claimed.lease, len(run.all_attempts) + 1
        with suppress(DatabaseDown):
            await self._blocking.run_blocking(partial(self._leases.note_pause, lease, error.code, attempt, seconds))

    def report(self, call: TargetCall, attempt: Attempt, error: ProviderError | None) -> asyncio.Future[None] | None:
        """Report an ended call in the background. The future is done when the breakers know; None without a report."""
        metrics.ATTEMPTS.labels(call.key, attempt["outcome"]).inc()
        if error is None and call.admission is None and not self._breakers.has_failures(call.key):
            return None
        result: CallResult = "failed" if error is not None and is_targets_fault(error) else "ok"
        if error is not None and error.code == "generation_timeout":
            result = "released"
        return self._report(call, result, error.retry_after if error else None)

    def release(self, call: TargetCall) -> None:
        """Report a call that was interrupted from here: a probe makes room for another one."""
        if call.admission is not None and call.admission.is_probe:
            self._report(call, "released", None)

    def _report(self, call: TargetCall, result: CallResult, retry_after: float | None) -> asyncio.Future[None]:
        work = partial(self._breakers.report, call.key, result, call.admission, retry_after)
        return self._begin(self._blocking.run_for_redis(work))

    def _begin(self, work: Awaitable[None]) -> asyncio.Future[None]:
        """Begin something that nothing has to wait for."""
        future = asyncio.ensure_future(work)
        self._reports.add(future)
        future.add_done_callback(self._reports.discard)
        return future

    async def _wait_for(self, run: RunState, ordered: Sequence[Candidate]) -> TargetCall:
        """The first call that a breaker admits, within LONGEST_PAUSE. Raises ProviderError when none does."""
        until = monotonic() + LONGEST_PAUSE
        while True:
            call = await self._admit(ordered)
            if isinstance(call, TargetCall):
                return call
            if monotonic() >= until:
                raise ProviderError(
                    "upstream_unavailable", "All upstreams of this model have failed a moment ago.", retryable=False
                )
            with run.waiting():
                await asyncio.sleep(min(LOOK_SECONDS, call.seconds))

    async def _admit(self, ordered: Sequence[Candidate]) -> TargetCall | Refusal:
        keys = [one.key for one in ordered]
        admitted = await self._blocking.run_for_redis(partial(self._breakers.admit, keys))
        if isinstance(admitted, Refusal):
            return admitted
        return TargetCall(ordered[keys.index(admitted.key)], admitted)


def _elsewhere(error: ProviderError) -> ProviderError:
    """The error without its Retry-After: another target is called than the one that asked for a pause."""
    return ProviderError(error.code, error.message, retryable=error.retryable)
