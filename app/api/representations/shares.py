"""Shared conversations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from pydantic import BaseModel, Field

from app.api.representations.fields import Id, Json
from app.services.shares import Made
from app.store.shares import Share as Stored


class Share(BaseModel):
    """A shared conversation. Its address was shown once, when it was shared."""

    conversation_id: Id
    title: str
    messages: int = Field(description="Their number")
    created_at: datetime

    @staticmethod
    def of(share: Stored) -> Json:
        """A share without its address."""
        return asdict(share)


class NewShare(Share):
    """A conversation that was just shared."""

    url: str = Field(description="The path of its address; it is shown here and never again", examples=["/s/5Kd…"])

    @staticmethod
    def made(made: Made) -> Json:
        """A new share with its address."""
        return {**Share.of(made.share), "url": made.path}


class ShareList(BaseModel):
    """The shared conversations of a user, newest first."""

    items: list[Share]

    @staticmethod
    def of(found: Iterable[Stored]) -> Json:
        """All shares."""
        return {"items": [Share.of(share) for share in found]}
