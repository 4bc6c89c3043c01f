"""Requests of the OpenAI-compatible routes.

``Ignored`` marks a known parameter that has no meaning here. It is accepted because programs send it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from app.api.answer_format import ResponseFormat, TextOptions
from app.api.fields import KeyHeaders, Metadata, ModelName
from app.api.openai import file_parts
from app.api.request_parsing import Body, Headers, Path, Query, Text, check_prompt
from app.domain.storable import sound


def _whole(value: Any) -> Any:
    """JSON has one kind of numbers: 1.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _one(value: int) -> int:
    if value != 1:
        raise ValueError("must be 1: a completion has one answer here")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
# -1 has the meaning "without a limit" for some upstreams; the upstream decides.
ChatLimit = Annotated[Whole, Field(ge=-1, le=10_000_000)]
Ignored = Annotated[Any, Field(None, description="Accepted and ignored")]


class OpenAIBody(Body):
    """A JSON object. Each value can be stored and sent to an upstream."""

    @model_validator(mode="before")
    @classmethod
    def _is_sound(cls, value: Any, info: ValidationInfo) -> Any:
        sound(value)
        check_prompt(value, info, without=file_parts.characters(value))
        return value


class OpenBody(OpenAIBody):
    """A request that an upstream answers. It may have parameters of the upstream's own."""

    model_config = ConfigDict(extra="allow")


class ResponseBody(OpenBody):
    """A request for a response."""

    model: ModelName
    input: Text | list[Any]
    instructions: Text | None = None
    background: bool | None = None
    stream: bool | None = None
    store: bool | None = Field(
        None, description="Responses are always stored; a client deletes those that it does not need"
    )
    previous_response_id: Text | None = None
    conversation: Text | dict[str, Any] | None = None
    metadata: Metadata | None = None
    max_output_tokens: Whole | None = Field(None, ge=1, le=10_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    tools: list[Any] | None = Field(None, max_length=128, description="Functions of the client's own")
    tool_choice: Text | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = Field(None, description="`format`: the form of the answer; `verbosity`")
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


class ChatBody(OpenBody):
    """A request for a chat completion. Parameters that upstreams know are sent to them unchanged."""

    model: ModelName
    messages: list[Any] = Field(min_length=1)
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    metadata: Metadata | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: ChatLimit | None = None
    max_completion_tokens: ChatLimit | None = None
    stop: Text | list[Text] | None = None
    seed: Whole | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Any] | None = None
    response_format: ResponseFormat | None = Field(None, description="The form that the text must have")
    tools: list[Any] | None = Field(None, max_length=128)
    tool_choice: Text | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Text | None = None
    verbosity: Text | None = None
    user: Text | None = None
    n: Annotated[Whole, AfterValidator(_one)] | None = Field(None, description="1: a completion has one answer")
    logprobs: Ignored
    top_logprobs: Ignored
    modalities: Ignored
    prediction: Ignored
    store: bool | None = Field(None, description="true: the native API lists the conversation of this completion")
    service_tier: Ignored
    safety_identifier: Ignored
    prompt_cache_key: Ignored
    prompt_cache_options: Ignored
    prompt_cache_retention: Ignored
    moderation: Ignored
    web_search_options: Ignored


class ConversationBody(OpenAIBody):
    """A new conversation. Each field is optional."""

    items: list[Any] | None = Field(None, max_length=20)
    metadata: Metadata | None = None


class MetadataBody(OpenAIBody):
    """The new metadata of a conversation, in place of the old."""

    metadata: Metadata


class ItemsBody(OpenAIBody):
    """Items for a conversation."""

    items: list[Any] = Field(min_length=1, max_length=20)


class ResponsePath(Path):
    """The id of a response: resp_…"""

    response_id: str


class OpenAIConversationPath(Path):
    """The id of a conversation: conv_…"""

    conversation_id: str


class ItemPath(OpenAIConversationPath):
    """The id of an item of a conversation."""

    item_id: str


class ModelPath(Path):
    """The name of a model. It may contain a slash."""

    model: str


class RetrieveQuery(Query):
    """The form of a response: the object, or its stream."""

    stream: bool = Field(False, description="The reply is the stream")
    starting_after: int | None = Field(None, ge=-1, description="A sequence number; the stream begins after it")


class ResumeHeaders(Headers):
    """The position of a stream that EventSource sends when it reconnects."""

    last_event_id: str | None = Field(
        None, alias="Last-Event-ID", description="Like starting_after; used when both are given"
    )


class PageQuery(Query):
    """A page of a list of items."""

    after: str | None = Field(None, max_length=100, description="The id of the last item of the page before")
    limit: int = Field(20, ge=1, le=100)
    order: str = Field("desc", pattern="^(asc|desc)$")


class OnceHeaders(KeyHeaders):
    """The key of a request. A repeated request with its key and body has no second effect."""

    def scoped_key(self, route: str) -> str | None:
        """The key within one route. A client may use it once more with another route."""
        key = self.key(None)
        return None if key is None else f"{route} {sha256(key.encode()).hexdigest()}"


class ChatHeaders(OnceHeaders):
    """The headers of a request for a chat completion."""

    listed: Literal["0", "1"] | None = Field(
        None, alias="X-Unbroken-Listed", description="1: the native API lists the conversation, as with `store`"
    )
    retry_count: str | None = Field(
        None,
        alias="X-Stainless-Retry-Count",
        description="Earlier attempts of this request, as OpenAI's SDKs send it: above 0 it joins the first one",
    )

    @property
    def retries(self) -> int | None:
        """The number of earlier attempts; None for a client that does not count them."""
        text = self.retry_count or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None
