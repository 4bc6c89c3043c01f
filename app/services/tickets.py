"""Stream tickets, for clients that can send no header: a browser's EventSource has nothing but its address.

A ticket is a row of PostgreSQL and not a signature (docs/decisions/0014): so it can say whether it was used in time,
needs no key, and does not care what happens to Redis.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from app.domain.commands import User
from app.domain.credential import TOKEN, Credential, Scope
from app.domain.errors import NotFound
from app.store import conversations, generations, tickets
from app.store.api_keys import limits_of
from app.store.database import Database, Tx
from app.store.tickets import Holder

# Seconds after its issue in which a ticket first opens its stream, and in which it opens the stream again.
OPEN_SECONDS = 60.0
REOPEN_SECONDS = 900.0
# 256 bits, as text for an address.
_BYTES = 32
# The object of a ticket for the feed of everything; its row names the user.
FEED = "feed"
_LONGEST = 100
# The scopes of a ticket: it opens a stream.
READS: frozenset[Scope] = frozenset(("read",))


@dataclass(frozen=True, slots=True)
class Ticket:
    """An issued ticket: its text, and the time by which it has to be used first."""

    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Admission:
    """The user of a ticket, and the end of the stream's time (seconds since 1970)."""

    user: User
    expires_at: float


class Tickets:
    """Issues and redeems tickets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def for_generation(self, user: User, generation_id: str, token_expires_at: float) -> Ticket:
        """A ticket for a generation's stream. Raises NotFound for another user's."""
        with self._database.user(user.id) as tx:
            if generations.get(tx, generation_id) is None:
                raise NotFound
            return _issue(tx, user, generation_id, token_expires_at)

    def for_conversation(self, user: User, conversation_id: str, token_expires_at: float) -> Ticket:
        """A ticket for a conversation's feed. Raises NotFound for another user's."""
        with self._database.user(user.id) as tx:
            if conversations.get(tx, conversation_id) is None:
                raise NotFound
            return _issue(tx, user, conversation_id, token_expires_at)

    def for_feed(self, user: User, token_expires_at: float) -> Ticket:
        """A ticket for the feed of everything this user has."""
        with self._database.user(user.id) as tx:
            return _issue(tx, user, user.id, token_expires_at)

    def admit(self, text: str, object_id: str) -> Admission | None:
        """The holder of a ticket for the stream of ``object_id``, or FEED; None for a ticket that does not open it."""
        if not 0 < len(text) <= _LONGEST or "\0" in object_id:
            return None
        with self._database.without_user() as tx:
            opens = None if object_id == FEED else object_id
            holder = tickets.use(tx, _digest(text), opens, OPEN_SECONDS, REOPEN_SECONDS)
        if holder is None:
            return None
        return Admission(_user(holder), holder.token_expires_at.timestamp())


def _issue(tx: Tx, user: User, object_id: str, token_expires_at: float) -> Ticket:
    text = secrets.token_urlsafe(_BYTES)
    tickets.forget(tx, user.id, REOPEN_SECONDS)
    expires_at = tickets.add(tx, _digest(text), user, object_id, token_expires_at, OPEN_SECONDS)
    return Ticket(text, expires_at)


def _user(holder: Holder) -> User:
    """The user of a ticket with the credential that it was issued for: what ends the one ends the other."""
    kind, credential_id = holder.credential_kind, holder.credential_id
    credential = TOKEN
    if kind is not None:
        credential = Credential(kind, credential_id or "", READS, limits=limits_of(holder.limits))
    return User(holder.user_id, holder.subject, None, credential)


def _digest(text: str) -> bytes:
    # The text is random and long: a fast digest is as good as a slow one.
    return hashlib.sha256(text.encode()).digest()
