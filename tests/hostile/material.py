"""Real credentials of one deployment: good ones, ended ones and expired ones, which hostile ones are made of."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt

from app.domain.audit import SERVICE
from app.domain.session import SignIn
from app.store.api_keys import KeyRights
from app.wiring import Resources

KEY_ID = "billing"
_RIGHTS = KeyRights("a program", frozenset(("generate", "read")))


@dataclass(frozen=True)
class Material:
    """Credentials of one user. Lists have several of a sort; ``secret`` signs tokens, ``signing`` requests."""

    keys: list[str]
    dead_keys: list[str]
    key_ids: list[str]
    sessions: list[str]
    dead_sessions: list[str]
    secret: str
    signing: bytes
    audience: str = "unbroken"

    def token(self, **changes: object) -> str:
        """A token that is good but for ``changes``."""
        now = int(time.time())
        claims = {"sub": "alice", "iat": now, "exp": now + 3600, "aud": self.audience, "iss": "unbroken", **changes}
        return jwt.encode(claims, self.secret, "HS256")


def collect(resources: Resources, secret: str, signing: bytes, many: int = 20) -> Material:
    """Make keys and sessions of alice, end half of them, and let some keys expire."""
    user_id = resources.users.user("alice", None).id
    keys = resources.api_keys
    made = [keys.make(SERVICE, user_id, _RIGHTS) for _ in range(2 * many)]
    for ended in made[many:]:
        keys.end(SERVICE, user_id, ended.key.id)
    soon = datetime.now(UTC) + timedelta(milliseconds=1)
    expired = keys.make(SERVICE, user_id, KeyRights("expired", _RIGHTS.scopes, expires_at=soon))
    begun = [resources.sessions.begin(SignIn(user_id, "link"), SERVICE) for _ in range(2 * many)]
    for session in begun[many:]:
        resources.sessions.end(user_id, session.id, SERVICE)
    return Material(
        keys=[one.text for one in made[:many]],
        dead_keys=[one.text for one in (*made[many:], expired)],
        key_ids=[one.key.id for one in made],
        sessions=[one.secret for one in begun[:many]],
        dead_sessions=[one.secret for one in begun[many:]],
        secret=secret,
        signing=signing,
    )


def new_signing_key() -> bytes:
    """A secret for HMAC_KEYS."""
    return secrets.token_bytes(32)
