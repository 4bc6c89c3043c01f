"""The objects of the API, as far as programs commonly read them; /openapi.json of a service describes all fields."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from unbroken_client.events import Event, ToolCall

Status = Literal["queued", "running", "completed", "error", "cancelled"]


class Generation(TypedDict):
    """One answer. ``cursor`` is the position that ``content`` belongs to. A poll with ``after`` adds ``events``."""

    id: str
    conversation_id: str
    message_id: str
    user_message_id: str
    model: str
    status: Status
    cursor: str
    content: str
    reasoning: str
    tools: list[ToolCall]
    queue_position: int | None
    waiting: dict[str, Any] | None
    finish_reason: str | None
    error: dict[str, Any] | None
    usage: dict[str, Any] | None
    cost: dict[str, Any] | None
    metadata: dict[str, str]
    created_at: str
    finished_at: str | None
    sha256: str | None
    events: NotRequired[list[Event]]


class Started(TypedDict):
    """The objects of a request that starts an answer."""

    conversation: dict[str, Any]
    message: dict[str, Any]
    generation: Generation


class StartFields(TypedDict, total=False):
    """Optional fields of a request that starts an answer; docs/api.md of the service describes them."""

    model: str
    conversation_id: str
    parent_id: str
    on_busy: Literal["reject", "enqueue", "interrupt", "replace"]
    attachments: list[str]
    metadata: dict[str, str]
    webhook_url: str
    response_format: dict[str, Any]
    system_prompt: str
    parameters: dict[str, Any]
    temporary: bool
