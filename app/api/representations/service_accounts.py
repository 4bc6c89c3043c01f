"""Service accounts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from pydantic import BaseModel, Field

from app.api.representations.fields import Id, Json
from app.services.service_accounts import AccountPage
from app.store import service_accounts as store


class ServiceAccount(BaseModel):
    """A user of programs."""

    id: Id
    name: str
    subject: str = Field(description="Its name among the users; no token and no sign-in can have it")
    created_at: datetime
    keys: int = Field(description="Its valid keys")

    @staticmethod
    def of(account: store.ServiceAccount) -> Json:
        """An account."""
        return asdict(account)


class ServiceAccountPage(BaseModel):
    """Service accounts, newest first."""

    items: list[ServiceAccount]
    next_cursor: str | None

    @staticmethod
    def of(page: AccountPage) -> Json:
        """A page of accounts."""
        return {"items": [ServiceAccount.of(account) for account in page.items], "next_cursor": page.next_cursor}
