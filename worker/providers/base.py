"""The input and the output of a provider: frozen data, no I/O.

An answer ends in exactly one of three ways: with a last :class:`Finished`, with a :class:`ProviderError`, or because
the listener is cancelled. Deadlines (first token, between tokens, total) belong to the listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from app.domain.answer_errors import AnswerError
from app.domain.answer_format import AnswerFormat
from worker.providers.parts import FilePart, Part


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A finished request of the model to run a tool. ``arguments`` is JSON text, as the model wrote it.

    ``extra`` is what the upstream gave with the call and wants back unchanged, see :class:`app.domain.events.Tool`.
    """

    call_id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the conversation. ``role``: ``system``, ``user``, ``assistant`` or ``tool``.

    ``tool_calls`` belong to an assistant's message; ``tool_call_id`` names the call a ``tool`` message answers.
    ``reasoning`` is the reasoning before an assistant's tool calls: some upstreams require it back. ``name`` is that of
    one of several participants. ``parts`` are all texts and files in order, for a message with files; ``content`` is
    what its author has written.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str = ""
    name: str | None = None
    parts: tuple[Part, ...] = ()

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts of any message; none for one without content."""
        return self.parts or ((self.content,) if self.content else ())

    @property
    def files(self) -> tuple[FilePart, ...]:
        """The files of the message."""
        return tuple(part for part in self.parts if isinstance(part, FilePart))

    @property
    def text(self) -> str:
        """All text of the message, that of its files included."""
        return "\n\n".join(part for part in self.parts if isinstance(part, str)) if self.parts else self.content

    @property
    def is_blank(self) -> bool:
        """True for a message without a file and without a visible character."""
        return not self.files and not self.text.strip()


@dataclass(frozen=True, slots=True)
class Prompt:
    """The request for one answer. ``messages`` have the form of ``chat.history``.

    ``model`` is the upstream's own name. ``parameters`` are passed on as they are (``temperature``, ``max_tokens``,
    ``tools``, …); a value of None means "not given". ``prefix`` is the answer so far, to be continued right behind
    its last character; it may be set only when the provider ``continues``. ``answer_format`` is the form that the
    text must have, None for free text.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    answer_format: AnswerFormat | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. Reasoning tokens are part of ``output_tokens``, cached ones of ``input_tokens``.

    ``cache_write_tokens``: input that the upstream has written to its cache, another part of ``input_tokens``; None
    when it names none. ``cost`` is what the upstream says it charged, in its own currency unit; None when it does not
    say.
    """

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None
    cache_write_tokens: int | None = None


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
class Refused:
    """The text behind this piece is a refusal of the model, in the place of an answer. It comes once."""


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """A part of a tool call. Parts of one call share ``index``; id and name usually come with the first part only.

    ``extra`` is what the upstream gave with the call and wants back unchanged.
    """

    index: int
    call_id: str | None
    name: str | None
    arguments: str
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The last piece. ``finish_reason`` as the upstream named it; ``usage`` is None when the upstream reported none."""

    finish_reason: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Alive:
    """The upstream is at work and has sent nothing that can be shown: a ping, a signature. It comes alone."""


Piece = Text | Thought | ToolDelta | Refused | Finished | Alive
ALIVE = Alive()
# Called with the pieces of one network read, never empty. It must not wait. Where it returns a future, the listener has
# no room: the provider reads on when the future is done.
Emit = Callable[[list[Piece]], "asyncio.Future[None] | None"]


class TooManyCalls(Exception):
    """An answer has more tool calls than it may have."""


