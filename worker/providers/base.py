"""What a provider is given and what it says: frozen data, no I/O.

An answer ends in exactly one of three ways: with a last :class:`Finished`, with a :class:`ProviderError`, or because
the one who listens leaves. Deadlines (first token, between tokens, total) belong to the listener.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A finished request of the model to run a tool. ``arguments`` is JSON text, as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the conversation. ``role``: ``system``, ``user``, ``assistant`` or ``tool``.

    ``tool_calls`` belong to an assistant's message; ``tool_call_id`` names the call a ``tool`` message answers.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """All a provider needs for one answer.

    ``model`` is the upstream's own name. ``parameters`` are passed on as they are (``temperature``, ``max_tokens``,
    ``tools``, …); a value of None means "not given". ``prefix`` is the answer so far, to be continued right behind
    its last character; it may be set only when the provider ``continues``.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. Reasoning tokens are part of ``output_tokens``, cached ones of ``input_tokens``.

    ``cost`` is what the upstream says it charged, in its own currency unit; None when it does not say.
    """

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None


@dataclass(slots=True, unsafe_hash=True)
class Text:
    """The next characters of the answer: never empty, no NUL, no lone surrogate.

    Never changed, but not frozen: one is made for every token, and that would take twice as long.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """The next characters of the model's reasoning; same guarantees as :class:`Text`."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """A part of a tool call. Parts of one call share ``index``; id and name usually come with the first part only."""

    index: int
    call_id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last piece. ``finish_reason`` as the upstream named it; ``usage`` None when it was not told."""

    finish_reason: str
    usage: Usage | None


Piece = Text | Thought | ToolDelta | Finished
# Called with what one network read said, never empty. It must not wait.
Hear = Callable[[list[Piece]], None]


class ProviderError(Exception):
    """The provider did not give a complete answer.

    ``code``: ``upstream_connection`` (not reached, or cut), ``upstream_timeout``, ``upstream_truncated`` (ended
    without a finish reason), ``upstream_malformed``, ``upstream_error`` (it reported an error of its own),
    ``upstream_rate_limited``, ``upstream_quota``, ``upstream_unavailable`` (5xx), ``upstream_unauthorized``,
    ``upstream_rejected`` (our request is at fault), ``context_length``.

    ``message`` can be shown to users: it never contains a credential. ``retry_after`` is in seconds. ``usage`` is
    what had been counted until then, when the upstream counts as it goes.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        retry_after: float | None = None,
        upstream_status: int | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after
        self.upstream_status = upstream_status
        self.usage = usage

    def __repr__(self) -> str:
        return (
            f"ProviderError({self.code!r}, {self.message!r}, retryable={self.retryable}, "
            f"retry_after={self.retry_after}, upstream_status={self.upstream_status})"
        )


class Provider(Protocol):
    """A source of answers. One instance serves all generations of a process, from one event loop.

    ``continues`` says whether a prompt may carry a ``prefix``.
    """

    @property
    def continues(self) -> bool: ...

    async def stream(self, prompt: Prompt, hear: Hear) -> None:
        """Ask for one answer, and let it be heard as it is read, to its end. Raises ProviderError.

        Pieces do not pass through a task: ``hear`` is called from where the bytes arrive. Cancelling closes the
        connection to the upstream at once; so does an exception of ``hear``, which is raised here.
        """
        ...

    async def close(self) -> None:
        """Release connections. Streams that are still open break."""
        ...


def function_names(parameters: Mapping[str, Any]) -> list[str]:
    """The names of the functions a request offers, whatever else a client has put there."""
    tools = parameters.get("tools")
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    return [name for name in names if isinstance(name, str)]
