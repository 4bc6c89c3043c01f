"""Taking a conversation along: export and import.

The JSON form, version 1: ``{"format": "unbroken.conversation", "version": 1, "conversation": {…}, "messages": […]}``.
Messages stand in the order in which they were said and are called by their number, from 1 on; ``parent`` is the number
of the message one follows, null for one that begins. No ids are in it: who imports it gives it ids of his own, so what
is exported, imported and exported again is the same, byte for byte. An answer that was still being made is exported as
it is stored then, and imported as cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from flask import Response
from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from app.api import render, shapes
from app.api.conversations import ConversationPath
from app.api.errors import InvalidFields
from app.api.fields import Id, KeyHeaders, Metadata, ModelName
from app.api.identity import Caller
from app.api.openai import items as openai_items
from app.api.process import web
from app.api.reading import Body, Query, Text
from app.api.routing import Answer, Routes
from app.domain.generation import TERMINAL
from app.domain.storable import sound
from app.services.transfer import Export, ImportConversation, ImportedMessage
from app.store.conversations import Conversation, Message

FORMAT = "unbroken.conversation"
VERSION = 1
LARGEST_IMPORT = 32 * 1024 * 1024
MOST_MESSAGES = 10_000
LONGEST_TEXT = 4_000_000
# Clocks differ; what was said next week was not said.
FUTURE = timedelta(days=1)
_MARKDOWN = "text/markdown; charset=utf-8"

routes = Routes("transfer", __name__, "/api/v1", "Taking conversations along")


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


class ToolBody(Body):
    """A tool call in its last state."""

    call_id: LongText
    tool: LongText
    state: Literal["started", "finished", "failed"]
    arguments: LongText
    result: LongText | None


class UsageBody(Body):
    """What an answer used."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    cached_tokens: Tokens | None = None
    cost: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None
    estimated: bool | None = None


class MessageBody(Body):
    """A message. `parent` is the number of the one it follows, counted from 1; null: it begins."""

    parent: int | None = Field(ge=1)
    role: Literal["user", "assistant"]
    status: Literal["queued", "running", "completed", "error", "cancelled"]
    content: LongText
    created_at: Time
    reasoning: LongText = ""
    tools: list[ToolBody] = Field(default_factory=list, max_length=1000)
    model: ModelName | None = None
    client_msg_id: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    usage: UsageBody | None = None
    metadata: Metadata = Field(default_factory=dict)
    items: list[dict[str, Any] | None] | None = Field(
        None, max_length=10_000, description="As in OpenAI's Responses API"
    )

    @field_validator("items", mode="before")
    @classmethod
    def _are_sound(cls, value: Any) -> Any:
        sound(value)
        return value


class PastBody(Body):
    """What belongs to the conversation itself."""

    title: Annotated[Text, StringConstraints(min_length=1, max_length=200)] | None = None
    model: ModelName | None = None
    metadata: Metadata = Field(default_factory=dict)
    created_at: Time
    archived_at: Time | None = None


class ImportBody(Body):
    """A conversation as it was exported."""

    format: Literal["unbroken.conversation"]
    version: Literal[1]
    conversation: PastBody
    messages: list[MessageBody] = Field(min_length=1, max_length=MOST_MESSAGES)

    @field_validator("messages")
    @classmethod
    def _follow_earlier_ones(cls, value: list[MessageBody]) -> list[MessageBody]:
        for number, message in enumerate(value, 1):
            if message.parent is not None and message.parent >= number:
                raise ValueError(f"message {number} must follow an earlier one, not {message.parent}")
        return value


class ImportHeaders(KeyHeaders):
    """A name for the request."""

    idempotency_key: str | None = Field(
        None, alias="Idempotency-Key", description="Your name for this request: sent twice, it is done once"
    )


class ExportQuery(Query):
    """In which form."""

    format: Literal["json", "md"] = Field("json", description="md: one branch, to be read")
    branch: Id | None = Field(None, description="For md: the branch with this message; the newest when left out")


@routes.route_for(
    "get",
    "/conversations/<conversation_id>/export",
    access="user",
    limit="reads",
    answers=(
        Answer(200, "The conversation", shapes.ExportedConversation, headers=("Content-Disposition",)),
        Answer(200, "The conversation", None, "text/markdown"),
    ),
)
def export_conversation(caller: Caller, path: ConversationPath, query: ExportQuery) -> Response:
    """A conversation to be kept elsewhere."""
    transfer = web().resources.transfer
    if query.format == "md":
        export = transfer.export_branch(caller.user, path.conversation_id, query.branch)
        return _attachment(_markdown(export), _MARKDOWN, f"conversation-{path.conversation_id}.md")
    export = transfer.export(caller.user, path.conversation_id)
    return _attachment(_json(export), "application/json", f"conversation-{path.conversation_id}.json")