class ProviderError(Exception):
    """The provider did not give a complete answer.

    ``code``: ``upstream_connection`` (not reached, or cut), ``upstream_timeout``, ``upstream_truncated`` (ended
    without a finish reason), ``upstream_malformed``, ``upstream_error`` (it reported an error of its own),
    ``upstream_rate_limited``, ``upstream_quota``, ``upstream_unavailable`` (5xx), ``upstream_unauthorized``,
    ``upstream_rejected`` (our request is at fault), ``context_length``, ``upstream_encoding`` (compressed in a way that
    cannot be read), ``upstream_run_gone`` (see RunKeeper), ``answer_too_large`` (:class:`AnswerTooLarge`),
    ``file_unavailable`` (the storage of a file that the prompt needs does not answer, or the memory for it is taken).

    ``message`` can be shown to users: it never contains a credential. ``retry_after`` is in seconds. ``usage`` is
    what had been counted until then, when the upstream counts as it goes. ``charged`` is whether the upstream may count
    the prompt: not when it was never reached, or refused the request. ``finish_reason`` is how the answer ends with it.
    ``refusal`` is the body of a reply that refused the request: for programs only, it may contain a credential.
    ``is_inside``: the error came inside an answer that had been accepted.
    """

    def __init__(
        self,
        code: AnswerError,
        message: str,
        *,
        retryable: bool,
        retry_after: float | None = None,
        upstream_status: int | None = None,
        usage: Usage | None = None,
        charged: bool = True,
        finish_reason: str = "error",
    ) -> None:
        super().__init__(message)
        self.refusal: bytes = b""
        self.is_inside = False
        self.code: AnswerError = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after
        self.upstream_status = upstream_status
        self.usage = usage
        self.charged = charged
        self.finish_reason = finish_reason

    def __repr__(self) -> str:
        return (
            f"ProviderError({self.code!r}, {self.message!r}, retryable={self.retryable}, "
            f"retry_after={self.retry_after}, upstream_status={self.upstream_status})"
        )


class AnswerTooLarge(ProviderError):
    """The upstream's answer, or a part of it, exceeds a limit. The answer ends there and is not tried again.

    ``limit`` is the variable that sets the limit, such as MAX_ANSWER_CHARS; ``message`` names it. The code is
    ``answer_too_large``.
    """

    def __init__(self, limit: str, message: str, *, finish_reason: str = "error") -> None:
        super().__init__("answer_too_large", message, retryable=False, finish_reason=finish_reason)
        self.limit = limit


class Provider(Protocol):
    """A source of answers. One instance serves all generations of a process, from one event loop."""

    @property
    def continues(self) -> bool:
        """True when a prompt may carry a ``prefix`` that the provider continues."""
        ...

    async def stream(self, prompt: Prompt, emit: Emit) -> None:
        """Request one answer, and pass its pieces to ``emit`` as they are read, to the end. Raises ProviderError.

        Pieces pass through no task: ``emit`` is called by the socket's callback. Cancelling closes the
        connection to the upstream at once; so does an exception of ``emit``, which is raised here.
        """
        ...

    async def close(self) -> None:
        """Release connections. Streams that are still open break."""
        ...


@runtime_checkable
class ExactProvider(Provider, Protocol):
    """A provider that may continue at the very next character. Only there an interrupted JSON answer is continued."""

    def continues_exactly(self, model: str) -> bool:
        """True when a continuation by this model begins at the very next character, as far as is known."""
        ...


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run that an upstream keeps, with the part of its text and of its reasoning that readers have seen."""

    run_id: str
    text: str
    reasoning: str


@runtime_checkable
class RunKeeper(Provider, Protocol):
    """A provider whose upstream keeps its runs: a run goes on without its connection, and can be read again."""

    async def run(
        self, prompt: Prompt, emit: Emit, began: Callable[[str], Awaitable[None]], known: KnownRun | None, key: str
    ) -> None:
        """Begin a run, or come back to the ``known`` one, and pass its pieces to ``emit``, to its end.

        ``began`` is awaited with the id of a new run before any piece of it is passed on. Of a known run the pieces are
        passed on that readers have not seen. A lost connection is made again; it costs no further run. Upstreams that
        honour an Idempotency-Key begin one run for each ``key``. Raises ProviderError; its code is
        ``upstream_run_gone`` when the upstream has no such run, or one with another text. Cancelling leaves the run
        at work.
        """
        ...

    async def cancel_run(self, run_id: str) -> None:
        """End a run that nobody comes back to. Nothing is raised: it may have ended."""
        ...


def function_names(parameters: Mapping[str, Any]) -> list[str]:
    """The names of the functions a request offers. Entries of any other shape are skipped."""
    tools = parameters.get("tools")
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    return [name for name in names if isinstance(name, str)]
