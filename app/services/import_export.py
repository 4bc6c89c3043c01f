"""Export and import of whole conversations. An import has the branches of the export, under new ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import count
from typing import Any

import orjson

from app.domain.commands import User
from app.domain.errors import KeyReused, NotFound
from app.services.attachments import Attachments
from app.services.users import new_id
from app.store import conversations, generations, imports, messages
from app.store.conversations import Conversation
from app.store.database import ONE_MOMENT, Database, Tx
from app.store.imports import Past, Place
from app.store.messages import Message

# Bytes held at a time: a message may have megabytes, and a conversation thousands of messages.
BATCH_BYTES = 1_000_000
BATCH_MESSAGES = 200
_NO_FEEDBACK = b',"feedback":null}'


@dataclass(frozen=True, slots=True)
class Export:
    """A conversation to export. ``places`` are its messages in order; ``messages`` reads them in batches.

    ``messages`` raises NotFound when the conversation is deleted meanwhile.
    """

    conversation: Conversation
    places: list[Place]
    messages: Iterator[Message]


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """A message to import. ``parent`` is the number of the message it follows, counted from 1; None: a first one."""

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
    feedback: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ImportConversation:
    """A conversation to import. ``messages`` reads them from the first on at each call: one or more, none before
    its parent. Only one of them is held at a time. An error it raises ends the import, and nothing is stored.

    Fields with a default are younger than stored hashes.
    """

    title: str | None
    model: str | None
    metadata: dict[str, str]
    created_at: datetime
    archived_at: datetime | None
    messages: Callable[[], Iterator[ImportedMessage]]
    pinned: bool = False
    tags: Sequence[str] = ()
    system_prompt: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Survey:
    """Facts about the messages of an import, from the first reading. ``hash`` covers the whole import."""

    count: int
    preview: str
    last_message_at: datetime
    hash: bytes


class ImportExport:
    """Exports and imports conversations. Raises NotFound for another user's id, as for one that does not exist."""

    def __init__(self, database: Database, attachments: Attachments) -> None:
        self._database = database
        self._attachments = attachments

    def export(self, user: User, conversation_id: str) -> Export:
        """The export of a whole conversation."""
        found, places = self._outline(user, conversation_id)
        return Export(found, places, self._read(user, places))

    def export_branch(self, user: User, conversation_id: str, through: str | None) -> Export:
        """The export of one branch: through a message to its newest descendant, or the newest branch."""
        found, places = self._outline(user, conversation_id)
        branch = _branch(places, through or places[-1].id)
        return Export(found, branch, self._read(user, branch))

    def add(
        self, user: User, imported: ImportConversation, key: str | None, admit: Callable[[], None]
    ) -> tuple[Conversation, bool]:
        """Store a conversation in one transaction, and whether it was new: a request with this key may have done it.

        ``admit`` is called when it is new, and may raise to prevent it. Raises KeyReused.
        """
        return self._add(user, imported, _survey(imported), key, admit)

    def add_foreign(self, user: User, imported: ImportConversation, source: str) -> tuple[Conversation, int, bool]:
        """Store a conversation of another program, unless it was imported before with the same content.

        Returns the conversation, the number of its messages, and whether it is new.
        """
        survey = _survey(imported)
        made, is_new = self._add(user, imported, survey, f"{source} {survey.hash.hex()}", lambda: None)
        return made, survey.count, is_new

    def _add(
        self, user: User, imported: ImportConversation, survey: _Survey, key: str | None, admit: Callable[[], None]
    ) -> tuple[Conversation, bool]:
        ids = [new_id() for _ in range(survey.count)]
        conversation = imports.PastConversation(
            id=new_id(),
            user_id=user.id,
            first_message_id=ids[0],
            title=imported.title,
            model=imported.model,
            metadata=imported.metadata,
            preview=survey.preview,
            message_count=survey.count,
            created_at=imported.created_at,
            archived_at=imported.archived_at,
            pinned=imported.pinned,
            tags=list(imported.tags),
            system_prompt=imported.system_prompt,
            parameters=imported.parameters,
            last_message_at=survey.last_message_at,
            import_key=key,
            import_hash=survey.hash if key else None,
        )
        with self._database.user(user.id) as tx:
            if key and (earlier := _earlier(tx, user, key, survey.hash)):
                return earlier, False
            admit()
            imports.add(tx, conversation, map(partial(_past, ids), count(), self._held(tx, user, imported)))
            added = conversations.get(tx, conversation.id)
        assert added, "added above"
        return added, True

    def _held(self, tx: Tx, user: User, imported: ImportConversation) -> Iterator[ImportedMessage]:
        """The messages, whose files stay until they are stored."""
        for said in imported.messages():
            self._attachments.hold_left(tx, user, said.items)
            yield said

    def _outline(self, user: User, conversation_id: str) -> tuple[Conversation, list[Place]]:
        with self._database.user(user.id, ONE_MOMENT) as tx:
            found = conversations.get(tx, conversation_id)
            if found is None:
                raise NotFound("There is no such conversation.")
            return found, imports.outline(tx, conversation_id)

    def _read(self, user: User, places: Sequence[Place]) -> Iterator[Message]:
        """The messages, a batch at a time, each batch in a transaction of its own."""
        for batch in _batches(places):
            with self._database.user(user.id) as tx:
                found = messages.in_order(tx, [place.id for place in batch])
            if len(found) < len(batch):
                raise NotFound("The conversation has been deleted.")
            yield from found


def _earlier(tx: Tx, user: User, key: str, hashed: bytes) -> Conversation | None:
    """The conversation that an import with this key has stored. Raises KeyReused when that import was another one."""
    # Not the keys of messages: those are other requests.
    generations.hold_key(tx, user.id, f"import {key}")
    found = imports.by_key(tx, key)
    if found is None:
        return None
    conversation_id, other = found
    if other != hashed:
        raise KeyReused
    return conversations.get(tx, conversation_id)


def _survey(imported: ImportConversation) -> _Survey:
    """Read all messages once, before anything is stored. The hash is the SHA-256 of the import as one JSON object."""
    head = {name: getattr(imported, name) for name in ("title", "model", "metadata", "created_at", "archived_at")}
    younger = {name: getattr(imported, name) for name in ("pinned", "tags", "system_prompt", "parameters")}
    head |= {"metadata": dict(sorted(imported.metadata.items()))}
    head |= {name: value for name, value in younger.items() if value} | {"messages": []}
    digest = sha256(orjson.dumps(head).removesuffix(b"]}"))
    number, preview, last = 0, "", datetime.min.replace(tzinfo=UTC)
    for number, said in enumerate(imported.messages(), 1):
        digest.update(b"," if number > 1 else b"")
        for part in _hashed(said):
            digest.update(part)
        preview = said.content[: conversations.PREVIEW_CHARS] or preview
        last = max(last, said.created_at)
    digest.update(b"]}")
    return _Survey(number, preview, last, digest.digest())


def _hashed(said: ImportedMessage) -> Iterator[bytes | memoryview]:
    """A message in the form in which it is hashed, in parts. Stored hashes are older than the last field, feedback."""
    form = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    if said.feedback is None:
        yield memoryview(form)[: -len(_NO_FEEDBACK)]
        yield b"}"
    else:
        yield form


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
        feedback=said.feedback,
        created_at=said.created_at,
    )
