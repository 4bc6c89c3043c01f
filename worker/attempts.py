"""Records of calls of providers, as they are kept with a generation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

import orjson

from app.domain.answer_format import INVALID_FORMAT
from app.domain.attempts import Attempt
from app.domain.usage import estimate, estimated_tokens
from worker.providers.base import Prompt, ProviderError, Usage
from worker.providers.parts import FILE_TOKENS
from worker.run_state import RunState


@dataclass(frozen=True, slots=True)
class EndedCall:
    """A call of a provider that has come to its end. ``error``: how it failed, None for a complete answer.

    ``model``: our name of the model. ``is_visible``: readers saw something of it. ``input_tokens``: an estimate of what
    the provider was sent. ``said_chars``: the characters it sent, with reasoning and the arguments of tool calls.
    ``usage``: the provider's count, None when it sent none. ``target``: ``upstream/name``, as in breakers.
    """

    epoch: int
    model: str
    seconds: float
    is_visible: bool
    input_tokens: int
    said_chars: int
    usage: Usage | None
    error: ProviderError | None = None
    target: str | None = None


def record(number: int, call: EndedCall) -> Attempt:
    """The record of a call, which is attempt ``number`` of its generation.

    A usage that the provider did not count is estimated, unless the provider never read the prompt.
    """
    is_charged = call.error is None or call.error.charged or call.said_chars > 0
    estimated = estimate(call.input_tokens, call.said_chars) if is_charged else None
    made = {
        "attempt": number,
        "epoch": call.epoch,
        "model": call.model,
        "target": call.target,
        "seconds": round(call.seconds, 3),
        "outcome": call.error.code if call.error else "finished",
        "visible": call.is_visible,
        "usage": _counted(call.usage) or estimated,
    }
    if call.error and call.error.code == INVALID_FORMAT:
        # The next attempt's prompt has it.
        made["detail"] = call.error.message
    return made


def ended(
    run: RunState, model: str, target: str, began: float, usage: Usage | None, error: ProviderError | None
) -> Attempt:
    """The record of the call of a run that has just ended; ``began`` is its time by the monotonic clock."""
    call = EndedCall(
        epoch=run.claimed.lease.epoch,
        model=model,
        seconds=monotonic() - began,
        is_visible=run.is_visible,
        input_tokens=run.input_tokens,
        said_chars=run.said_chars,
        usage=usage,
        error=error,
        target=target,
    )
    made = record(len(run.all_attempts) + 1, call)
    if run.files:
        made["files"] = run.files
    return {**made, "run": run.upstream_run.run_id} if run.upstream_run else made


def prompt_tokens(prompt: Prompt) -> int:
    """An estimate of the number of tokens of a prompt."""
    chars, files = len(prompt.prefix), 0
    for message in prompt.messages:
        chars += len(message.text) + len(message.reasoning)
        files += len(message.files)
        chars += sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    if tools := prompt.parameters.get("tools"):
        chars += len(orjson.dumps(tools))
    return estimated_tokens(chars) + files * FILE_TOKENS


def _counted(usage: Usage | None) -> dict[str, Any] | None:
    """The counts of a provider, without those it left out."""
    if usage is None:
        return None
    return {name: value for name, value in asdict(usage).items() if value is not None}
