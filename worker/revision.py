"""One revision of an answer: the takeover of the earlier text, the calls of the provider, and the end."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from time import monotonic

import structlog

from app.domain import attempts
from app.domain.errors import InvalidInput
from app.ops import metrics
from app.services.finishing import Ending
from app.services.takeover import Frozen
from app.store.model_configs import Model
from app.wiring import Resources
from worker.blocking import Blocking
from worker.draft import Draft
from worker.drafts import LARGE_BYTES, Drafts
from worker.log_access import LogAccess
from worker.outcome import Outcome
from worker.provider_calls import ProviderCalls, failure
from worker.providers.registry import Providers, UnknownProvider
from worker.retry_policy import Rules, exhausted, gone, unconfigured
from worker.run_state import Draining, OutOfReach, RunState
from worker.target_call import Candidate
from worker.targets import candidates
from worker.toolbox import Kept

# How long a finished answer waits for Redis to take its end, in seconds; readers find it in PostgreSQL otherwise.
FINISH_SECONDS = 2.0
# So many answers of more than LARGE_BYTES are ended at the same time: their text is copied some five times.
LARGE_AT_ONCE = 1

_log = structlog.get_logger()


class Revisions:
    """Makes revisions of the answers of a process."""

    def __init__(
        self,
        resources: Resources,
        blocking: Blocking,
        log_access: LogAccess,
        drafts: Drafts,
        provider_calls: ProviderCalls,
        providers: Providers,
        rules: Rules,
    ) -> None:
        self._resources = resources
        self._blocking = blocking
        self._log_access = log_access
        self._drafts = drafts
        self._provider_calls = provider_calls
        self._providers = providers
        self._rules = rules
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def make(self, run: RunState) -> bool:
        """Make one revision of an answer. True when the answer has ended, False when another revision has to go on.

        Raises LeaseLost after a takeover, OutOfReach when another worker may see more of the log, Draining.
        """
        if run.claimed.cancelled:
            await self._finish_cancel(run)
            return True
        frozen = await self._freeze(run)
        draft = Draft(
            run.claimed,
            self._resources.log.keys(run.claimed.lease.generation_id),
            frozen.transcript,
            run.interrupt,
            proven_at=run.proven_at,
            opened=frozen.opened,
            strict=self._rules.strict,
        )
        with self._drafts.entered(draft):
            try:
                ending = await self._answer(run, draft)
                if ending is not None:
                    await self._finish(run, draft, ending)
                return ending is not None
            except Draining:
                await self._drafts.save_last(draft)
                # A call whose run the upstream keeps is not over: the next worker goes on with it.
                is_open = run.is_calling or draft.transcript.calls > len(run.all_attempts)
                if run.upstream_run is None and is_open:
                    run.attempts.append(_released(run, draft))
                raise

    async def _finish_cancel(self, run: RunState) -> None:
        """End an answer whose cancel another process did not finish. Raises OutOfReach."""
        generations, timeout = self._resources.generations, self._log_access.redis_timeout
        finish = partial(generations.finish_cancel, run.claimed, timeout, must_read=run.others_first)
        if not await self._blocking.retry_while_db_down(run, finish, may_wait_for_redis=True):
            self._log_access.note(was_read=False)
            raise OutOfReach
        self._provider_calls.runs.cancel(run.claimed.upstream_run)

    def leave(self, run: RunState) -> None:
        """Cancel the run that the last call of an answer has at its upstream: another process has ended the answer."""
        self._provider_calls.runs.cancel(run.upstream_run)

    async def _freeze(self, run: RunState) -> Frozen:
        """Close the earlier revisions and read their events. Raises LeaseLost, OutOfReach."""
        # The log of an earlier revision is waited for unless Redis is known to be away.
        freeze = partial(self._resources.takeover.freeze, run.claimed, self._log_access.redis_timeout)
        frozen = await self._blocking.retry_while_db_down(run, freeze, may_wait_for_redis=True)
        self._log_access.note(was_read=frozen.read)
        if not frozen.read and run.others_first:
            raise OutOfReach
        elapsed = run.claimed.elapsed + monotonic() - run.claimed_at
        said, made = frozen.transcript, run.all_attempts
        lost = attempts.unrecorded(made, frozen.calls, said, "lost", elapsed, frozen.input_tokens)
        run.attempts += attempts.at_target(lost, frozen.target)
        for attempt in lost:
            run.trace.event("lost", ATTEMPT=attempt["attempt"], TARGET=frozen.target)
        return frozen

    async def _answer(self, run: RunState, draft: Draft) -> Ending | None:
        """Decide what this revision has to do, and do it: how the answer ends. None: another revision has to go on."""
        said = draft.transcript
        kept = Kept(said.text, said.reasoning)
        if said.mark:
            # The provider had finished; only the commit was missing. The mark is repeated for another takeover.
            mark = said.mark
            self._provider_calls.open_with(draft, "takeover", kept, said.attempt)
            draft.add(mark)
            return Ending("completed", mark.finish_reason, mark.usage)
        if error := exhausted(run.claimed, self._rules):
            self._provider_calls.open_with(draft, "takeover", kept, said.attempt)
            return failure(run, error)
        try:
            model, found = await self._configured(run)
        except (InvalidInput, LookupError) as error:
            self._provider_calls.open_with(draft, "takeover" if said.text else "start", kept, said.attempt)
            model_name = run.claimed.model
            reason = unconfigured(model_name, error) if isinstance(error, UnknownProvider) else gone(model_name)
            return failure(run, reason)
        return await self._provider_calls.answer(run, draft, model, found)

    async def _configured(self, run: RunState) -> tuple[Model, tuple[Candidate, ...]]:
        """The configuration under which the answer was accepted, and its targets. Raises InvalidInput, LookupError."""
        accepted = partial(self._resources.model_catalog.accepted, run.claimed.model, run.claimed.model_version)
        model = await self._blocking.retry_while_db_down(run, accepted)
        return model, candidates(model.all_targets, self._providers.get)

    async def _finish(self, run: RunState, draft: Draft, ending: Ending) -> None:
        """Commit the end, then send ``done``."""
        draft.seal()
        ending = replace(ending, first_token_age=draft.first_token_age(monotonic()))
        finish = partial(
            self._resources.finisher.finish, run.claimed, draft.payloads, draft.transcript, ending, run.attempts
        )
        # A large answer exists several times while its end is written.
        async with self._large if draft.size > LARGE_BYTES else nullcontext():
            done = await self._blocking.retry_while_db_down(run, finish, may_wait_for_redis=True)
        seconds = round(monotonic() - run.began, 3)
        events = len(draft.payloads)
        _log.info("generation ended", action="finish", status=ending.status, events=events, seconds=seconds)
        _count(run, ending)
        if ending.status == "error":
            self._provider_calls.runs.cancel(run.claimed.upstream_run)
        run.outcome = Outcome(ending.status, ending.error["code"] if ending.error else None)
        await self._drafts.outbox.finish(draft, done, FINISH_SECONDS)


def _released(run: RunState, draft: Draft) -> attempts.Attempt:
    """The record of a call that is given back in the middle."""
    said, seconds = draft.transcript, monotonic() - run.claimed_at
    number = len(run.all_attempts) + 1
    made = attempts.unfinished(number, said, "released", run.claimed.lease.epoch, seconds, run.input_tokens)
    return {**made, "target": run.target}


def _count(run: RunState, ending: Ending) -> None:
    """Add an ended generation to the metrics."""
    run.trace.ended(ending, run.age, run.target)
    metrics.GENERATIONS_FINISHED.labels(ending.status).inc()
    metrics.GENERATION_SECONDS.labels(ending.status).observe(run.age)
    if ending.error:
        metrics.ERRORS.labels(ending.error["code"]).inc()
