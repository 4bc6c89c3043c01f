"""A session: a browser in which somebody has signed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

SignInMethod = Literal["link", "oidc"]

# Characters that are kept of a browser's name and of an address; the table has the same bounds.
USER_AGENT_CHARS = 200
ADDRESS_CHARS = 100


@dataclass(frozen=True, slots=True)
class SignIn:
    """One sign-in: the user, the method that proved the user, the role from now on, and the browser.

    ``issuer`` and ``sid``: the identity provider and its name for the session, for logout by the provider.
    ``id_token``: a hint for the provider at sign-out; it never reaches the browser.
    """

    user_id: str
    method: SignInMethod
    role: str | None = None
    user_agent: str = ""
    address: str = ""
    email: str | None = None
    issuer: str | None = None
    sid: str | None = None
    id_token: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRules:
    """The bounds of sessions: seconds without use, seconds in all, and the number of one user."""

    idle_seconds: float
    longest_seconds: float
    most_per_user: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is open. ``seen_at`` is its last use, to a minute."""

    id: str
    user_id: str
    subject: str
    method: SignInMethod
    role: str | None
    user_agent: str
    address: str
    email: str | None
    issuer: str | None
    sid: str | None
    id_token: str | None
    created_at: datetime
    seen_at: datetime

    def latest_end(self, rules: SessionRules) -> datetime:
        """The time at which the session ends, whatever its use."""
        return self.created_at + timedelta(seconds=rules.longest_seconds)

    def ends_at(self, rules: SessionRules) -> datetime:
        """The time at which the session ends unless it is used again."""
        return min(self.latest_end(rules), self.seen_at + timedelta(seconds=rules.idle_seconds))
