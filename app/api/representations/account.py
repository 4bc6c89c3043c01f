"""An account, its limits, and a ticket for a stream."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from app.api.representations.budgets import BudgetStanding
from app.api.representations.fields import Id, Json
from app.domain.budget import Standing
from app.domain.commands import User
from app.domain.credential import CredentialKind
from app.domain.session import Session


class AccountLimits(BaseModel):
    """The limits of one user."""

    new_conversations: str
    generations: str
    reads: str
    streams: int
    message_chars: int
    attachments: int = Field(description="Files of one message")
    file_bytes: int = Field(description="Bytes of one file")
    prompt_file_bytes: int = Field(description="Bytes of the images and PDFs of one message together")


class CurrentSignIn(BaseModel):
    """The credential that has authenticated the request."""

    kind: CredentialKind
    session_id: Id | None = Field(description="The session in /api/v1/sessions; null for other credentials")
    expires_at: datetime = Field(description="The end of the credential")


class Account(BaseModel):
    """The user of the request."""

    id: Id
    subject: str
    role: str | None
    email: str | None = Field(description="As the identity provider knows it; null without one")
    sign_in: CurrentSignIn
    limits: AccountLimits
    budgets: list[BudgetStanding] | None = Field(
        description="Of the user and of the API key of the request; null while PostgreSQL does not answer"
    )

    @staticmethod
    def of(
        user: User,
        session: Session | None,
        expires_at: float,
        limits: dict[str, Any],
        standings: Iterable[Standing] | None,
    ) -> Json:
        """A user with the credential of the request, the limits of this deployment, and the budgets."""
        sign_in = {
            "kind": user.credential.kind,
            "session_id": session.id if session else None,
            "expires_at": datetime.fromtimestamp(expires_at, UTC),
        }
        return {
            "id": user.id,
            "subject": user.subject,
            "role": user.role,
            "email": session.email if session else None,
            "sign_in": sign_in,
            "limits": limits,
            "budgets": None if standings is None else BudgetStanding.of_all(standings),
        }


class StreamTicket(BaseModel):
    """Opens one stream."""

    ticket: str = Field(description="For the query of the stream's address: ?ticket=")
    expires_at: datetime = Field(description="It has to be used by then, and is good for reconnecting after that")
