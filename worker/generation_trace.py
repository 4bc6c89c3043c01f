"""The trace of a generation in this worker: its claim, its calls, its end.

A span is sent when it has ended, so a killed worker loses those that have not. Therefore each revision has a short span
of its own, which ends at once and is the parent of everything in the revision: what a killed worker has sent is a part
of the tree. The id of that span follows from the generation and the epoch. So the worker of a takeover links to the
span of the epoch before, which it has never seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from time import monotonic

from app.domain.events import Tool
from app.domain.lease import Claimed, Lease
from app.domain.trace_context import SAMPLED, TraceContext
from app.domain.upstreams import Upstream
from app.services.finishing import Ending
from app.telemetry import names
from app.telemetry.current import current
from app.telemetry.spans import NO_SPAN, Span, SpanStart, Value
from worker.content import tool_content
from worker.model_call import CallFacts, ModelCall, model_call
from worker.providers.base import Prompt
from worker.toolbox import ProviderRequest
from worker.upstream_servers import UpstreamServer, servers

# The outcome of a try that an unexpected exception has ended.
FAILED = "failed"


class GenerationTraces:
    """Begins the traces of a worker's generations."""

    def __init__(self, worker: str, upstreams: Iterable[Upstream]) -> None:
        self.worker = worker
        self._servers = servers(upstreams)

    def claimed(self, claimed: Claimed, began: int) -> GenerationTrace:
        """The trace of a claim that began at this time, in nanoseconds since 1970, and has succeeded."""
        return GenerationTrace(self, claimed, began)

    def server(self, upstream: str) -> UpstreamServer:
        """The upstream of a target; a built-in model has no server."""
        return self._servers.get(upstream) or UpstreamServer(upstream)