@routes.route_for(
    "post",
    "/conversations/import",
    access="user",
    limit="generations",
    answers=(
        Answer(201, "The conversation, under an id of its own", shapes.Conversation, headers=("Location",)),
        Answer(200, "This key was used before: what it led to", shapes.Conversation, headers=("Location",)),
    ),
    largest_body=LARGEST_IMPORT,
)
def import_conversation(caller: Caller, header: ImportHeaders, body: ImportBody) -> Response:
    """Store a conversation that was exported. It counts as a new one."""
    imported, key = _imported(body), header.key(None)
    made, new = web().resources.transfer.add(caller.user, imported, key, web().limits.new_conversations)
    location = {"Location": f"/api/v1/conversations/{made.id}"}
    return render.answer(render.conversation(made), 201 if new else 200, location)


def _attachment(parts: Iterator[bytes], content_type: str, name: str) -> Response:
    return Response(parts, content_type=content_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _json(export: Export) -> Iterator[bytes]:
    """The whole document, a message at a time."""
    numbers = {place.id: number for number, place in enumerate(export.places, 1)}
    head = {"format": FORMAT, "version": VERSION, "conversation": _conversation(export.conversation)}
    yield _dump(head)[:-1] + b',"messages":['
    for n, message in enumerate(export.messages):
        parent = numbers[message.parent_id] if message.parent_id else None
        yield (b",\n" if n else b"\n") + _dump(_message(message, parent))
    yield b"\n]}\n"


def _conversation(found: Conversation) -> dict[str, Any]:
    names = ("title", "model", "metadata", "created_at", "archived_at")
    return {name: getattr(found, name) for name in names}


def _message(said: Message, parent: int | None) -> dict[str, Any]:
    """Everything a message has, without what says nothing."""
    needed = ("role", "status", "content", "created_at")
    optional = ("reasoning", "tools", "model", "client_msg_id", "usage", "metadata", "items")
    shown = {"parent": parent, **{name: getattr(said, name) for name in needed}}
    return shown | {name: value for name in optional if (value := getattr(said, name))}


def _dump(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _markdown(export: Export) -> Iterator[bytes]:
    """One branch, to be read."""
    title = export.conversation.title or export.conversation.preview or "Conversation"
    yield f"# {_line(title)}\n".encode()
    for said in export.messages:
        who = "You" if said.role == "user" else said.model or "Assistant"
        when = said.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        ending = "" if said.status == "completed" else f" · {said.status}"
        yield f"\n## {who}\n\n*{when}{ending}*\n\n".encode()
        for call in said.tools:
            what = f"{call['tool']} {_line(call['arguments'])}"
            yield f"> `{what}` → {_line(call['result'] or call['state'])}\n\n".encode()
        if said.content:
            yield said.content.encode() + b"\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def _imported(body: ImportBody) -> ImportConversation:
    past = body.conversation
    return ImportConversation(
        title=past.title,
        model=past.model,
        metadata=past.metadata,
        created_at=past.created_at,
        archived_at=past.archived_at,
        messages=[_imported_message(message, f"messages.{n}.items") for n, message in enumerate(body.messages)],
    )


def _imported_message(body: MessageBody, place: str) -> ImportedMessage:
    return ImportedMessage(
        parent=body.parent,
        role=body.role,
        status=body.status if body.status in TERMINAL else "cancelled",
        content=body.content,
        created_at=body.created_at,
        reasoning=body.reasoning,
        tools=[tool.model_dump() for tool in body.tools],
        model=body.model,
        client_msg_id=body.client_msg_id,
        usage=body.usage.model_dump(exclude_unset=True) if body.usage else None,
        metadata=body.metadata,
        items=[_item(item, f"{place}.{n}") for n, item in enumerate(body.items)] if body.items else None,
    )


def _item(item: dict[str, Any] | None, place: str) -> dict[str, Any] | None:
    """An item in the form we store, so that whoever builds on it later can rely on that. None was taken out."""
    if item is None:
        return None
    [parsed] = openai_items.parse([item], place, LONGEST_TEXT, single=True)
    if parsed["type"] == "item_reference":
        raise InvalidFields([(place, "must not refer to anything")])
    return parsed
