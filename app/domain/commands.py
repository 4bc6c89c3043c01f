"""Validated requests to the services. The edges validate; the services rely on it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from app.domain.credential import TOKEN, Credential, revocables

OnBusy = Literal["reject", "enqueue", "interrupt", "replace"]
# The parameter of a generation that names the message whose text it continues. No provider receives it.
CONTINUES = "unbroken_continues"


@dataclass(frozen=True, slots=True)
class User:
    """The caller of a request: the service's id, the subject, the role, and the credential that proved it."""

    id: str
    subject: str
    role: str | None = None
    credential: Credential = TOKEN

    @property
    def revocables(self) -> frozenset[str]:
        """The names of everything whose revocation ends what this caller has opened."""
        return revocables(self.id, self.credential)


@dataclass(frozen=True, slots=True)
class Said:
    """One message to be stored. ``items``: what it consists of, where its text does not say it all."""

    role: Literal["user", "assistant"]
    content: str
    items: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings that a new conversation of a person begins with.

    ``system_prompt`` None: the one that the user prefers; empty: none. ``parameters`` that are left out are those that
    the user prefers. ``temporary``: no list shows the conversation,
    and it is removed some time after its last message.
    """

    system_prompt: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class StartGeneration:
    """Send a message. Without ``conversation_id`` a new conversation begins with it.

    ``said`` are several messages in its place, the oldest first. ``request`` is kept with the generation for the
    protocol it came by, which has to tell it again. ``listed``: a new conversation is in lists, searches and feeds.
    ``webhook_url`` receives the event of the end. ``setup`` None: the request is a program's, and the preferences of
    its user do not count. ``attachments`` are the ids of the files of ``message``.
    """

    message: str
    conversation_id: str | None = None
    model: str | None = None
    parent_id: str | None = None
    on_busy: OnBusy = "reject"
    client_msg_id: str | None = None
    idempotency_key: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    request: dict[str, Any] | None = None
    listed: bool = True
    webhook_url: str | None = None
    setup: Setup | None = None
    attachments: tuple[str, ...] = ()

    @property
    def messages(self) -> tuple[Said, ...]:
        """The messages to be stored."""
        return self.said or (Said("user", self.message),)


@dataclass(frozen=True, slots=True)
class Regenerate:
    """Generate another answer to the message before ``message_id``, on a branch of its own."""

    message_id: str
    model: str | None = None
    on_busy: OnBusy = "reject"
    idempotency_key: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class ContinueAnswer:
    """Generate the answer ``message_id`` further, on a branch of its own that begins with its text."""

    message_id: str
    model: str | None = None
    on_busy: OnBusy = "reject"
    idempotency_key: str | None = None
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class EditMessage:
    """Send ``message`` in the place of ``message_id``, on a branch of its own, and generate its answer.

    ``attachments`` None: the files of the message that is replaced.
    """

    message_id: str
    message: str
    model: str | None = None
    on_busy: OnBusy = "reject"
    client_msg_id: str | None = None
    idempotency_key: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    webhook_url: str | None = None
    attachments: tuple[str, ...] | None = None


def request_hash(command: StartGeneration | Regenerate | ContinueAnswer | EditMessage) -> bytes:
    """The hash that a repeat under one idempotency key must have: of all fields but the keys."""
    body: dict[str, Any] = {"kind": type(command).__name__, **asdict(command)}
    body.pop("idempotency_key")
    body.pop("client_msg_id", None)
    # Younger than stored hashes.
    body.pop("listed", None)
    if command.webhook_url is None:
        body.pop("webhook_url")
    if body.get("setup") in (None, asdict(Setup())):
        body.pop("setup", None)
    if body.get("attachments") in ((), None):
        body.pop("attachments", None)
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


@dataclass(frozen=True, slots=True)
class ListConversations:
    """One page of a user's conversations, newest first. ``cursor`` comes from the page before."""

    limit: int = 20
    cursor: str | None = None
    model: str | None = None
    archived: bool = False
    pinned: bool | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeConversation:
    """Change what is not None. ``clear`` names fields to be emptied (title, model, system_prompt)."""

    title: str | None = None
    archived: bool | None = None
    model: str | None = None
    pinned: bool | None = None
    tags: list[str] | None = None
    system_prompt: str | None = None
    parameters: dict[str, Any] | None = None
    clear: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Search:
    """One page of what a user's messages and titles say about ``question``. ``cursor`` comes from the page before."""

    question: str
    limit: int = 20
    cursor: str | None = None
