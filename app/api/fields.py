"""Fields that several bodies and paths have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import request
from pydantic import BeforeValidator, ConfigDict, Field

from app.api.reading import Body, Headers, Text
from app.domain.errors import InvalidInput

_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
LONGEST_KEY = 200


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Id = Annotated[str, BeforeValidator(_lower), Field(pattern=_UUID, json_schema_extra={"format": "uuid"})]
Key = Annotated[Text, Field(min_length=1, max_length=LONGEST_KEY)]
ModelName = Annotated[Text, Field(min_length=1, max_length=200)]
MetadataKey = Annotated[Text, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[Text, Field(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
OnBusy = Literal["reject", "enqueue", "interrupt", "replace"]


class AskBody(Body):
    """What every way to ask for an answer has. `null` is the same as leaving a field out."""

    model: ModelName | None = Field(None, description="Who answers; see /models")
    client_msg_id: Key | None = Field(None, description="Your name for this request: sent twice, it is done once")
    on_busy: OnBusy | None = Field(
        None, description="What to do while an answer is being made in this conversation; reject when left out"
    )
    stream: bool | None = Field(None, description="Answer with the stream; so does Accept: text/event-stream")

    @property
    def wants_stream(self) -> bool:
        """What the body says, or else what the client accepts."""
        if self.stream is not None:
            return self.stream
        return "text/event-stream" in request.headers.get("Accept", "").lower()


class KeyHeaders(Headers):
    """Other ways to say things."""

    model_config = ConfigDict(populate_by_name=False)

    idempotency_key: str | None = Field(None, alias="Idempotency-Key", description="The same as client_msg_id")

    def key(self, from_body: str | None) -> str | None:
        """The idempotency key, wherever it is given. Raises InvalidInput when both are and differ."""
        if self.idempotency_key is None:
            return from_body
        # WSGI hands header bytes over as Latin-1.
        key = self.idempotency_key.encode("latin-1", "replace").decode("utf-8", "replace")
        if len(key) > LONGEST_KEY or not key.isprintable():
            raise InvalidInput(f"must be 1 to {LONGEST_KEY} printable characters", "Idempotency-Key")
        if from_body is not None and from_body != key:
            raise InvalidInput("client_msg_id and Idempotency-Key are given and differ", "client_msg_id")
        return key
