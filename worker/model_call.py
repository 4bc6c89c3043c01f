"""One call of a model as a span and as measurements, by the conventions for generative AI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from app.domain.trace_context import TraceContext
from app.telemetry import names, outgoing
from app.telemetry.current import OFF, current
from app.telemetry.interface import Telemetry
from app.telemetry.spans import NO_SPAN, Span, SpanStart, Value
from worker.content import answer_content, prompt_content
from worker.providers.base import Finished, Prompt, ProviderError, Usage
from worker.upstream_servers import UpstreamServer

# The interruption of a call by this worker; no failure of the provider.
INTERRUPTED = "interrupted"

_NUMBERS = {
    "temperature": names.REQUEST_TEMPERATURE,
    "top_p": names.REQUEST_TOP_P,
    "frequency_penalty": names.REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": names.REQUEST_PRESENCE_PENALTY,
}
_INTEGERS = {
    "seed": names.REQUEST_SEED,
    "max_tokens": names.REQUEST_MAX_TOKENS,
    "max_completion_tokens": names.REQUEST_MAX_TOKENS,
}


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The facts of a call. ``is_configured``: an administrator has named the model, so metrics may name it.

    ``attributes`` are added to the span only. ``conversation_id`` is None for a call that makes no answer.
    """

    server: UpstreamServer
    prompt: Prompt
    conversation_id: str | None
    is_configured: bool
    attributes: Mapping[str, Value]


class ModelCall:
    """A call that is under way. Without telemetry it does nothing."""

    __slots__ = (
        "_began",
        "_each",
        "_first",
        "_last",
        "_measured",
        "_span",
        "_telemetry",
        "captures_content",
        "is_measured",
    )

    def __init__(self, telemetry: Telemetry, span: Span, measured: Mapping[str, Value]) -> None:
        self._telemetry = telemetry
        self._span = span
        self._measured = dict(measured)
        self._began = self._last = monotonic()
        self._first: float | None = None
        self._each = telemetry.chunk_recorder(measured)
        self.is_measured = telemetry.is_on
        self.captures_content = telemetry.captures_content and span.is_recording

    def chunk(self) -> None:
        """A chunk of the answer was received."""
        now = monotonic()
        if self._first is None:
            self._first = now - self._began
            self._span.set({names.RESPONSE_TIME_TO_FIRST_CHUNK: self._first})
            self._telemetry.record(names.CLIENT_FIRST_CHUNK, self._first, self._measured)
        elif self._each is not None:
            self._each(now - self._last)
        self._last = now

    def finished(self, last: Finished, text: str = "") -> None:
        """The answer is complete. ``text`` is recorded where an operator has chosen it."""
        if not self.is_measured:
            return
        self._span.set({names.RESPONSE_FINISH_REASONS: [last.finish_reason]})
        self._count(last.usage)
        if self.captures_content:
            self._span.set(answer_content(text, last.finish_reason))
        self._end(None)

    def embedded(self, tokens: int | None) -> None:
        """The embeddings are made. ``tokens``: as the provider has counted them."""
        if not self.is_measured:
            return
        if tokens is not None:
            self._span.set({names.USAGE_INPUT_TOKENS: tokens})
            self._telemetry.record(names.CLIENT_TOKENS, tokens, {**self._measured, names.TOKEN_TYPE: "input"})
        self._end(None)

    def failed(self, error: BaseException) -> None:
        """The call has ended without a complete answer."""
        if not self.is_measured:
            return
        if isinstance(error, ProviderError):
            self._count(error.usage)
            self._end(error.code)
        elif isinstance(error, TimeoutError):
            self._end("timeout")
        else:
            self._span.set({names.STATUS: INTERRUPTED})
            self._span.end()

    def _count(self, usage: Usage | None) -> None:
        """Add the tokens that the provider has counted; without its count there are none."""
        if usage is None:
            return
        counts = {
            names.USAGE_INPUT_TOKENS: usage.input_tokens,
            names.USAGE_OUTPUT_TOKENS: usage.output_tokens,
            names.USAGE_CACHE_READ: usage.cached_tokens or None,
            names.USAGE_CACHE_CREATION: usage.cache_write_tokens,
            names.USAGE_REASONING: usage.reasoning_tokens or None,
        }
        self._span.set({name: count for name, count in counts.items() if count is not None})
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self._telemetry.record(names.CLIENT_TOKENS, count, {**self._measured, names.TOKEN_TYPE: kind})

    def _end(self, error_type: str | None) -> None:
        if error_type is not None:
            self._span.fail(error_type)
            self._measured[names.ERROR_TYPE] = error_type
        self._telemetry.record(names.CLIENT_DURATION, monotonic() - self._began, self._measured)
        self._span.end()


_NO_CALL = ModelCall(OFF, NO_SPAN, {})


@contextmanager
def model_call(parent: TraceContext | None, facts: CallFacts) -> Iterator[ModelCall]:
    """A call of a model inside the block, whose requests carry its trace. A block that raises is a call that failed.

    The block calls ``finished`` when the answer is complete.
    """
    telemetry = current()
    if not telemetry.is_on:
        yield _NO_CALL
        return
    measured = _measured(facts)
    start = SpanStart(
        f"{facts.server.operation} {facts.prompt.model}",
        "client",
        parent,
        {**measured, **_request(facts), **facts.attributes},
    )
    span = telemetry.span(start)
    call = ModelCall(telemetry, span, measured)
    if call.captures_content:
        span.set(prompt_content(facts.prompt))
    try:
        with outgoing.carried(span.context if span.is_recording else None):
            yield call
    except BaseException as error:
        call.failed(error)
        raise


def _measured(facts: CallFacts) -> dict[str, Value]:
    """The attributes of the span and of every measurement: few values each."""
    server = facts.server
    found: dict[str, Value] = {names.OPERATION: server.operation, names.PROVIDER: server.provider}
    if facts.is_configured:
        found[names.REQUEST_MODEL] = facts.prompt.model
    if server.address is not None and server.port is not None:
        found |= {names.SERVER_ADDRESS: server.address, names.SERVER_PORT: server.port}
    return found


def _request(facts: CallFacts) -> dict[str, Value]:
    """The attributes of the request. Stop sequences are the user's words, and left out."""
    prompt = facts.prompt
    if facts.conversation_id is None:
        return {names.REQUEST_MODEL: prompt.model}
    found: dict[str, Value] = {
        names.REQUEST_MODEL: prompt.model,
        names.REQUEST_STREAM: True,
        names.CONVERSATION_ID: facts.conversation_id,
        names.OUTPUT_TYPE: "json" if prompt.answer_format is not None else "text",
    }
    return found | _numbers(prompt.parameters)


def _numbers(parameters: Mapping[str, Any]) -> dict[str, Value]:
    """The numbers among the parameters; a client may have sent anything under their names."""
    found: dict[str, Value] = {}
    for name, value in parameters.items():
        if isinstance(value, bool):
            continue
        if name in _NUMBERS and isinstance(value, (int, float)):
            found[_NUMBERS[name]] = float(value)
        elif name in _INTEGERS and isinstance(value, int) and abs(value) < 1 << 63:
            found[_INTEGERS[name]] = value
    return found
