"""What the OpenAI-compatible routes read. A parameter nobody knows is refused by its name.

Those that are known and change nothing here are listed as such: accepted, because programs send them, and ignored.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any

from pydantic import Field, model_validator

from app.api.fields import KeyHeaders, Metadata, ModelName
from app.api.reading import Body, Headers, Path, Query, Text
from app.domain.storable import sound

Ignored = Annotated[Any, Field(None, description="Accepted and ignored")]


class OpenAIBody(Body):
    """A JSON object whose every value can be stored and sent on."""

    @model_validator(mode="before")
    @classmethod
    def _is_sound(cls, value: Any) -> Any:
        sound(value)
        return value


class ResponseBody(OpenAIBody):
    """A request for a response."""

    model: ModelName
    input: Text | list[Any]
    instructions: Text | None = None
    background: bool | None = None
    stream: bool | None = None
    store: bool | None = Field(None, description="Responses are always stored; delete what should not stay")
    previous_response_id: Text | None = None
    conversation: Text | dict[str, Any] | None = None
    metadata: Metadata | None = None
    max_output_tokens: int | None = Field(None, ge=1, le=10_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    tools: list[Any] | None = Field(None, max_length=128, description="Functions of the client's own")
    tool_choice: Text | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    truncation: Text | None = None
    user: Text | None = None
    safety_identifier: Text | None = None
    prompt_cache_key: Text | None = None
    include: Ignored
    stream_options: Ignored
    max_tool_calls: Ignored
    top_logprobs: Ignored
    prompt_cache_options: Ignored
    prompt_cache_retention: Ignored
    service_tier: Ignored
    prompt: Ignored
    moderation: Ignored
    context_management: Ignored
    access_programs: Ignored
    image: Ignored


class ChatBody(OpenAIBody):
    """A request for a chat completion. What has a meaning upstream is sent there as it is."""

    model: ModelName
    messages: list[Any] = Field(min_length=1)
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    metadata: Metadata | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=10_000_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=10_000_000)
    stop: Text | list[Text] | None = None
    seed: int | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = Field(None, max_length=128)
    tool_choice: Text | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Text | None = None
    verbosity: Text | None = None
    user: Text | None = None
    n: int | None = Field(None, ge=1, le=1, description="One answer")
    logprobs: Ignored
    top_logprobs: Ignored
    modalities: Ignored
    prediction: Ignored
    store: Ignored
    service_tier: Ignored
    safety_identifier: Ignored
    prompt_cache_key: Ignored
    prompt_cache_options: Ignored
    prompt_cache_retention: Ignored
    moderation: Ignored
    web_search_options: Ignored


class ConversationBody(OpenAIBody):
    """A conversation to be created; everything may be left out."""

    items: list[Any] | None = Field(None, max_length=20)
    metadata: Metadata | None = None


class MetadataBody(OpenAIBody):
    """What its owner notes about a conversation, in place of what was there."""

    metadata: Metadata


class ItemsBody(OpenAIBody):
    """Items to be added."""

    items: list[Any] = Field(min_length=1, max_length=20)


class ResponsePath(Path):
    """Which response: resp_…"""

    response_id: str


class OpenAIConversationPath(Path):
    """Which conversation: conv_…"""

    conversation_id: str


class ItemPath(OpenAIConversationPath):
    """Which item of it."""

    item_id: str


class ModelPath(Path):
    """Which model. Its name may contain a slash."""

    model: str


class RetrieveQuery(Query):
    """The object, or its stream."""

    stream: bool = Field(False, description="Answer with the stream")
    starting_after: int | None = Field(None, ge=-1, description="A sequence number; the stream goes on behind it")


class ResumeHeaders(Headers):
    """Where to go on, as EventSource says it."""

    last_event_id: str | None = Field(
        None, alias="Last-Event-ID", description="The same as starting_after, and wins over it"
    )


class PageQuery(Query):
    """Which items."""

    after: str | None = Field(None, max_length=100, description="The id of the last item seen")
    limit: int = Field(20, ge=1, le=100)
    order: str = Field("desc", pattern="^(asc|desc)$")


class OnceHeaders(KeyHeaders):
    """A request with the same key and body is done once."""

    def scoped_key(self, route: str) -> str | None:
        """The key for one route: the same one elsewhere is another."""
        key = self.key(None)
        return None if key is None else f"{route} {sha256(key.encode()).hexdigest()}"
