"""Types and base classes of fields that several bodies, paths and headers have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import request
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from app.api.request_parsing import Body, Headers, Text, not_too_long
from app.domain.errors import InvalidInput
from app.domain.single_line import is_single_line, single_line
from app.domain.storable import storable
from app.egress.target import MOST_URL_CHARACTERS

_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
LONGEST_KEY = 200


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _one_line(text: str) -> str:
    if not is_single_line(text):
        raise ValueError("must be one line, without control characters and marks that turn the writing direction")
    return text


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _as_title(value: Any) -> Any:
    return single_line(storable(value)) if isinstance(value, str) else value


Id = Annotated[str, BeforeValidator(_lower), Field(pattern=_UUID, json_schema_extra={"format": "uuid"})]
Key = Annotated[Text, Field(min_length=1, max_length=LONGEST_KEY)]
ModelName = Annotated[Text, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Title = Annotated[str, BeforeValidator(_as_title), Field(min_length=1, max_length=200)]
MetadataKey = Annotated[Text, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[Text, Field(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
WebhookUrl = Annotated[Text, Field(min_length=1, max_length=MOST_URL_CHARACTERS)]
OnBusy = Literal["reject", "enqueue", "interrupt", "replace"]
FileId = Annotated[Text, Field(min_length=1, max_length=100)]


def _few(given: list[str], info: ValidationInfo) -> list[str]:
    most = (info.context or {}).get("max_attachments", 10)
    if len(given) > most:
        raise ValueError(f"must not have more than {most} files (MAX_ATTACHMENTS), and has {len(given)}")
    if len(set(given)) < len(given):
        raise ValueError("must not name a file twice")
    return given


Attachments = Annotated[list[FileId], AfterValidator(_few)]
# JSON has true beside 1, and Python does not.
Rating = Annotated[Literal[1, -1], BeforeValidator(_no_boolean)]
SystemPrompt = Annotated[Text, Field(max_length=8000)]
Tag = Annotated[str, BeforeValidator(_as_title), Field(min_length=1, max_length=40)]
# In the order in which they were given, each once.
Tags = Annotated[list[Tag], Field(max_length=8), AfterValidator(lambda tags: list(dict.fromkeys(tags)))]


class ParametersBody(Body):
    """The parameters of a conversation's answers. Those that are left out are the model's."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


class StartOptionsBody(Body):
    """The fields of every request that starts a generation. `null` is the same as leaving a field out."""

    model: ModelName | None = Field(None, description="The model that answers; see /models")
    client_msg_id: Key | None = Field(None, description="Your name for this request; a repeat is not done twice")
    on_busy: OnBusy | None = Field(
        None, description="The behaviour while an answer is being generated in this conversation; reject when left out"
    )
    webhook_url: WebhookUrl | None = Field(
        None, description="Receives an event when the answer has ended; docs/webhooks.md has the rules of addresses"
    )
    stream: bool | None = Field(None, description="Answer with the stream; so does Accept: text/event-stream")

    @property
    def wants_stream(self) -> bool:
        """True when the response is a stream, as the body says, or else as the header Accept does."""
        if self.stream is not None:
            return self.stream
        return "text/event-stream" in request.headers.get("Accept", "").lower()


class NewMessageBody(StartOptionsBody):
    """A new message: with text, or with files, or both."""

    # Before the message, which may be empty beside files.
    attachments: Attachments | None = Field(
        None, description="Files of the message by their ids, from POST /files; at most MAX_ATTACHMENTS"
    )
    message: Text = Field(description="The text of the user; beside files it may be empty")

    @field_validator("message")
    @classmethod
    def _is_text_or_has_files(cls, text: str, info: ValidationInfo) -> str:
        has_files = bool(info.data.get("attachments"))
        return text if has_files and not text.strip() else not_too_long(text, info)


class KeyHeaders(Headers):
    """Headers that stand for fields of the body."""

    model_config = ConfigDict(populate_by_name=False)

    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        description="Makes the request safe to repeat; takes the place of client_msg_id where the body has it",
    )

    def key(self, from_body: str | None) -> str | None:
        """The idempotency key of the header or the body. Raises InvalidInput when both are given and differ."""
        if self.idempotency_key is None:
            return from_body
        # WSGI decodes the bytes of headers as Latin-1 (PEP 3333).
        key = self.idempotency_key.encode("latin-1", "replace").decode("utf-8", "replace")
        if len(key) > LONGEST_KEY or not key.isprintable():
            raise InvalidInput(f"must be 1 to {LONGEST_KEY} printable characters", "Idempotency-Key")
        if from_body is not None and from_body != key:
            raise InvalidInput("client_msg_id and Idempotency-Key are given and differ", "client_msg_id")
        return key
