"""The sessions of a user."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Id, Json
from app.domain.session import Session as OpenSession
from app.domain.session import SessionRules


class Session(BaseModel):
    """A browser in which the user is signed in."""

    id: Id
    method: Literal["link", "oidc"] = Field(description="A one-time link, or the identity provider")
    current: bool = Field(description="True for the session that has sent this request")
    created_at: datetime
    seen_at: datetime = Field(description="The last use, to a minute")
    expires_at: datetime = Field(description="The end, unless the session is used again")
    user_agent: str = Field(description="The browser's own description, at the sign-in")
    address: str = Field(description="The IP address at the sign-in")

    @staticmethod
    def of(session: OpenSession, rules: SessionRules, current_id: str | None) -> Json:
        """A session, as its user sees it."""
        return {
            "id": session.id,
            "method": session.method,
            "current": session.id == current_id,
            "created_at": session.created_at,
            "seen_at": session.seen_at,
            "expires_at": session.ends_at(rules),
            "user_agent": session.user_agent,
            "address": session.address,
        }


class SessionList(BaseModel):
    """The open sessions of a user, the newest first."""

    items: list[Session]
