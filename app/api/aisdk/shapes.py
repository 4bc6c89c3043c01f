"""Replies of the AI SDK's routes, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ChatStopped(BaseModel):
    """No answer is running in the chat."""

    success: Literal[True]


class ChatMessage(BaseModel):
    """A UIMessage of the AI SDK."""

    id: str
    role: Literal["user", "assistant"]
    metadata: dict[str, Any] | None = Field(None, description="generation_id, model and status of an answer")
    parts: list[dict[str, Any]]


class Chat(BaseModel):
    """A chat in the form that `useChat` begins with. A new chat has no messages."""

    id: str
    messages: list[ChatMessage]


ALL: tuple[type[BaseModel], ...] = (ChatStopped, Chat)
