"""Events of webhooks: their types, and bodies that Standard Webhooks and OpenAI's SDKs both accept. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

EventType = Literal["response.completed", "response.failed", "response.cancelled", "response.incomplete"]

COMPLETED: EventType = "response.completed"
FAILED: EventType = "response.failed"
CANCELLED: EventType = "response.cancelled"
INCOMPLETE: EventType = "response.incomplete"
EVENT_TYPES: tuple[EventType, ...] = (COMPLETED, FAILED, CANCELLED, INCOMPLETE)

# Finish reasons of an answer that stops before its end.
_CUT_SHORT = frozenset({"length", "content_filter"})
_BROKEN_OFF: dict[str, EventType] = {"error": FAILED, "cancelled": CANCELLED}


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """A generation that ends: its ids, and the final status with the finish reason."""

    generation_id: str
    conversation_id: str
    message_id: str
    status: str
    finish_reason: str | None = None

    @property
    def event_type(self) -> EventType:
        """The type of the event."""
        return _BROKEN_OFF.get(self.status) or (INCOMPLETE if self.finish_reason in _CUT_SHORT else COMPLETED)

    @property
    def event_id(self) -> str:
        """The id of the event. A generation ends once, so the id of its end is made of its own."""
        return event_id(self.generation_id)

    def body(self, at: datetime) -> bytes:
        """The body of the event, with ids and without text."""
        ids = {
            "id": response_id(self.generation_id),
            "generation_id": self.generation_id,
            "conversation_id": self.conversation_id,
            "message_id": self.message_id,
        }
        return event_body(self.event_id, self.event_type, at, ids)


def event_id(uuid: str) -> str:
    """An id of an event, evt_…; it has no dot, because dots separate the parts of what is signed."""
    return f"evt_{uuid.replace('-', '')}"


def response_id(generation_id: str) -> str:
    """The id of a generation in OpenAI's protocol: resp_…"""
    return f"resp_{generation_id.replace('-', '')}"


def event_body(identifier: str, kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    """The bytes that are sent and signed. ``timestamp`` is Standard Webhooks', ``created_at`` OpenAI's."""
    return orjson.dumps(
        {
            "id": identifier,
            "object": "event",
            "type": kind,
            "created_at": int(at.timestamp()),
            "timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "data": data,
        }
    )
