"""One generation from claim to end: provider, log, checkpoint. Free of Celery."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TypeVar

import structlog

from app.domain import attempts
from app.domain.errors import DatabaseDown, InvalidInput, LeaseLost
from app.domain.events import Mark, Snapshot, SnapshotReason, Tool
from app.eventlog.log import RedisLog
from app.ops import metrics
from app.services.catalogue import Catalogue
from app.services.finishing import Ending, Finisher
from app.services.generations import Generations
from app.services.history import History
from app.services.leases import Leases
from app.services.takeover import Takeover
from app.store.leases import Claimed
from app.store.models import Model
from worker import toolbox
from worker.attempts import ended
from worker.checkpoint import Checkpointer
from worker.context import chat_messages
from worker.outbox import Draft, Outbox
from worker.policy import Deadlines, Rules, broken, exhausted, gone, may_retry, overdue, pause, plan
from worker.providers.base import (
    ChatMessage,
    Finished,
    Piece,
    Prompt,
    Provider,
    ProviderError,
    Text,
    Thought,
    ToolDelta,
    Usage,
)
from worker.providers.registry import Providers
from worker.run import Draining, OutOfReach, Run
from worker.titles import Titler
from worker.toolbox import Question, Toolbox

T = TypeVar("T")

# How long a finished generation waits for Redis to take the end; readers find it in PostgreSQL otherwise.
FINISH_PATIENCE = 2.0
# How long a leaving worker waits for Redis to take what was said.
SAVE_PATIENCE = 0.3
# How long a worker that could not read the log of another one comes last, unless it reads one meanwhile.
DOUBT_SECONDS = 60.0

_log = structlog.get_logger()


class Runner:
    """Runs the generations of a process on its loop."""

    def __init__(
        self,
        *,
        leases: Leases,
        takeover: Takeover,
        finisher: Finisher,
        generations: Generations,
        history: History,
        catalogue: Catalogue,
        log: RedisLog,
        titler: Titler,
        outbox: Outbox,
        checkpointer: Checkpointer,
        providers: Providers,
        tools: Toolbox,
        executor: Executor,
        patient: Executor,
        patience: float,
        hesitation: float,
        heartbeat: float,
        deadlines: Deadlines,
        rules: Rules,
        hand_on: Callable[[str], None],
    ) -> None:
        self._leases = leases
        self._takeover = takeover
        self._finisher = finisher
        self._generations = generations
        self._history = history
        self._catalogue = catalogue
        self._log = log
        self._titler = titler
        self._outbox = outbox
        self._checkpointer = checkpointer
        self._providers = providers
        self._toolbox = tools
        self._executor = executor
        self._patient = patient
        self._patience = patience
        self._hesitation = hesitation
        self._heartbeat = heartbeat
        self._deadlines = deadlines
        self._rules = rules
        self._hand_on = hand_on
        self._runs: set[Run] = set()
        self._claiming = 0
        self._doubts_until = 0.0  # after a takeover that could not read the log
        self._draining = asyncio.Event()

    @property
    def running(self) -> int:
        """How many generations are at work."""
        return len(self._runs)

    @property
    def late(self) -> float:
        """For how many seconds an expired lease is left to others.

        Who cannot reach Redis knows only the checkpoints, and would take back what readers saw since the last one.
        """
        sure = self._outbox.is_connected and monotonic() >= self._doubts_until
        return 0.0 if sure else self._hesitation

    async def run(self, generation_id: str) -> None:
        """Claim a generation and bring it to its end; return at once when there is nothing to claim."""
        if self._draining.is_set():
            self._hand_on(generation_id)  # the broker gave it to the one who leaves
            return
        self._claiming += 1
        late = self.late
        try:
            claimed = await self._do(lambda: self._leases.claim(generation_id, late))
        finally:
            self._claiming -= 1
        if claimed is None:
            return
        log = _log.bind(generation_id=generation_id, epoch=claimed.lease.epoch)
        log.info("generation claimed", action="claim", tries=claimed.tries)
        if claimed.lease.epoch > 1:
            metrics.TAKEOVERS.inc()
        run = Run(claimed, hesitated=late > 0)
        self._runs.add(run)
        if self._draining.is_set():
            run.interrupt(Draining())  # the claim was on its way when the worker was told to leave
        try:
            await self._bring_to_end(run)
        except LeaseLost:
            log.info("generation taken over", action="fenced")
            metrics.FENCED.inc()
        except OutOfReach:
            await self._leave(run)
        except Draining:
            await self._give_back(run)
        finally:
            self._runs.discard(run)

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
        for run in self._runs:
            if error := overdue(run, now, self._deadlines):
                run.interrupt(error)

    async def _bring_to_end(self, run: Run) -> None:
        """Revision after revision, until one of them ends the generation."""
        while not await self._revision(run):
            advance = partial(self._leases.advance, run.claimed.lease, run.all_attempts)
            run.advance(await self._insist(run, advance))

    async def _revision(self, run: Run) -> bool:
        """One revision; False when the next one has to go on."""
        claimed = run.claimed
        if claimed.cancelled:
            await self._insist(run, lambda: self._generations.finish_cancel(claimed), patiently=True)
            return True
        # While Redis is known to be away nobody waits for it again.
        patience = self._patience if self._outbox.is_connected else 0
        frozen = await self._insist(run, lambda: self._takeover.freeze(claimed, patience), patiently=True)
        self._doubts_until = 0.0 if frozen.read else monotonic() + DOUBT_SECONDS
        if not frozen.read and run.others_first:
            raise OutOfReach
        run.attempts += attempts.unrecorded(len(run.all_attempts), frozen.transcript, "lost")
        draft = Draft(
            claimed,
            self._log.keys(claimed.lease.generation_id),
            frozen.transcript,
            run.interrupt,
            opened=frozen.opened,
            strict=self._rules.strict,
        )
        self._outbox.enter(draft)
        self._checkpointer.enter(draft)
        try:
            return await self._answer(run, draft)
        except Draining:
            await self._save(draft)
            if draft.transcript.attempt > len(run.all_attempts):
                run.attempts.append(attempts.unfinished(draft.transcript.attempt, draft.transcript, "released"))
            raise
        finally:
            self._outbox.leave(draft)
            self._checkpointer.leave(draft)

    async def _answer(self, run: Run, draft: Draft) -> bool:
        """Decide what this revision has to do, and do it."""
        said = draft.transcript
        if said.mark:
            # The provider had finished; only the commit was missing. Said again, in case it will be once more.
            mark = said.mark
            self._open_with(draft, "takeover", said.text, said.attempt)
            draft.add(mark)
            return await self._finish(run, draft, Ending("completed", mark.finish_reason, mark.usage))
        if error := exhausted(run.claimed, self._rules):
            self._open_with(draft, "takeover", said.text, said.attempt)
            return await self._fail(run, draft, error)
        try:
            model = await self._insist(run, lambda: self._catalogue.find(run.claimed.model))
            provider = self._providers.get(model.provider)
        except (InvalidInput, LookupError):
            self._open_with(draft, "takeover" if said.text else "start", said.text, said.attempt)
            return await self._fail(run, draft, gone(run.claimed.model))
        return await self._ask(run, draft, model, provider)

    async def _ask(self, run: Run, draft: Draft, model: Model, provider: Provider) -> bool:
        """Call the provider, from where the reader is; False when another revision has to go on."""
        question = await self._begin(run, draft, model, provider)
        if question is None:
            return await self._fail(run, draft, broken())
        while True:
            began = monotonic()
            try:
                finished, asked = await self._listen(run, draft, provider, question.prompt)
            except ProviderError as error:
                draft.seal()
                run.attempts.append(_ended(run, draft, model, began, error.usage, error))
                _warn(run, error)
                # Calls that led to tools are no failures.
                failed = [made for made in run.all_attempts if made["outcome"] != "finished"]
                if not may_retry(failed, error, self._rules):
                    return await self._fail(run, draft, error)
                with run.waiting():
                    await asyncio.sleep(pause(error, len(run.attempts)))
                if run.heard:
                    # Something was shown: a new revision has to say how it goes on, and is built from the stores.
                    await self._keep(run, draft)
                    return False
                continue
            run.attempts.append(_ended(run, draft, model, began, finished.usage, None))
            calls = toolbox.named(asked, draft.transcript.tools)
            ours = [call for call in calls if call.tool in question.ours]
            await self._run_tools(run, draft, ours, question.may_call)
            if calls and len(ours) == len(calls) and question.may_call:
                question = question.again(draft.transcript)
                continue
            for call in calls:
                if call not in ours:
                    draft.add(call)
            usage = attempts.total_usage(run.all_attempts)
            draft.add(Mark(finished.finish_reason, usage))
            self._outbox.touch(draft)
            return await self._finish(run, draft, Ending("completed", finished.finish_reason, usage))

    async def _begin(self, run: Run, draft: Draft, model: Model, provider: Provider) -> Question | None:
        """Open the revision with what is kept, and what to ask then; None when nobody may be asked again."""
        said = draft.transcript
        parameters = {**model.parameters, **run.claimed.parameters}
        ours = self._toolbox.ours(model.tools, parameters)
        policy = model.on_interruption or self._rules.on_interruption
        called = list(said.tools.values())
        if any(call.tool in ours for call in called):
            reason, kept = toolbox.plan(said, provider, policy)
        else:
            reason = plan(said, provider, policy)
            called, kept = [], said.text if reason == "continue" else ""
        attempt = len(run.all_attempts) + 1
        if reason is None:
            self._open_with(draft, "takeover", said.text, attempt - 1)
            return None
        self._open_with(draft, reason, kept, attempt)
        for call in toolbox.settled(called):
            draft.add(call)
        # How to answer this time: not a part of the conversation, and nothing an upstream knows under this name.
        system = (model.system_prompt, parameters.pop("instructions", None))
        messages = await self._insist(run, lambda: self._messages(run.claimed, system), patiently=True)
        before, prefix = toolbox.replay(draft.transcript)
        prompt = Prompt(model.upstream_name, (*messages, *before), self._toolbox.offer(ours, parameters), prefix)
        return Question(prompt, messages, ours)

    async def _run_tools(self, run: Run, draft: Draft, calls: Sequence[Tool], wanted: bool) -> None:
        """Run what the model asked for, all at the same time, and have the results in PostgreSQL; or refuse it."""
        if not calls:
            return
        for call in calls:
            draft.add(call)
        self._outbox.touch(draft)
        # Nobody runs a call that whoever takes over would not know of.
        await self._keep(run, draft)
        run.check()
        if wanted:
            with run.waiting():
                results = await asyncio.gather(*map(self._toolbox.run, calls))
        else:
            results = [replace(call, state="failed", result=toolbox.TOO_MANY) for call in calls]
        for result in results:
            draft.add(result)
        self._outbox.touch(draft)
        await self._keep(run, draft)
        run.check()

    async def _listen(
        self, run: Run, draft: Draft, provider: Provider, prompt: Prompt
    ) -> tuple[Finished, list[ToolDelta]]:
        """Hear one answer to its end; the tool calls in it. Raises ProviderError, LeaseLost, Draining."""
        calls: dict[int, ToolDelta] = {}
        finished: Finished | None = None

        def hear(pieces: list[Piece]) -> None:
            """The token path: called by the socket."""
            nonlocal finished
            if not run.heard:
                run.heard = True
                self._titler.begin(run.claimed, prompt.model, provider)
            run.waiting_since = monotonic()
            for piece in pieces:
                if isinstance(piece, Text):
                    draft.say(piece.text, False)
                elif isinstance(piece, Thought):
                    draft.say(piece.text, True)
                elif isinstance(piece, ToolDelta):
                    calls[piece.index] = _join(calls.get(piece.index), piece)
                else:
                    finished = piece
            self._outbox.touch(draft)

        run.heard, run.waiting_since = False, monotonic()
        try:
            with run.waiting():
                await provider.stream(prompt, hear)
        finally:
            run.waiting_since = None
        if finished is None:
            raise ProviderError("upstream_truncated", "The model's answer ended early.", retryable=True)
        return finished, [calls[index] for index in sorted(calls)]

    def _open_with(self, draft: Draft, reason: SnapshotReason, text: str, attempt: int) -> None:
        """The first event of the revision: everything so far, and why there is a new revision."""
        reasoning = draft.transcript.reasoning if text else ""
        draft.add(Snapshot(text, reason, attempt, reasoning))
        self._outbox.touch(draft)

    def _messages(self, claimed: Claimed, system: Sequence[str | None]) -> tuple[ChatMessage, ...]:
        turns = self._history.context(claimed.conversation_id, claimed.user_message_id)
        return chat_messages(turns, system)

    async def _fail(self, run: Run, draft: Draft, error: ProviderError) -> bool:
        body = {"code": error.code, "message": error.message}
        return await self._finish(run, draft, Ending("error", "error", attempts.total_usage(run.all_attempts), body))

    async def _finish(self, run: Run, draft: Draft, ending: Ending) -> bool:
        """Commit the end, then say ``done``."""
        draft.seal()
        ending = replace(ending, first_token_age=draft.first_token_age(monotonic()))
        done = await self._insist(
            run,
            lambda: self._finisher.finish(run.claimed, draft.payloads, draft.transcript, ending, run.attempts),
            patiently=True,
        )
        _log.info(
            "generation ended",
            action="finish",
            generation_id=run.claimed.lease.generation_id,
            status=ending.status,
            events=len(draft.payloads),
            seconds=round(monotonic() - run.began, 3),
        )
        _count(run, ending)
        await self._outbox.finish(draft, done, FINISH_PATIENCE)
        return True

    async def _give_back(self, run: Run) -> None:
        """Release the lease and ring for another worker. Without PostgreSQL it runs out by itself."""
        lease = run.claimed.lease
        with suppress(DatabaseDown):
            if await self._do(lambda: self._leases.release(lease, run.all_attempts)):
                self._hand_on(lease.generation_id)

    async def _leave(self, run: Run) -> None:
        """Let others have it first, who may see what readers saw. Without PostgreSQL the lease runs out by itself."""
        _log.warning("log out of reach", action="leave", generation_id=run.claimed.lease.generation_id)
        with suppress(DatabaseDown):
            await self._do(lambda: self._leases.leave(run.claimed.lease))

    async def _save(self, draft: Draft) -> None:
        """Leave what was said in both stores."""
        await self._outbox.drain(draft, SAVE_PATIENCE)
        with suppress(DatabaseDown):
            await self._checkpointer.save(draft)

    async def _keep(self, run: Run, draft: Draft) -> None:
        """See all of a draft in PostgreSQL: when Redis loses its end now, nobody else has what readers saw."""
        while True:
            try:
                await self._checkpointer.save(draft)
                return
            except DatabaseDown:
                with run.waiting():
                    await asyncio.sleep(random.uniform(0.1, 0.3))

    async def _do(self, work: Callable[[], T]) -> T:
        """Run something that waits, off the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _do_patiently(self, claimed: Claimed, work: Callable[[], T]) -> T:
        """Run something that may wait for Redis, off the loop; the lease is kept meanwhile."""
        doing = asyncio.get_running_loop().run_in_executor(self._patient, work)
        while not (await asyncio.wait({doing}, timeout=self._heartbeat))[0]:
            with suppress(DatabaseDown):
                await self._do(lambda: self._leases.keep(claimed))
        return doing.result()

    async def _insist(self, run: Run, work: Callable[[], T], *, patiently: bool = False) -> T:
        """The same, again and again while PostgreSQL is away: the lease decides whether it still counts."""
        pause = 0.1
        while True:
            try:
                return await (self._do_patiently(run.claimed, work) if patiently else self._do(work))
            except DatabaseDown:
                with run.waiting():
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, 2.0)


