"""What answers look like, for the OpenAPI document. ``render`` makes them; a test holds the two together."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
CursorText = Annotated[str, Field(description="A position in the stream, <epoch>-<n>", examples=["1-42"])]
Status = Literal["queued", "running", "completed", "error", "cancelled"]


class FieldError(BaseModel):
    """A field that was refused."""

    field: str
    detail: str


class Problem(BaseModel):
    """A refusal (RFC 9457)."""

    type: str = Field(description="A stable reference for this kind of problem", examples=["/problems/invalid-field"])
    title: str
    status: int
    detail: str
    errors: list[FieldError]
    request_id: str | None


class ToolCall(BaseModel):
    """A tool call in its latest state."""

    call_id: str
    tool: str
    state: Literal["started", "finished", "failed"]
    arguments: str
    result: str | None


class Latency(BaseModel):
    """Milliseconds since the message was accepted."""

    first_token: int | None
    total: int | None


class Cost(BaseModel):
    """An amount of money."""

    cost: str
    currency: str | None


class Generation(BaseModel):
    """One answer in the making, or made."""

    id: Id
    conversation_id: Id
    message_id: Id = Field(description="The answer's message")
    user_message_id: Id
    model: str
    status: Status
    cursor: CursorText = Field(description="The position that content belongs to")
    epoch: int
    content: str
    reasoning: str
    tools: list[ToolCall]
    queue_position: int | None = Field(description="1 is the next; null when it does not wait")
    attempts: int
    attempt_log: list[dict[str, Any]]
    finish_reason: str | None
    error: dict[str, Any] | None
    usage: dict[str, Any] | None = Field(description="input_tokens, output_tokens, and what else the provider counts")
    cost: Cost | None = Field(description="At the model's price when it ended")
    latency_ms: Latency
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    last_updated: datetime
    finished_at: datetime | None
    sha256: str | None = Field(description="Of the finished content as UTF-8, in hex")


class PolledGeneration(Generation):
    """A generation, with the stream's events past `after` when that was given."""

    events: list[dict[str, Any]] = Field(default=[], description="Each the stream's JSON object, with its id")


class Conversation(BaseModel):
    """A conversation. None exists without a message."""

    id: Id
    title: str | None
    model: str | None
    preview: str
    metadata: dict[str, str]
    archived: bool
    archived_at: datetime | None
    has_active_generation: bool
    created_at: datetime
    last_message_at: datetime
    last_updated: datetime
    feed_seq: int = Field(description="The number of the newest event of its feed")


class Message(BaseModel):
    """A message, question or answer."""

    seq: int
    message_id: Id
    client_msg_id: str | None
    conversation_id: Id
    parent_id: Id | None
    role: Literal["user", "assistant"]
    content: str
    reasoning: str
    tools: list[ToolCall]
    status: Status
    model: str | None
    generation_id: Id | None
    usage: dict[str, Any] | None
    metadata: dict[str, str]
    created_at: datetime
    last_updated: datetime


class Started(BaseModel):
    """What a sent message led to."""

    conversation: Conversation
    message: Message
    generation: Generation


class ConversationPage(BaseModel):
    """Conversations, newest first."""

    items: list[Conversation]
    next_cursor: str | None
    feed_seq: int = Field(description="The number of the newest event of /feed that this page knows")


class MessagePage(BaseModel):
    """Messages in order."""

    items: list[Message]
    next_seq: int | None


class ExportedConversation(BaseModel):
    """A conversation with all its branches. What it consists of, the body of `POST /conversations/import` says."""

    format: Literal["unbroken.conversation"]
    version: Literal[1]
    conversation: dict[str, Any]
    messages: list[dict[str, Any]]


class SearchHit(BaseModel):
    """A message that was found; or a conversation by its title, when message_id and role are null."""

    conversation_id: Id
    message_id: Id | None
    role: Literal["user", "assistant"] | None
    title: str | None
    snippet: str = Field(description="Plain text")
    highlights: list[tuple[int, int]] = Field(description="Of the snippet, in code points: from, up to")
    created_at: datetime


class SearchPage(BaseModel):
    """What was found, newest first."""

    items: list[SearchHit]
    next_cursor: str | None


class WatchedGeneration(BaseModel):
    """A generation as an operator sees it: without what was said."""

    id: Id
    user: str = Field(description="The subject of the owner's tokens")
    conversation_id: Id
    message_id: Id
    user_message_id: Id
    model: str
    status: Status
    epoch: int
    tries: int
    dispatches: int = Field(description="How often a worker was rung for since the last one took it")
    worker: str | None
    lease_seconds: float | None = Field(description="Until its worker must have shown itself; below 0: it has not")
    stuck: bool
    attempt_log: list[dict[str, Any]]
    error: dict[str, Any] | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    last_updated: datetime
    finished_at: datetime | None


class WatchedPage(BaseModel):
    """Generations of everybody, newest first."""

    items: list[WatchedGeneration]
    next_cursor: str | None


class ConversationStatus(BaseModel):
    """Whether an answer is being made, and how far it is."""

    has_active_generation: bool
    generating_message_id: Id | None
    generation_id: Id | None
    status: Status | None
    queue_position: int | None
    partial_content: str | None
    cursor: CursorText | None
    last_updated: datetime


class ModelPrice(BaseModel):
    """For a million tokens each, as decimal numbers."""

    input: str
    output: str
    currency: str


class Model(BaseModel):
    """A model that can be asked."""

    name: str
    provider: str
    default: bool
    label: str | None
    description: str | None
    tools: list[str]
    price: ModelPrice | None


class ModelConfiguration(BaseModel):
    """A model as its administrator sees it."""

    name: str
    provider: str
    upstream_name: str
    label: str | None
    description: str | None
    system_prompt: str | None
    parameters: dict[str, Any]
    on_interruption: list[Literal["continue", "restart", "error"]]
    tools: list[str]
    price: ModelPrice | None
    enabled: bool


class ModelConfigurations(BaseModel):
    """All models."""

    items: list[ModelConfiguration]


class UsageDay(BaseModel):
    """A day in UTC with one model."""

    day: date
    model: str
    generations: int
    input_tokens: int
    output_tokens: int
    cost: str | None = Field(description="A decimal number; null when nobody said what it costs")
    currency: str | None = Field(description="Null when the provider did not say in which")


class Usage(BaseModel):
    """The days of a period, the newest first; and the costs of all of them, by currency."""

    from_: date = Field(alias="from")
    to: date
    items: list[UsageDay]
    costs: list[Cost]


class ModelList(BaseModel):
    """Every model that can be asked."""

    items: list[Model]


class AccountLimits(BaseModel):
    """What one user may do."""

    new_conversations: str
    generations: str
    reads: str
    streams: int
    message_chars: int


class StreamTicket(BaseModel):
    """Opens one stream."""

    ticket: str = Field(description="For the query of the stream's address: ?ticket=")
    expires_at: datetime = Field(description="It has to be used by then, and is good for reconnecting after that")


class Account(BaseModel):
    """Who is asking."""

    id: Id
    subject: str
    role: str | None
    limits: AccountLimits


ALL: tuple[type[BaseModel], ...] = (
    Problem,
    PolledGeneration,
    Generation,
    Conversation,
    Message,
    Started,
    ConversationPage,
    MessagePage,
    SearchPage,
    ExportedConversation,
    ConversationStatus,
    ModelList,
    ModelConfiguration,
    ModelConfigurations,
    Usage,
    Account,
    StreamTicket,
    WatchedGeneration,
    WatchedPage,
)
