"""The body of an import: a conversation as the export writes it, validated message by message.

The form, version 1: ``{"format": "unbroken.conversation", "version": 1, "conversation": {…}, "messages": […]}``.
``parent`` is the number of the message that a message follows, counted from 1; null begins a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, repeat
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from app.api import json_body
from app.api.errors import BodyTooLarge, InvalidFields
from app.api.fields import Metadata, ModelName, ParametersBody, Rating, SystemPrompt, Tags, Title
from app.api.found_files import FoundFile
from app.api.openai import items as openai_items
from app.api.request_parsing import Body, Text, validate
from app.api.split_body import split
from app.config import Settings
from app.domain.generation import TERMINAL
from app.domain.storable import sound
from app.services.import_export import ImportConversation, ImportedMessage

LONGEST_TEXT = 4_000_000
# Clocks of two services differ by less.
FUTURE = timedelta(days=1)


def _read_time(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("must be a time as RFC 3339 writes it")
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise ValueError
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time as RFC 3339 writes it, with its offset") from None
    if not datetime(1970, 1, 1, tzinfo=UTC) <= at <= datetime.now(UTC) + FUTURE:
        raise ValueError("must be a time between 1970 and now")
    return at


Time = Annotated[datetime, BeforeValidator(_read_time)]
LongText = Annotated[Text, Field(max_length=LONGEST_TEXT)]
Tokens = Annotated[int, Field(ge=0, le=2**53)]


def _check_length(value: Any, setting: str, what: str, info: ValidationInfo) -> None:
    """Refuse a long list or text before its parts are validated."""
    most = (info.context or {}).get(setting)
    if most is not None and isinstance(value, (list, str)) and len(value) > most:
        raise ValueError(f"{what} must not be longer than {most} ({setting.upper()}), and has {len(value)}")


class CallPlaceBody(Body):
    """The round of a tool call, counted from 1, and the numbers of characters before the call."""

    round: int = Field(ge=1, le=2**31 - 1)
    text: int = Field(ge=0, le=2**31 - 1)
    reasoning: int = Field(ge=0, le=2**31 - 1)


class ToolBody(Body):
    """A tool call in its last state."""

    call_id: LongText
    tool: LongText
    state: Literal["started", "finished", "failed"]
    arguments: LongText
    result: LongText | None
    extra: dict[str, Any] | None = Field(None, description="What the provider gave with the call")
    place: CallPlaceBody | None = None

    @field_validator("extra", mode="before")
    @classmethod
    def _is_sound(cls, value: Any) -> Any:
        sound(value)
        return value


class FeedbackBody(Body):
    """The user's rating of an answer."""

    rating: Rating
    comment: Annotated[Text, Field(max_length=2000)] | None = None