def _warn(run: Run, error: ProviderError) -> None:
    _log.warning(
        "provider failed",
        action="provider_error",
        generation_id=run.claimed.lease.generation_id,
        code=error.code,
        detail=error.message[:300],
    )


def _count(run: Run, ending: Ending) -> None:
    """Tell Prometheus how a generation went."""
    age = run.claimed.age + monotonic() - run.began
    metrics.GENERATIONS_FINISHED.labels(ending.status).inc()
    metrics.GENERATION_SECONDS.labels(ending.status).observe(age)
    if ending.first_token_age is not None:
        metrics.FIRST_TOKEN_SECONDS.observe(age - ending.first_token_age)
    if ending.error:
        metrics.ERRORS.labels(ending.error["code"]).inc()


def _ended(
    run: Run, draft: Draft, model: Model, began: float, usage: Usage | None, error: ProviderError | None
) -> attempts.Attempt:
    """The record of the call that has just ended."""
    return ended(
        len(run.all_attempts) + 1,
        epoch=run.claimed.lease.epoch,
        model=model.name,
        seconds=monotonic() - began,
        visible=run.heard,
        said=draft.transcript.fresh,
        usage=usage,
        error=error,
    )


def _join(call: ToolDelta | None, delta: ToolDelta) -> ToolDelta:
    """A tool call with the next part of it."""
    if call is None:
        return delta
    return ToolDelta(
        call.index, call.call_id or delta.call_id, call.name or delta.name, call.arguments + delta.arguments
    )
