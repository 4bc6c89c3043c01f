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
from app.domain.errors import NotFound
from app.store import conversations, generations, tickets
from app.store.database import Database, Tx

# How soon a stream has to be opened, and for how long after its issue the same address opens it again.
OPEN_SECONDS = 60.0
REOPEN_SECONDS = 900.0
# 256 bits, as text for an address.
_BYTES = 32
# What a ticket for the feed of everything is asked to open; its row names the user themselves.
FEED = "feed"
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is handed out: the text, and when it is worth nothing unless it was used by then."""

    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Admission:
    """Who opens a stream by a ticket, and until when it may last (seconds since 1970)."""

    user: User
    expires_at: float


class Tickets:
    """Issues tickets and lets their holders in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def for_generation(self, user: User, generation_id: str, token_expires_at: float) -> Ticket:
        """A ticket for a generation's stream. Raises NotFound for what is not this user's."""
        with self._database.user(user.id) as tx:
            if generations.get(tx, generation_id) is None:
                raise NotFound
            return _issue(tx, user, generation_id, token_expires_at)

    def for_conversation(self, user: User, conversation_id: str, token_expires_at: float) -> Ticket:
        """A ticket for a conversation's feed. Raises NotFound for what is not this user's."""
        with self._database.user(user.id) as tx:
            if conversations.get(tx, conversation_id) is None:
                raise NotFound
            return _issue(tx, user, conversation_id, token_expires_at)

    def for_feed(self, user: User, token_expires_at: float) -> Ticket:
        """A ticket for the feed of everything this user has."""
        with self._database.user(user.id) as tx:
            return _issue(tx, user, user.id, token_expires_at)

    def admit(self, text: str, object_id: str) -> Admission | None:
        """Who may open the stream of ``object_id``, or FEED, by this ticket; None when it does not open it."""
        if not 0 < len(text) <= _LONGEST or "\0" in object_id:
            return None
        with self._database.system() as tx:
            opens = None if object_id == FEED else object_id
            holder = tickets.use(tx, _digest(text), opens, OPEN_SECONDS, REOPEN_SECONDS)
        if holder is None:
            return None
        return Admission(User(holder.user_id, holder.subject), holder.token_expires_at.timestamp())


def _issue(tx: Tx, user: User, object_id: str, token_expires_at: float) -> Ticket:
    text = secrets.token_urlsafe(_BYTES)
    tickets.forget(tx, user.id, REOPEN_SECONDS)
    expires_at = tickets.add(tx, _digest(text), user.id, object_id, token_expires_at, OPEN_SECONDS)
    return Ticket(text, expires_at)


def _digest(text: str) -> bytes:
    # The text is random and long: a fast digest is as good as a slow one.
    return hashlib.sha256(text.encode()).digest()
