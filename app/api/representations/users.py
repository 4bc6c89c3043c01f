"""Users as operators see them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.api.representations.account import AccountLimits
from app.api.representations.fields import Id, Json
from app.services.user_admin import UserPage
from app.store import watched_users as store


class WatchedUser(BaseModel):
    """A user, without any text of theirs."""

    id: Id
    subject: str
    kind: Literal["person", "service"]
    name: str | None = Field(description="The name of a service account")
    state: Literal["active", "blocked", "erasing", "ended"] = Field(description="ended: a deleted service account")
    created_at: datetime
    blocked_at: datetime | None
    keys: int = Field(description="Valid API keys")

    @staticmethod
    def of(user: store.WatchedUser) -> Json:
        """A user."""
        return asdict(user)


class TokensUsed(BaseModel):
    """Tokens, of all credentials together."""

    input_tokens: int
    output_tokens: int


class UserUsage(BaseModel):
    """Tokens since midnight UTC, and since the first of the month."""

    today: TokensUsed
    month: TokensUsed


class UserReport(WatchedUser):
    """A user with their figures."""

    sessions: int
    conversations: int
    queued: int = Field(description="Answers that wait for a worker")
    running: int
    usage: UserUsage
    limits: AccountLimits

    @staticmethod
    def report(user: store.WatchedUser, figures: store.Figures, limits: Json) -> Json:
        """A user, their figures, and the limits of this deployment."""
        usage = {
            "today": {"input_tokens": figures.input_today, "output_tokens": figures.output_today},
            "month": {"input_tokens": figures.input_month, "output_tokens": figures.output_month},
        }
        counts = ("sessions", "conversations", "queued", "running")
        return {
            **WatchedUser.of(user),
            **{name: getattr(figures, name) for name in counts},
            "usage": usage,
            "limits": limits,
        }


class WatchedUserPage(BaseModel):
    """Users, newest first."""

    items: list[WatchedUser]
    next_cursor: str | None

    @staticmethod
    def of(page: UserPage) -> Json:
        """A page of users."""
        return {"items": [WatchedUser.of(user) for user in page.items], "next_cursor": page.next_cursor}
