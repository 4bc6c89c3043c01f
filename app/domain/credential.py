"""The proof by which a request acts for a user, and the names by which it can be revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.domain.budget import Budget

CredentialKind = Literal["token", "session", "key", "signature"]
# "read": requests that change nothing. "generate": requests that send, change or delete conversations. "admin": the
# routes of operators, where the role of the user also allows it.
Scope = Literal["generate", "read", "admin"]
EVERY_SCOPE: frozenset[Scope] = frozenset(("generate", "read", "admin"))


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of one API key, beside those of its user. None: no limit of its own.

    ``generations`` and ``reads`` are rates such as ``10/minute``; ``max_streams`` is a number of open streams.
    ``budget``: tokens and money of a day and a month.
    """

    generations: str | None = None
    reads: str | None = None
    max_streams: int | None = None
    budget: Budget | None = None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential of one request.

    ``id``: the id of the session or key, the key's name in HMAC_KEYS, or the SHA-256 of a token in hexadecimal digits;
    empty where nobody can end it alone. ``models``: the models that it may use; None for all of them.
    """

    kind: CredentialKind
    id: str = ""
    scopes: frozenset[Scope] = EVERY_SCOPE
    models: frozenset[str] | None = None
    limits: KeyLimits = NO_LIMITS

    def may_use(self, model: str) -> bool:
        """True when the credential may use the model of this name."""
        return self.models is None or model in self.models

    @property
    def key_id(self) -> str | None:
        """The id of the API key, for usage and budgets; None for other credentials."""
        return self.id if self.kind == "key" else None


TOKEN = Credential("token")


def revocable_user(user_id: str) -> str:
    """The name under which everything of a user is revoked at once: the user is blocked, or is being erased."""
    return f"user {user_id}"


def revocable_tokens(user_id: str) -> str:
    """The name under which all of a user's tokens are revoked that were issued before."""
    return f"tokens {user_id}"


def revocable_session(session_id: str) -> str:
    """The name under which one session is revoked."""
    return f"session {session_id}"


def revocable(credential: Credential) -> str:
    """The name under which one credential is revoked."""
    return f"{credential.kind} {credential.id}"


def revocables(user_id: str, credential: Credential) -> frozenset[str]:
    """The names of everything whose revocation ends what was opened with this credential."""
    names = {revocable_user(user_id)}
    if credential.id:
        names.add(revocable(credential))
    if credential.kind == "token":
        names.add(revocable_tokens(user_id))
    return frozenset(names)
