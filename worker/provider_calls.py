"""The calls of a provider in one revision: retried, continued after tool calls, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

import structlog

from app.domain import attempts
from app.domain.events import Mark, Snapshot, SnapshotReason
from app.services.finishing import Ending
from app.store.model_configs import UNCONFIGURED, Model
from worker import answer_format, continued, toolbox, upstream_runs
from worker.attempts import ended, prompt_tokens
from worker.draft import Draft
from worker.drafts import Drafts
from worker.limits import Limits
from worker.listener import Listener
from worker.prompt_messages import PromptMessages
from worker.providers.base import (
    ChatMessage,
    Finished,
    KnownRun,
    Prompt,
    ProviderError,
    ToolDelta,
    Usage,
    function_names,
)
from worker.providers.chat.history import normal
from worker.retry_policy import broken, plan
from worker.run_state import RunState
from worker.target_call import Candidate, TargetCall
from worker.target_choice import TargetChoice
from worker.targets import shows
from worker.titles import Titler
from worker.tool_rounds import ToolRounds
from worker.toolbox import Kept, ProviderRequest, Toolbox
from worker.upstream_runs import UpstreamRuns

_log = structlog.get_logger()


class ProviderCalls:
    """Calls providers for the revisions of a process."""

    def __init__(
        self,
        messages: PromptMessages,
        drafts: Drafts,
        runs: UpstreamRuns,
        toolbox: Toolbox,
        titler: Titler,
        limits: Limits,
        targets: TargetChoice,
    ) -> None:
        self._messages = messages
        self._earlier = messages.earlier
        self._drafts = drafts
        self.runs = runs
        self._toolbox = toolbox
        self._rounds = ToolRounds(drafts, toolbox)
        self._titler = titler
        self._limits = limits
        self._rules = targets.rules
        self._targets = targets

    async def answer(self, run: RunState, draft: Draft, model: Model, found: Sequence[Candidate]) -> Ending | None:
        """Open the revision and call targets until the answer ends. None: another revision has to go on.

        Raises the reason of an interruption.
        """
        try:
            return await self._answer(run, draft, model, found)
        finally:
            self._messages.release(run)

    async def _answer(self, run: RunState, draft: Draft, model: Model, found: Sequence[Candidate]) -> Ending | None:
        """See ``answer``."""
        try:
            target = await self._targets.first(run, found)
        except ProviderError as error:
            said = draft.transcript
            reason: SnapshotReason = "takeover" if shows(said) else "start"
            self.open_with(draft, reason, Kept(said.text, said.reasoning), said.attempt)
            return failure(run, error)
        try:
            request = await self._open(run, draft, model, target, found)
        except BaseException as error:
            self._targets.release(target)
            if isinstance(error, ProviderError) and draft.payloads:
                return failure(run, error)
            raise
        while True:
            began = monotonic()
            try:
                finished, deltas = await self._traced_call(run, draft, model, target, request)
            except ProviderError as error:
                draft.seal()
                _warn(error, target.key)
                await self._record(run, model, target, began, error.usage, error)
                await self.runs.abandon(run, error)
                following = await self._targets.following(run, found, target, error)
                if following is None:
                    return failure(run, error)
                is_other = following.key != target.key
                run.trace.event("failover" if is_other else "retry", ERROR_TYPE=error.code, TARGET=following.key)
                if run.is_visible or request.known or (is_other and shows(draft.transcript)):
                    # Readers saw something: a new revision, built from the stores, shows how the answer goes on.
                    run.next_call = following
                    await self._drafts.save(run, draft)
                    return None
                target = following
                if is_other:
                    request = self._request(run, draft, model, target, request.said)
                    await self._targets.take_note(run, target, found)
                continue
            await self._record(run, model, target, began, finished.usage, None)
            run.upstream_run = None
            calls = toolbox.named(deltas, draft.transcript.tools)
            ours = [call for call in calls if call.tool in request.ours]
            await self._rounds.run(run, draft, ours, request.may_call)
            if calls and len(ours) == len(calls) and request.may_call:
                request = request.with_results(draft.transcript)
                continue
            for call in calls:
                if call not in ours:
                    draft.add(call)
            usage = attempts.total_usage(run.all_attempts)
            draft.add(Mark(finished.finish_reason, usage))
            self._drafts.outbox.touch(draft)
            return Ending("completed", finished.finish_reason, usage)

    def open_with(self, draft: Draft, reason: SnapshotReason, kept: Kept, attempt: int) -> None:
        """Add the first event of the revision: the text so far, and why there is a new revision."""
        draft.add(Snapshot(kept.text, reason, attempt, kept.reasoning))
        self._drafts.outbox.touch(draft)

    async def _open(
        self, run: RunState, draft: Draft, model: Model, target: TargetCall, found: Sequence[Candidate]
    ) -> ProviderRequest:
        """Open the revision with the text that is kept, and make the first request.

        Raises ProviderError when no provider may be called, or a file of the prompt cannot be read.
        """
        said, provider = draft.transcript, target.candidate.provider
        is_other = target.key != (run.target or found[0].key)
        self.runs.cancel(upstream_runs.unfinished(run.claimed, said) if is_other else None)
        parameters = _parameters(run, model, target)
        ours = self._toolbox.ours(model.tools, parameters)
        wanted = answer_format.take(parameters)
        policy = answer_format.policy(wanted, target.candidate, model.on_interruption or self._rules.on_interruption)
        called = list(said.tools.values())
        known = None if is_other else self.runs.known(run, said, target.candidate.target.upstream, provider)
        reason: SnapshotReason | None
        if known is not None:
            reason, kept = upstream_runs.reason(said), Kept(said.text, said.reasoning)
        elif any(call.tool in ours for call in called):
            reason, kept = toolbox.plan(said, provider, policy)
        else:
            reason = plan(said, provider, policy)
            called, kept = [], Kept(said.text, said.reasoning) if reason == "continue" else Kept()
        correction = answer_format.correction(wanted, run.all_attempts, said.text)
        if answer_format.is_wrong(run.all_attempts) and known is None:
            reason, kept = "restart", Kept()
        kept = await self._earlier.before(run, kept)
        attempt = len(run.all_attempts) + 1
        if reason is None:
            self.open_with(draft, "takeover", Kept(said.text, said.reasoning), attempt - 1)
            raise broken()
        # Before the log shows the call: a takeover names its target.
        await self._targets.take_note(run, target, found)
        self.open_with(draft, "failover" if is_other and shows(said) else reason, kept, attempt)
        for call in toolbox.settled(called):
            draft.add(call)
        # Instructions for this answer only: no part of the conversation, and no parameter of an upstream.
        system = (model.system_prompt, parameters.get("instructions"))
        messages = await self._messages.read(run, model, system)
        return self._request(run, draft, model, target, (*messages, *correction), known)

    def _request(
        self,
        run: RunState,
        draft: Draft,
        model: Model,
        target: TargetCall,
        messages: tuple[ChatMessage, ...],
        known: KnownRun | None = None,
    ) -> ProviderRequest:
        """The request to a target for the answer so far."""
        parameters = _parameters(run, model, target)
        parameters.pop("instructions", None)
        ours = self._toolbox.ours(model.tools, parameters)
        wanted = answer_format.take(parameters)
        before, prefix = toolbox.replay(draft.transcript)
        if known is not None:
            prefix = prefix[: len(prefix) - len(known.text)]  # what the run was begun with
        before, prefix = continued.for_provider(target.candidate.provider, before, prefix)
        offered = self._toolbox.offer(ours, parameters)
        chosen = target.candidate.target
        names = function_names(offered)
        asked = normal(messages, names)
        prompt = Prompt(chosen.name, normal((*asked, *before), names), offered, prefix, wanted)
        return ProviderRequest(prompt, asked, ours, chosen.upstream, known)

    async def _record(
        self,
        run: RunState,
        model: Model,
        target: TargetCall,
        began: float,
        usage: Usage | None,
        error: ProviderError | None,
    ) -> None:
        """Record the call that has just ended. The breakers know a failure when this returns."""
        run.record(made := ended(run, model.name, target.key, began, usage, error))
        if model.version == UNCONFIGURED:
            return  # anybody may choose such a name: it has no breaker and no metric
        reported = self._targets.report(target, made, error)
        if error is not None and reported is not None:
            with run.waiting():
                await asyncio.shield(reported)

    async def _traced_call(
        self, run: RunState, draft: Draft, model: Model, target: TargetCall, request: ProviderRequest
    ) -> tuple[Finished, list[ToolDelta]]:
        """Receive a reply to its end and check its form. Raises what ``_call`` and ``_verify`` raise."""
        number, text = len(run.all_attempts) + 1, ""
        with run.trace.calling(request, number, is_configured=model.version != UNCONFIGURED) as call:
            before = len(draft.transcript.text) if call.captures_content else 0
            run.on_chunk = call.chunk if call.is_measured else None
            finished, deltas = await self._call(run, draft, target, request)
            await self._verify(run, draft, request, finished, deltas)
            if call.captures_content:
                draft.seal()
                text = draft.transcript.text[before:]
            call.finished(finished, text)
        return finished, deltas

    async def _call(
        self, run: RunState, draft: Draft, target: TargetCall, request: ProviderRequest
    ) -> tuple[Finished, list[ToolDelta]]:
        """Receive a reply to its end. Its last piece and its tool calls. Raises ProviderError, LeaseLost, Draining."""
        provider = target.candidate.provider
        listener = Listener(
            run,
            draft,
            self._limits,
            self._drafts.outbox,
            self._drafts.buffer,
            lambda: self._titler.begin(run, request.upstream, request.prompt.model, provider),
        )
        run.is_visible, run.is_calling = False, True
        run.waiting_since = run.called_at = monotonic()
        run.said_chars, run.input_tokens = 0, prompt_tokens(request.prompt)
        try:
            with run.waiting():
                await self.runs.call(run, draft, provider, request, listener.receive)
        except ProviderError:
            raise
        except BaseException:
            self._targets.release(target)
            raise
        finally:
            run.waiting_since, run.resting, run.on_chunk = None, False, None
        if listener.finished is None:
            raise ProviderError("upstream_truncated", "The model's answer ended early.", retryable=True)
        return listener.finished, listener.calls.whole()

    async def _verify(
        self, run: RunState, draft: Draft, request: ProviderRequest, finished: Finished, deltas: Sequence[ToolDelta]
    ) -> None:
        """Check the form of an answer that is whole. Raises ProviderError, and the reason of an interruption."""
        wanted = request.prompt.answer_format
        if wanted is None or draft.transcript.refused or request.goes_on(deltas):
            return
        draft.seal()
        with run.waiting():
            await answer_format.verify(wanted, finished, draft.transcript.text, self._rules.most_schema_steps)


def failure(run: RunState, error: ProviderError) -> Ending:
    """The end of an answer that failed, with the usage of all its calls."""
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    told = {"upstream_status": error.upstream_status, "retry_after": error.retry_after}
    body |= {name: value for name, value in told.items() if value is not None}
    return Ending("error", error.finish_reason, attempts.total_usage(run.all_attempts), body)


def _parameters(run: RunState, model: Model, target: TargetCall) -> dict[str, Any]:
    """The parameters for a target. Those of the request replace those of the target, which replace the model's."""
    return {**model.parameters, **target.candidate.target.parameters, **continued.given(run.claimed.parameters)}


def _warn(error: ProviderError, target: str) -> None:
    detail = error.message[:300]
    _log.warning("provider failed", action="provider_error", code=error.code, target=target, detail=detail)
