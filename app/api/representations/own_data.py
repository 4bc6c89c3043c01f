"""The erasure of a user, and a legal hold."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from app.api.representations.fields import Id, Json
from app.store import erasures, holds


class Erasure(BaseModel):
    """The erasure of everything of a user."""

    id: Id
    state: Literal["requested"]
    requested_at: datetime

    @staticmethod
    def of(found: erasures.Erasure) -> Json:
        """An erasure as its user sees it, who is refused from now on."""
        return {"id": found.id, "state": "requested", "requested_at": found.requested_at}


class Hold(BaseModel):
    """A legal hold."""

    user_id: Id
    reason: str
    placed_at: datetime

    @staticmethod
    def of(found: holds.Hold) -> Json:
        """A hold as operators see it."""
        return {"user_id": found.user_id, "reason": found.reason, "placed_at": found.placed_at}
