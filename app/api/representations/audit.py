"""Audited actions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.api.representations.fields import Id, Json
from app.services import audit as services
from app.store.audit import AuditRow


class AuditedAction(BaseModel):
    """An action: the actor, the object, the time and the origin. It has no text of a conversation."""

    id: Id
    at: datetime
    action: str = Field(description="An object and a verb in the past, such as session.ended")
    object_kind: str
    object_id: str
    user_id: Id | None = Field(description="The user acted on")
    actor_id: Id | None = Field(description="The user who acted; null for the service itself")
    credential_kind: str | None = Field(description="token, session, key or signature")
    credential_id: str
    address: str | None = Field(description="The client's IP address")
    request_id: str | None
    details: dict[str, Any]

    @staticmethod
    def of(row: AuditRow) -> Json:
        """One action."""
        return asdict(row)


class AuditPage(BaseModel):
    """Actions, newest first."""

    items: list[AuditedAction]
    next_cursor: str | None

    @staticmethod
    def of(page: services.AuditPage) -> Json:
        """A page of actions."""
        return {"items": [AuditedAction.of(row) for row in page.items], "next_cursor": page.next_cursor}