class GenerationTrace:
    """The trace of one claim, to the end of the answer or to its loss. Without telemetry it does nothing."""

    def __init__(self, traces: GenerationTraces, claimed: Claimed, began: int) -> None:
        self._traces = traces
        self._telemetry = current()
        self._claimed = claimed
        # The parent of the calls: the span of the revision.
        self._parent: TraceContext | None = None
        self._try: Span = NO_SPAN
        if self._telemetry.is_on:
            self._begin("claim", claimed, claimed.trace, began)
            self._try = self._telemetry.span(SpanStart("try", parent=self._parent, attributes=self._facts(), at=began))

    def advanced(self, claimed: Claimed) -> None:
        """The worker goes on under the next epoch."""
        self._claimed = claimed
        if self._telemetry.is_on:
            self._begin("revision", claimed, self._parent, None)

    def event(self, name: str, **attributes: Value | None) -> None:
        """Add an event to the span of the try; an attribute is named by the constant of ``names`` in capitals."""
        if self._try.is_recording:
            found = {getattr(names, name): value for name, value in attributes.items() if value is not None}
            self._try.event(name, found)

    @contextmanager
    def calling(self, request: ProviderRequest, attempt: int, *, is_configured: bool) -> Iterator[ModelCall]:
        """A call of a provider; see model_call. ``attempt`` is its number."""
        facts = CallFacts(
            self._traces.server(request.upstream),
            request.prompt,
            self._claimed.conversation_id,
            is_configured,
            {**self._facts(), names.TARGET: f"{request.upstream}/{request.prompt.model}", names.ATTEMPT: attempt},
        )
        with model_call(self._parent, facts) as call:
            yield call

    @contextmanager
    def titling(self, upstream: str, prompt: Prompt) -> Iterator[ModelCall]:
        """The call that makes a title; see model_call."""
        attributes = {**self._facts(), names.TARGET: f"{upstream}/{prompt.model}", names.PURPOSE: "title"}
        conversation = self._claimed.conversation_id
        facts = CallFacts(self._traces.server(upstream), prompt, conversation, False, attributes)
        with model_call(self._parent, facts) as call:
            yield call

    @contextmanager
    def running(self, call: Tool) -> Iterator[list[Tool]]:
        """The run of a tool; the block adds the ended call to the list."""
        ended: list[Tool] = []
        if not self._telemetry.is_on:
            yield ended
            return
        began = monotonic()
        measured: dict[str, Value] = {names.OPERATION: names.EXECUTE_TOOL, names.TOOL_NAME: call.tool}
        facts = {**measured, **self._facts(), names.TOOL_TYPE: "function", names.TOOL_CALL_ID: call.call_id}
        span = self._telemetry.span(SpanStart(f"{names.EXECUTE_TOOL} {call.tool}", "internal", self._parent, facts))
        try:
            yield ended
        finally:
            if not ended:
                span.set({names.STATUS: "interrupted"})
            elif ended[0].state == "failed":
                span.fail("tool_failed")
                measured[names.ERROR_TYPE] = "tool_failed"
            if ended:
                self._telemetry.record(names.TOOL_DURATION, monotonic() - began, measured)
                if self._telemetry.captures_content:
                    span.set(tool_content(call.arguments, ended[0].result))
            span.end()

    def ended(self, ending: Ending, age: float, target: str | None) -> None:
        """The end is committed. ``age``: seconds since the generation was accepted."""
        if not self._telemetry.is_on:
            return
        error = str(ending.error["code"]) if ending.error else None
        self.event("end", STATUS=ending.status, FINISH_REASON=ending.finish_reason, ERROR_TYPE=error)
        self._try.set({names.STATUS: ending.status})
        if error is not None:
            self._try.fail(error)
        server = self._traces.server(target.partition("/")[0] if target else "")
        measured: dict[str, Value] = {names.OPERATION: server.operation, names.PROVIDER: server.provider or "none"}
        if error is not None:
            measured[names.ERROR_TYPE] = error
        self._telemetry.record(names.SERVER_DURATION, age, measured)
        if error is None and ending.first_token_age is not None:
            self._telemetry.record(names.SERVER_FIRST_TOKEN, age - ending.first_token_age, measured)
            usage = ending.usage or {}
            behind = int(usage.get("output_tokens") or 0) - 1
            if behind > 0 and not usage.get("estimated"):
                self._telemetry.record(names.SERVER_TOKEN, ending.first_token_age / behind, measured)

    def close(self, outcome: str) -> None:
        """The worker is done with the generation."""
        self._try.set({names.REASON: outcome})
        if outcome == FAILED:
            self._try.fail("internal")
        self._try.end()

    def _begin(self, name: str, claimed: Claimed, parent: TraceContext | None, at: int | None) -> None:
        """Begin and end the span of a revision. Its children follow."""
        lease = claimed.lease
        trace_id = claimed.trace.trace_id if claimed.trace else lease.generation_id.replace("-", "")
        links: tuple[TraceContext, ...] = ()
        if lease.epoch > 1 and not claimed.cancelled:
            # A request that cancels claims an epoch, too, and has no span.
            flags = claimed.trace.flags if claimed.trace else SAMPLED
            links = (TraceContext(trace_id, span_id(Lease(lease.generation_id, lease.epoch - 1)), flags),)
        span = self._telemetry.span(
            SpanStart(
                name,
                "consumer" if name == "claim" else "internal",
                parent,
                {**self._facts(), names.WAITED_SECONDS: round(claimed.age, 3)},
                links,
                at,
                (trace_id, span_id(lease)),
            )
        )
        span.end()
        self._parent = span.context

    def _facts(self) -> dict[str, Value]:
        """The attributes of every span of the generation."""
        claimed = self._claimed
        found: dict[str, Value] = {
            names.GENERATION_ID: claimed.lease.generation_id,
            names.EPOCH: claimed.lease.epoch,
            names.TRY: claimed.tries,
            names.WORKER: self._traces.worker,
        }
        if claimed.request_id is not None:
            found[names.REQUEST_ID] = claimed.request_id
        return found


def span_id(lease: Lease) -> str:
    """The id of the span of an epoch, in hex; never zero in practice."""
    return sha256(f"{lease.generation_id} {lease.epoch}".encode()).hexdigest()[:16]
