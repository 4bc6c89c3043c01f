"""A conversation, a page of conversations and the state of one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import CursorText, Id, Json, Status
from app.services import conversations as services
from app.store import conversations as rows


class ConversationParameters(BaseModel):
    """The parameters of a conversation's answers; those that are left out are the model's."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None


class Conversation(BaseModel):
    """A conversation. None exists without a message."""

    id: Id
    title: str | None
    model: str | None
    preview: str
    metadata: dict[str, str]
    archived: bool
    archived_at: datetime | None
    pinned: bool
    tags: list[str]
    unread: bool = Field(description="An answer has ended since the conversation was last seen")
    temporary: bool = Field(description="In no list, search or feed; removed after TEMPORARY_CHAT_SECONDS")
    system_prompt: str | None
    parameters: ConversationParameters
    has_active_generation: bool
    created_at: datetime
    last_message_at: datetime
    last_updated: datetime
    feed_seq: int = Field(description="The number of the newest event of its feed")

    @staticmethod
    def of(found: rows.Conversation) -> Json:
        """A conversation, in a page or alone."""
        return {
            "id": found.id,
            "title": found.title,
            "model": found.model,
            "preview": found.preview,
            "metadata": found.metadata,
            "archived": found.archived_at is not None,
            "archived_at": found.archived_at,
            "pinned": found.pinned,
            "tags": found.tags,
            "unread": found.unread,
            "temporary": found.temporary,
            "system_prompt": found.system_prompt,
            "parameters": found.parameters,
            "has_active_generation": found.has_active_generation,
            "created_at": found.created_at,
            "last_message_at": found.last_message_at,
            "last_updated": found.last_updated,
            "feed_seq": found.feed_seq,
        }


class ConversationPage(BaseModel):
    """Conversations, newest first."""

    items: list[Conversation]
    next_cursor: str | None
    feed_seq: int = Field(description="The number of the newest event of /feed that this page knows")

    @staticmethod
    def of(page: services.ConversationPage) -> Json:
        """A page of conversations."""
        items = [Conversation.of(item) for item in page.items]
        return {"items": items, "next_cursor": page.next_cursor, "feed_seq": page.feed_seq}


class ConversationStatus(BaseModel):
    """The state of a conversation: whether an answer is being generated, and its text so far."""

    has_active_generation: bool
    generating_message_id: Id | None
    generation_id: Id | None
    status: Status | None
    queue_position: int | None
    partial_content: str | None
    cursor: CursorText | None
    last_updated: datetime

    @staticmethod
    def of(found: services.ConversationStatus) -> Json:
        """The state of a conversation, for a client that polls it."""
        active = found.active
        return {
            "has_active_generation": active is not None,
            "generating_message_id": active.row.message_id if active else None,
            "generation_id": active.row.id if active else None,
            "status": active.row.status if active else None,
            "queue_position": active.queue_position if active else None,
            "partial_content": active.content if active else None,
            "cursor": str(active.cursor) if active else None,
            "last_updated": found.last_updated,
        }


class ExportedConversation(BaseModel):
    """A conversation with all its branches. The body of `POST /conversations/import` describes its parts."""

    format: Literal["unbroken.conversation"]
    version: Literal[1]
    conversation: dict[str, Any]
    messages: list[dict[str, Any]]
