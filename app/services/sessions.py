"""Sessions of browsers: begun by a sign-in, known by the secret of a cookie, ended by time or on purpose."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from app.domain.audit import Actor
from app.domain.credential import revocable_session
from app.domain.session import Session, SessionRules, SignIn
from app.services.api_keys import record_key_end
from app.services.passes import batches
from app.services.users import new_id
from app.store import access, api_keys, audit, revocations, sessions
from app.store.database import Database, Tx

# 256 bits, as text for a cookie.
_BYTES = 32
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
# Sessions removed in one transaction, of those that have ended by themselves.
PRUNED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that begins: its id, the secret for its cookie, and the time at which it ends, whatever its use."""

    id: str
    secret: str
    latest_end: datetime


class Sessions:
    """Begins, finds and ends sessions. ``clock`` returns the time in seconds since 1970."""

    def __init__(self, database: Database, rules: SessionRules, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self.rules = rules

    def begin(self, sign_in: SignIn, actor: Actor, first: Callable[[Tx], None] = lambda tx: None) -> Begun:
        """Begin a session; the oldest of a user who has too many end. ``first`` runs first in the transaction."""
        now = self._clock()
        session_id, secret = new_id(), secrets.token_urlsafe(_BYTES)
        with self._database.user(sign_in.user_id) as tx:
            first(tx)
            sessions.forget_ended(tx, sign_in.user_id, now, self.rules)
            if sign_in.issuer is not None:
                _end_of_other_roles(tx, actor, sign_in, sign_in.issuer)
            sessions.add(tx, session_id, _digest(secret), sign_in, now)
            acting = replace(actor, user_id=sign_in.user_id, credential_kind="session", credential_id=session_id)
            audit.record(tx, acting, "session.begun", "session", session_id, details={"method": sign_in.method})
            surplus = sessions.end_oldest(tx, sign_in.user_id, self.rules.most_per_user)
            _record_ends(tx, acting, sign_in.user_id, surplus)
        return Begun(session_id, secret, datetime.fromtimestamp(now + self.rules.longest_seconds, UTC))

    def of_secret(self, secret: str) -> Session | None:
        """The open session whose cookie has this secret; None for every other text. The use is noted."""
        if not _SECRET.fullmatch(secret):
            return None
        return sessions.use(self._database, _digest(secret), self._clock(), self.rules)

    def of_user(self, user_id: str) -> list[Session]:
        """The open sessions of a user, the newest first."""
        with self._database.user(user_id) as tx:
            return sessions.of_user(tx, user_id, self._clock(), self.rules)

    def touch(self, session_ids: Iterable[str]) -> None:
        """Note a use of sessions, as by an open stream."""
        with self._database.without_user() as tx:
            sessions.touch(tx, list(session_ids), self._clock(), self.rules)

    def end(self, user_id: str, session_id: str, actor: Actor) -> bool:
        """End one session of a user. False when there is no such session."""
        with self._database.user(user_id) as tx:
            ended = [session_id] if sessions.end(tx, user_id, session_id) else []
            _record_ends(tx, actor, user_id, ended)
        return bool(ended)

    def end_all(self, user_id: str, actor: Actor) -> list[str]:
        """End all sessions of a user, and all tokens that were issued until now; the ids of the sessions."""
        with self._database.user(user_id) as tx:
            ended = sessions.end_all(tx, user_id)
            _record_ends(tx, actor, user_id, ended)
            access.end_tokens(tx, user_id)
            audit.record(tx, actor, "tokens.ended", "user", user_id, user_id=user_id)
        return ended

    def end_token(self, user_id: str, digest: str, expires_at: float, actor: Actor) -> None:
        """End one token of a user, by its SHA-256 in hexadecimal digits; it expires at ``expires_at`` otherwise."""
        with self._database.user(user_id) as tx:
            access.end_token(tx, digest, expires_at)
            audit.record(tx, actor, "token.ended", "token", digest, user_id=user_id)

    def owner_by_provider(self, issuer: str, sid: str) -> str | None:
        """The id of the user whose session an identity provider knows by this name."""
        with self._database.without_user() as tx:
            return sessions.owner_by_provider(tx, issuer, sid)

    def end_by_provider(self, user_id: str, issuer: str, sid: str | None, actor: Actor) -> list[str]:
        """End the sessions of a user that an identity provider has begun, or the one it names; their ids."""
        with self._database.user(user_id) as tx:
            ended = sessions.end_by_provider(tx, user_id, issuer, sid)
            _record_ends(tx, actor, user_id, ended)
        return ended

    def prune(self) -> Iterator[Iterator[None]]:
        """Remove the sessions of all users that have ended by themselves, in two parts; for workers."""
        for remove in (sessions.prune_unused, sessions.prune_old):
            batch = partial(remove, now=self._clock(), rules=self.rules, limit=PRUNED_AT_ONCE)
            yield batches(self._database, batch, PRUNED_AT_ONCE)


def _end_of_other_roles(tx: Tx, actor: Actor, sign_in: SignIn, issuer: str) -> None:
    """End what has a role that the identity provider does not give the user any more: sessions and keys."""
    ended = sessions.end_of_other_roles(tx, sign_in.user_id, issuer, sign_in.role)
    _record_ends(tx, actor, sign_in.user_id, ended)
    for key_id in api_keys.end_of_other_roles(tx, sign_in.user_id, sign_in.role):
        record_key_end(tx, actor, sign_in.user_id, key_id)


def _record_ends(tx: Tx, actor: Actor, user_id: str, session_ids: list[str]) -> None:
    revocations.add(tx, [revocable_session(session_id) for session_id in session_ids])
    for session_id in session_ids:
        audit.record(tx, actor, "session.ended", "session", session_id, user_id=user_id)


def _digest(secret: str) -> bytes:
    # The secret is random and long: a fast digest is as good as a slow one.
    return hashlib.sha256(secret.encode()).digest()