class UsageBody(Body):
    """The tokens and the cost of an answer."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    cached_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None
    cost: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None
    estimated: bool | None = None


class MessageBody(Body):
    """A message. `parent` is the number of the message it follows, counted from 1; null begins a branch."""

    parent: int | None = Field(ge=1)
    role: Literal["user", "assistant"]
    status: Literal["queued", "running", "completed", "error", "cancelled"]
    content: LongText
    created_at: Time
    reasoning: LongText = ""
    tools: list[ToolBody] = Field(default_factory=list, description="At most MAX_IMPORT_TOOL_CALLS")
    model: ModelName | None = None
    client_msg_id: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    usage: UsageBody | None = None
    metadata: Metadata = Field(default_factory=dict)
    items: list[dict[str, Any] | None] | None = Field(
        None, description="As in OpenAI's Responses API; at most MAX_IMPORT_ITEMS"
    )

    feedback: FeedbackBody | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_bounded(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict):
            _check_length(value.get("tools"), "max_import_tool_calls", "tools", info)
            _check_length(value.get("items"), "max_import_items", "items", info)
            if value.get("role") == "user":
                _check_length(value.get("content"), "max_prompt_chars", "content", info)
        return value

    @field_validator("items", mode="before")
    @classmethod
    def _are_sound(cls, value: Any) -> Any:
        sound(value)
        return value


class PastBody(Body):
    """The fields of the conversation itself."""

    title: Title | None = None
    model: ModelName | None = None
    metadata: Metadata = Field(default_factory=dict)
    created_at: Time
    archived_at: Time | None = None
    pinned: bool = False
    tags: Tags = Field(default_factory=list)
    system_prompt: SystemPrompt | None = None
    parameters: ParametersBody | None = None


class _Head(Body):
    """An import without its messages."""

    format: Literal["unbroken.conversation"]
    version: Literal[1]
    conversation: PastBody


class ImportBody(_Head):
    """A conversation as it was exported."""

    messages: Sequence[MessageBody] = Field(min_length=1, description="At most MAX_IMPORT_MESSAGES")

    @classmethod
    def read(cls, data: bytes, settings: Settings) -> ImportBody:
        """The body. Its messages are parsed each time they are iterated, and raise what they are refused for.

        Raises MalformedInput, InvalidFields, and BodyTooLarge for the part beside the messages.
        """
        parts = split(data, "messages")
        if len(parts.rest) > settings.max_body_bytes:
            raise BodyTooLarge(settings.max_body_bytes, "MAX_BODY_BYTES", "What the body has beside its messages")
        rest = json_body.parse(bytes(parts.rest))
        if not parts.elements:
            return validate(cls, rest, settings)
        most, given = settings.max_import_messages, len(parts.elements)
        if given > most:
            detail = f"messages must not be longer than {most} (MAX_IMPORT_MESSAGES), and has {given}"
            raise InvalidFields([("messages", detail)])
        head = validate(_Head, {name: value for name, value in rest.items() if name != "messages"}, settings)
        messages = _Messages(data, parts.elements, settings)
        return cls.model_construct(
            format=head.format, version=head.version, conversation=head.conversation, messages=messages
        )


class _Messages(Sequence[MessageBody]):
    """The messages of a body, each parsed and validated when it is read. None is kept.

    Reading one raises MalformedInput or InvalidFields; both have the number of the message.
    """

    def __init__(self, data: bytes, elements: Sequence[slice], settings: Settings) -> None:
        self._data = data
        self._elements = elements
        self._settings = settings

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[MessageBody]:
        # Unlike a generator, `map` keeps no message while the next one is parsed.
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        element, place = self._elements[index], f"messages.{index}"
        most, size = self._settings.max_import_message_bytes, element.stop - element.start
        if size > most:
            detail = f"must not have more than {most} bytes (MAX_IMPORT_MESSAGE_BYTES), and has {size}"
            raise InvalidFields([(place, detail)])
        value = json_body.parse_large(self._data[element], f"Message {index + 1}")
        message = validate(MessageBody, value, self._settings, place)
        if message.parent is not None and message.parent > index:
            raise InvalidFields([("messages", f"message {index + 1} must follow an earlier one, not {message.parent}")])
        return message


# Takes the files of a message in.
TakeIn = Callable[[Sequence[FoundFile]], None]


def command_of(body: ImportBody, take_in: TakeIn) -> ImportConversation:
    """The body as the command of the service."""
    past = body.conversation
    return ImportConversation(
        title=past.title,
        model=past.model,
        metadata=past.metadata,
        created_at=past.created_at,
        archived_at=past.archived_at,
        messages=lambda: map(_imported, body.messages, count(), repeat(take_in)),
        pinned=past.pinned,
        tags=past.tags,
        system_prompt=past.system_prompt,
        parameters=past.parameters.model_dump(exclude_none=True) if past.parameters else {},
    )


def _imported(body: MessageBody, index: int, take_in: TakeIn) -> ImportedMessage:
    files: list[FoundFile] = []
    items = [_item(item, f"messages.{index}.items.{n}", files) for n, item in enumerate(body.items or ())]
    take_in(files)
    return ImportedMessage(
        parent=body.parent,
        role=body.role,
        status=body.status if body.status in TERMINAL else "cancelled",
        content=body.content,
        created_at=body.created_at,
        reasoning=body.reasoning,
        tools=[tool.model_dump(exclude_none=True) | {"result": tool.result} for tool in body.tools],
        model=body.model,
        client_msg_id=body.client_msg_id,
        usage=body.usage.model_dump(exclude_unset=True) if body.usage else None,
        metadata=body.metadata,
        feedback=body.feedback.model_dump() if body.feedback else None,
        items=items or None,
    )


def _item(item: dict[str, Any] | None, place: str, files: list[FoundFile]) -> dict[str, Any] | None:
    """An item in the form that answers are stored in. None stands for an item that was taken out."""
    if item is None:
        return None
    [parsed] = openai_items.parse([item], place, single=True, files=files)
    if parsed["type"] == "item_reference":
        raise InvalidFields([(place, "must not refer to anything")])
    return parsed
