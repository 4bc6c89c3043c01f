"""Replies of the OpenAI-compatible routes, for the OpenAPI document. The SDKs' own types have more detail."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class OpenAIErrorDetail(BaseModel):
    """The reason of a refusal."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """A refusal in the form that OpenAI's SDKs read."""

    error: OpenAIErrorDetail


class OpenAIResponse(BaseModel):
    """A response. OpenAI documents its items and the fields that repeat the request."""

    id: str = Field(examples=["resp_0193f5c1d2a47b3e8c9d0e1f2a3b4c5d"])
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
    background: bool
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool
    previous_response_id: str | None
    conversation: dict[str, Any] | None
    temperature: float | None
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float | None
    store: bool
    usage: dict[str, Any] | None


class OpenAIDeleted(BaseModel):
    """A deleted object."""

    id: str
    object: str
    deleted: Literal[True]


class OpenAIItems(BaseModel):
    """A page of items."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class OpenAIItem(BaseModel):
    """An item. Its further fields depend on its type."""

    id: str
    type: str


class OpenAIConversation(BaseModel):
    """A conversation."""

    id: str = Field(examples=["conv_0193f5c1d2a47b3e8c9d0e1f2a3b4c5d"])
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class OpenAIModel(BaseModel):
    """A model that can answer."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(BaseModel):
    """All models that can answer."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAICompletion(BaseModel):
    """A chat completion."""

    id: str = Field(examples=["chatcmpl-0193f5c1d2a47b3e8c9d0e1f2a3b4c5d"])
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]


class OpenAIEmbeddings(BaseModel):
    """The embeddings of texts, in the order of the input."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    model: str
    usage: dict[str, Any]


ALL: tuple[type[BaseModel], ...] = (
    OpenAIError,
    OpenAIResponse,
    OpenAIDeleted,
    OpenAIItems,
    OpenAIItem,
    OpenAIConversation,
    OpenAIModel,
    OpenAIModels,
    OpenAICompletion,
    OpenAIEmbeddings,
)
