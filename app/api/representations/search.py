"""Results of a search."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Id, Json
from app.services.search import Found, FoundPage


class SearchHit(BaseModel):
    """A message that was found; or a conversation found by its title, with message_id and role null."""

    conversation_id: Id
    message_id: Id | None
    role: Literal["user", "assistant"] | None
    title: str | None
    snippet: str = Field(description="Plain text")
    highlights: list[tuple[int, int]] = Field(description="Of the snippet, in code points: from, up to")
    created_at: datetime

    @staticmethod
    def of(found: Found) -> Json:
        """A hit with its excerpt."""
        return {
            "conversation_id": found.hit.conversation_id,
            "message_id": found.hit.message_id,
            "role": found.hit.role,
            "title": found.hit.title,
            "snippet": found.excerpt.text,
            "highlights": found.excerpt.highlights,
            "created_at": found.hit.at,
        }


class SearchPage(BaseModel):
    """A page of hits, newest first."""

    items: list[SearchHit]
    next_cursor: str | None

    @staticmethod
    def of(page: FoundPage) -> Json:
        """A page of hits."""
        return {"items": [SearchHit.of(item) for item in page.items], "next_cursor": page.next_cursor}
