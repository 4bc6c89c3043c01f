"""Parts that several representations have."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

# An object of JSON, with values that orjson encodes: times as datetime, for instance.
Json = dict[str, Any]
Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
CursorText = Annotated[str, Field(description="A position in the stream, <epoch>-<n>", examples=["1-42"])]
Status = Literal["queued", "running", "completed", "error", "cancelled"]


class CallPlace(BaseModel):
    """The place of a tool call: its round from 1, and the characters of text and of reasoning before it."""

    round: int
    text: int
    reasoning: int


class ToolCall(BaseModel):
    """A tool call in its latest state."""

    call_id: str
    tool: str
    state: Literal["started", "finished", "failed"]
    arguments: str
    result: str | None
    extra: dict[str, Any] = Field(
        default_factory=dict, description="What the provider gave with the call and wants back; absent without any"
    )
    place: CallPlace | None = Field(None, description="Absent in calls that were stored without it")


class Cost(BaseModel):
    """An amount of money."""

    cost: str
    currency: str | None


def decimal_text(number: Decimal) -> str:
    """A number without an exponent and without zeros at the end of its fraction."""
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"
