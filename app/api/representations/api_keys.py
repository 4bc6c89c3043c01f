"""API keys, without their secrets; a new one with it, once."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from pydantic import BaseModel, Field

from app.api.representations.fields import Id, Json
from app.domain.budget import to_json
from app.domain.credential import Scope
from app.services.api_keys import KeyPage, MadeKey
from app.store import api_keys as store


class KeyBudget(BaseModel):
    """Limits of a day and of a month, in UTC. `null`: no limit."""

    tokens_per_day: int | None
    tokens_per_month: int | None
    cost_per_day: str | None = Field(description="In BUDGET_CURRENCY")
    cost_per_month: str | None = Field(description="In BUDGET_CURRENCY")


class ApiKeyLimits(BaseModel):
    """The limits of one key, beside those of its user. `null`: none of its own."""

    generations: str | None = Field(description="Such as 10/minute")
    reads: str | None = Field(description="Such as 100/minute")
    max_streams: int | None
    budget: KeyBudget | None = Field(description="Tokens and money")


class ApiKey(BaseModel):
    """An API key."""

    id: Id
    name: str
    hint: str = Field(description="The last characters of the key", examples=["unb_…x7Qa"])
    scopes: list[Scope]
    models: list[str] | None = Field(description="The models that it may use; null for all of them")
    limits: ApiKeyLimits
    replaces: Id | None = Field(description="The key after which this one was made by a rotation")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="Stored at most once a minute")
    ended_at: datetime | None

    @staticmethod
    def of(key: store.ApiKey) -> Json:
        """A key without its secret."""
        budget = key.limits.budget
        limits = {**asdict(key.limits), "budget": to_json(asdict(budget)) if budget else None}
        return {**asdict(key), "scopes": sorted(key.scopes), "limits": limits}


class NewApiKey(ApiKey):
    """A new API key."""

    key: str = Field(description="Shown here and never again: Authorization: Bearer <key>")

    @staticmethod
    def made(made: MadeKey) -> Json:
        """A new key with its text."""
        return {**ApiKey.of(made.key), "key": made.text}


class ApiKeyPage(BaseModel):
    """API keys, newest first."""

    items: list[ApiKey]
    next_cursor: str | None

    @staticmethod
    def of(page: KeyPage) -> Json:
        """A page of keys."""
        return {"items": [ApiKey.of(key) for key in page.items], "next_cursor": page.next_cursor}
