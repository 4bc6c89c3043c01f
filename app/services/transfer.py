"""Conversations leave whole, and come back: the same messages on the same branches, under ids of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson

from app.domain.commands import User
from app.domain.errors import KeyReused, NotFound
from app.services.accounts import new_id
from app.store import conversations, generations, past
from app.store.conversations import Conversation, Message
from app.store.database import ONE_MOMENT, Database, Tx
from app.store.past import Past, Place

# As much as is held at a time, in bytes: a message may have megabytes, and a conversation thousands of messages.
BATCH_BYTES = 1_000_000
BATCH_MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Export:
    """A conversation on its way out. ``places`` are its messages in order; ``messages`` reads them when asked to.

    Who takes them from ``messages`` learns by NotFound that the conversation was deleted meanwhile.
    """

    conversation: Conversation
    places: list[Place]
    messages: Iterator[Message]


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """A message from elsewhere. ``parent`` is the number of the one it follows, counted from 1; None: it begins."""

    parent: int | None
    role: str
    status: str
    content: str
    created_at: datetime
    reasoning: str = ""
    tools: Sequence[dict[str, Any]] = ()
    model: str | None = None
    client_msg_id: str | None = None
    usage: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    items: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class ImportConversation:
    """A conversation from elsewhere: at least one message, each behind its parent."""

    title: str | None
    model: str | None
    metadata: dict[str, str]
    created_at: datetime
    archived_at: datetime | None
    messages: Sequence[ImportedMessage]


class Transfer:
    """Takes conversations out and in. A foreign id is answered like one that does not exist: NotFound."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def export(self, user: User, conversation_id: str) -> Export:
        """All of a conversation."""
        found, places = self._outline(user, conversation_id)
        return Export(found, places, self._read(user, places))

    def export_branch(self, user: User, conversation_id: str, through: str | None) -> Export:
        """One branch: the one that leads through a message to its newest descendant, or the newest."""
        found, places = self._outline(user, conversation_id)
        branch = _branch(places, through or places[-1].id)
        return Export(found, branch, self._read(user, branch))

    def add(
        self, user: User, imported: ImportConversation, key: str | None, admit: Callable[[], None]
    ) -> tuple[Conversation, bool]:
        """Store a conversation in one transaction, and whether it was new: a request with this key may have done it.

        ``admit`` is called when it is new, and may raise to prevent it. Raises KeyReused.
        """
        ids = [new_id() for _ in imported.messages]
        conversation_id = new_id()
        hashed = _hash(imported) if key else b""
        with self._database.user(user.id) as tx:
            if key and (earlier := _earlier(tx, user, key, hashed)):
                return earlier, False
            admit()
            past.add(
                tx,
                conversation_id=conversation_id,
                user_id=user.id,
                title=imported.title,
                model=imported.model,
                metadata=imported.metadata,
                created_at=imported.created_at,
                archived_at=imported.archived_at,
                messages=[_past(ids, n, said) for n, said in enumerate(imported.messages)],
                import_key=key,
                import_hash=hashed,
            )
            added = conversations.get(tx, conversation_id)
        assert added, "added above"
        return added, True

    def _outline(self, user: User, conversation_id: str) -> tuple[Conversation, list[Place]]:
        with self._database.user(user.id, ONE_MOMENT) as tx:
            found = conversations.get(tx, conversation_id)
            if found is None:
                raise NotFound("There is no such conversation.")
            return found, past.outline(tx, conversation_id)

    def _read(self, user: User, places: Sequence[Place]) -> Iterator[Message]:
        """The messages, a batch at a time, each batch in a transaction of its own."""
        for batch in _batches(places):
            with self._database.user(user.id) as tx:
                found = conversations.messages_named(tx, [place.id for place in batch])
            if len(found) < len(batch):
                raise NotFound("The conversation has been deleted.")
            yield from found


def _earlier(tx: Tx, user: User, key: str, hashed: bytes) -> Conversation | None:
    """What a request with this key has stored. Raises KeyReused when that was something else."""
    # Not the keys of messages: those are other requests.
    generations.hold_key(tx, user.id, f"import {key}")
    found = past.by_key(tx, key)
    if found is None:
        return None
    conversation_id, other = found
    if other != hashed:
        raise KeyReused
    return conversations.get(tx, conversation_id)


def _hash(imported: ImportConversation) -> bytes:
    return sha256(orjson.dumps(imported, option=orjson.OPT_SORT_KEYS)).digest()


def _batches(places: Sequence[Place]) -> Iterator[list[Place]]:
    batch: list[Place] = []
    size = 0
    for place in places:
        if batch and (size + place.size > BATCH_BYTES or len(batch) == BATCH_MESSAGES):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += place.size
    if batch:
        yield batch


def _branch(places: Sequence[Place], through: str) -> list[Place]:
    """The way from the beginning through a message to its newest descendant. Raises NotFound without such a message."""
    by_id = {place.id: place for place in places}
    if through not in by_id:
        raise NotFound("There is no such message in this conversation.")
    leaf: Place | None = by_id[through]
    below = {through}
    for place in places:
        if place.parent_id in below:
            below.add(place.id)
            leaf = place
    branch: list[Place] = []
    while leaf is not None:
        branch.append(leaf)
        leaf = by_id[leaf.parent_id] if leaf.parent_id else None
    return branch[::-1]


def _past(ids: Sequence[str], n: int, said: ImportedMessage) -> Past:
    return Past(
        id=ids[n],
        parent_id=ids[said.parent - 1] if said.parent else None,
        seq=n + 1,
        role=said.role,
        status=said.status,
        content=said.content,
        reasoning=said.reasoning,
        tools=list(said.tools),
        model=said.model,
        client_msg_id=said.client_msg_id,
        usage=said.usage,
        metadata=said.metadata or {},
        items=said.items,
        created_at=said.created_at,
    )
