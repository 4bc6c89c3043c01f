"""The events of an answer, as the service sends them.

Type checkers narrow by ``event["type"] == "token"`` and by ``"id" in event``. A later version of the service may send
events of other types, which a program ignores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, final

if TYPE_CHECKING:
    from unbroken_client.resources import Generation


class ToolCall(TypedDict):
    """A call of a tool. ``arguments`` is JSON text."""

    call_id: str
    tool: str
    state: Literal["started", "finished", "failed"]
    arguments: str
    result: NotRequired[str | None]


@final
class Open(TypedDict):
    """The first event of each connection."""

    type: Literal["open"]
    generation_id: str
    conversation_id: str
    message_id: str
    user_message_id: str
    status: str
    after: str


@final
class Queued(TypedDict):
    """The place in the queue, when it changes; 1 is the next."""

    type: Literal["queued"]
    position: int


@final
class Title(TypedDict):
    """The title of the conversation, when it is written during the stream."""

    type: Literal["title"]
    title: str


@final
class Snapshot(TypedDict):
    """The first event of each revision: ``text`` and ``reasoning`` replace what was received."""

    type: Literal["snapshot"]
    id: str
    text: str
    reasoning: NotRequired[str]
    reason: Literal["start", "takeover", "continue", "restart", "failover", "cancel"]
    attempt: int


@final
class Token(TypedDict):
    """A piece of the text."""

    type: Literal["token"]
    id: str
    content: str


@final
class Reasoning(TypedDict):
    """A piece of the model's reasoning."""

    type: Literal["reasoning"]
    id: str
    content: str


@final
class Tool(ToolCall):
    """A change of a call of a tool."""

    type: Literal["tool"]
    id: str


@final
class Refusal(TypedDict):
    """The text behind this event is a refusal of the model."""

    type: Literal["refusal"]
    id: str


@final
class Usage(TypedDict):
    """The model has finished."""

    type: Literal["usage"]
    id: str
    finish_reason: str
    usage: dict[str, Any] | None


@final
class Done(TypedDict):
    """The last event. ``sha256`` is of the text as UTF-8, in hex."""

    type: Literal["done"]
    id: str
    status: Literal["completed", "error", "cancelled"]
    finish_reason: str | None
    usage: dict[str, Any] | None
    sha256: str
    error: NotRequired[dict[str, Any]]


@final
class Final(TypedDict):
    """The answer as the service has it, where the events do not add up to it, or none was left."""

    type: Literal["final"]
    generation: Generation


Event = Open | Queued | Title | Snapshot | Token | Reasoning | Tool | Refusal | Usage | Done | Final
