"""A message and a page of messages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Id, Json, Status, ToolCall
from app.domain import message_files
from app.services import conversations as services
from app.store import messages as rows


class Attachment(BaseModel):
    """A file of a message, as it was attached; its content answers 404 when the file was deleted since."""

    file_id: str | None = Field(description="Null in an imported message whose file was gone")
    filename: str | None
    media_type: str | None
    bytes: int | None
    width: int | None = Field(description="In pixels; null for other files than images")
    height: int | None


class AnswerFeedback(BaseModel):
    """The user's rating of an answer, and a comment."""

    rating: Literal[1, -1]
    comment: str | None


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
    finish_reason: str | None = Field(description="Of an answer that has ended: `length` is one that was cut off")
    error: dict[str, Any] | None = Field(description="Of an answer that failed: `code`, `message`")
    model: str | None
    generation_id: Id | None
    usage: dict[str, Any] | None
    metadata: dict[str, str]
    attachments: list[Attachment]
    feedback: AnswerFeedback | None = Field(description="On an answer, as its user has given it")
    created_at: datetime
    last_updated: datetime

    @staticmethod
    def of(said: rows.Message) -> Json:
        """A message, question or answer."""
        return {
            "seq": said.seq,
            "message_id": said.id,
            "client_msg_id": said.client_msg_id,
            "conversation_id": said.conversation_id,
            "parent_id": said.parent_id,
            "role": said.role,
            "content": said.content,
            "reasoning": said.reasoning,
            "tools": said.tools,
            "status": said.status,
            "finish_reason": said.finish_reason,
            "error": said.error,
            "model": said.model,
            "generation_id": said.generation_id,
            "usage": said.usage,
            "metadata": said.metadata,
            "attachments": message_files.attachments(said.items),
            "feedback": said.feedback,
            "created_at": said.created_at,
            "last_updated": said.last_updated,
        }


class MessagePage(BaseModel):
    """Messages in order."""

    items: list[Message]
    next_seq: int | None

    @staticmethod
    def of(page: services.MessagePage) -> Json:
        """A page of messages."""
        return {"items": [Message.of(item) for item in page.items], "next_seq": page.next_seq}
