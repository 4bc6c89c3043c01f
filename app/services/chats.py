"""Chats whose clients choose the ids, send their whole history and know no branches."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.commands import EditMessage, OnBusy, Regenerate, Said, StartGeneration, User
from app.domain.errors import InvalidInput
from app.domain.generation import TERMINAL
from app.services.accounts import new_id
from app.services.generations import Generations
from app.services.history import LONGEST
from app.services.starting import Command
from app.store import chats, conversations
from app.store.conversations import Message
from app.store.database import Database, Tx
from app.store.generations import Generation

# A finished answer is told once more for so long: who lost the connection just before the end must not be left with
# half an answer that looks whole.
REPLAY_SECONDS = 300.0

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client says: ``text`` under its name ``message_id``, or the ``outputs`` of tools an answer called.

    ``before`` is the history as the client has it, ``seen_id`` the last answer in it. ``again``: answer once more;
    ``named_id`` is the message the client means by that.
    """

    chat_id: str
    message_id: str
    text: str
    outputs: tuple[dict[str, Any], ...] = ()
    before: tuple[Said, ...] = ()
    seen_id: str | None = None
    again: bool = False
    named_id: str | None = None
    model: str | None = None
    on_busy: OnBusy = "interrupt"
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Telling:
    """An answer to be told. ``chain``: the stored messages it continues, the first answer of them first."""

    generation: Generation
    chain: tuple[Message, ...] = ()

    @property
    def message_id(self) -> str:
        """The one message all of it is to the client."""
        return self.chain[0].id if self.chain else self.generation.message_id


class Chats:
    """What a user may do with chats. Another user's chat is answered like one that does not exist."""

    def __init__(self, database: Database, generations: Generations) -> None:
        self._database = database
        self._generations = generations

    def plan(self, user: User, ask: Ask) -> Command | Generation:
        """What is to be started, or the generation that was started by the same request before. Raises InvalidInput."""
        with self._database.user(user.id) as tx:
            conversation_id = self._claim(tx, user, ask.chat_id)
            if ask.outputs:
                return _continue(tx, conversation_id, ask)
            known = chats.message_named(tx, conversation_id, ask.message_id)
            if ask.again:
                answer = _answer_meant(tx, conversation_id, ask, known)
                if answer is not None:
                    return Regenerate(answer, ask.model, ask.on_busy, parameters=ask.parameters)
            elif known is not None and known.role == "user":
                found = chats.newest_answer(tx, conversation_id, to=known.id)
                if known.content == ask.text and found is not None:
                    return found
                return _edit(ask, known)
            return _say(tx, conversation_id, ask)

    def current(self, user: User, chat_id: str) -> Telling | None:
        """The answer a client that comes back has to be told: the one being made, or one that has just ended.

        None when there is none: nothing was asked, it was stopped, it ended long ago, or something newer was said.
        """
        with self._database.user(user.id) as tx:
            conversation_id = _find(tx, chat_id)
            row = chats.newest_answer(tx, conversation_id) if conversation_id else None
            if row is None or (row.status in TERMINAL and not _is_fresh(tx, row)):
                return None
            return _telling(tx, row)

    def telling(self, user: User, row: Generation) -> Telling:
        """An answer with what it continues."""
        with self._database.user(user.id) as tx:
            return _telling(tx, row)

    def stop(self, user: User, chat_id: str) -> None:
        """Stop everything that runs or waits in a chat; afterwards nothing does."""
        with self._database.user(user.id) as tx:
            conversation_id = _find(tx, chat_id)
        if conversation_id is not None:
            self._generations.cancel_all(user, conversation_id)

    def branch(self, user: User, chat_id: str) -> list[Message]:
        """The messages that lead to the newest one, and itself, oldest first; none for an unknown chat."""
        with self._database.user(user.id) as tx:
            conversation_id = _find(tx, chat_id)
            newest = conversations.last_message_id(tx, conversation_id) if conversation_id else None
            return conversations.branch(tx, newest, LONGEST) if newest else []

    def _claim(self, tx: Tx, user: User, chat_id: str) -> str:
        """The chat's conversation, promised if it does not exist yet."""
        if (own := _own(tx, chat_id)) is not None:
            return own
        conversation_id = chats.claim(tx, user.id, chat_id, new_id())
        if conversations.get(tx, conversation_id) is None:
            chats.promise(tx, user.id, conversation_id)
        return conversation_id


def _find(tx: Tx, chat_id: str) -> str | None:
    return _own(tx, chat_id) or chats.find(tx, chat_id)


def _own(tx: Tx, chat_id: str) -> str | None:
    """A chat may also be called by the id of its conversation."""
    if not _UUID.fullmatch(chat_id):
        return None
    found = conversations.get(tx, chat_id.lower())
    return found.id if found else None


def _say(tx: Tx, conversation_id: str, ask: Ask) -> StartGeneration:
    if not ask.text:
        raise InvalidInput("There is nothing to answer.", "messages")
    is_new = conversations.get(tx, conversation_id) is None
    # What was said elsewhere comes along; what was said here is known.
    said = (*ask.before, Said("user", ask.text)) if is_new and ask.before else ()
    return StartGeneration(
        message=ask.text,
        conversation_id=conversation_id,
        model=ask.model,
        parent_id=None if is_new else _parent(tx, conversation_id, ask.seen_id),
        on_busy=ask.on_busy,
        client_msg_id=ask.message_id,
        idempotency_key=_key("say", ask.chat_id, ask.message_id),
        parameters=ask.parameters,
        said=said,
    )


def _edit(ask: Ask, known: Message) -> EditMessage:
    return EditMessage(
        message_id=known.id,
        message=ask.text,
        model=ask.model,
        on_busy=ask.on_busy,
        client_msg_id=ask.message_id,
        idempotency_key=_key("edit", known.id, ask.text),
        parameters=ask.parameters,
    )


def _continue(tx: Tx, conversation_id: str, ask: Ask) -> StartGeneration:
    """Go on with an answer whose tool calls the client has run."""
    caller = chats.caller_of(tx, conversation_id, ask.outputs[0]["call_id"])
    if caller is None:
        raise InvalidInput("No answer of this chat made that tool call.", "messages")
    return StartGeneration(
        message="",
        conversation_id=conversation_id,
        model=ask.model,
        parent_id=caller.id,
        on_busy=ask.on_busy,
        idempotency_key=_key("continue", caller.id, *(output["call_id"] for output in ask.outputs)),
        parameters=ask.parameters,
        said=(Said("user", "", ask.outputs),),
    )


def _answer_meant(tx: Tx, conversation_id: str, ask: Ask, known: Message | None) -> str | None:
    """Which answer is to be made once more; None when the message it would answer never came here."""
    if known is not None and known.role == "user":
        found = chats.newest_answer(tx, conversation_id, to=known.id)
        return found.message_id if found else None
    for name in (ask.named_id, ask.message_id):
        named = chats.message_named(tx, conversation_id, name) if name else None
        if named is not None and named.role == "assistant":
            return named.id
    return None


def _parent(tx: Tx, conversation_id: str, seen_id: str | None) -> str | None:
    """What a new message follows: the newest (None), unless the client is looking at another branch."""
    seen = chats.message_named(tx, conversation_id, seen_id) if seen_id else None
    newest = conversations.last_message_id(tx, conversation_id)
    if seen is None or newest is None:
        return None
    branch = conversations.branch(tx, newest, LONGEST)
    return None if any(message.id == seen.id for message in branch) else seen.id


def _is_fresh(tx: Tx, row: Generation) -> bool:
    """Whether an ended answer is still told to who comes back: not stopped, not long ago, nothing newer said."""
    age = chats.seconds_since_end(tx, row.id)
    is_newest = conversations.last_message_id(tx, row.conversation_id) == row.message_id
    return row.status != "cancelled" and is_newest and age is not None and age < REPLAY_SECONDS


def _telling(tx: Tx, row: Generation) -> Telling:
    return Telling(row, tuple(_continued(conversations.branch(tx, row.user_message_id, LONGEST))))


def _continued(branch: Sequence[Message]) -> list[Message]:
    """The end of a branch that is one answer with the outputs of its tools: none unless it ends with such outputs."""
    begin = len(branch)
    while begin >= 2 and gives_outputs(branch[begin - 1]) and branch[begin - 2].role == "assistant":
        begin -= 2
    return list(branch[begin:])


def gives_outputs(message: Message) -> bool:
    """Whether a user's message is nothing but what tools said."""
    items = [item for item in message.items or () if item]
    return message.role == "user" and bool(items) and all(i.get("type") == "function_call_output" for i in items)


def _key(*parts: str) -> str:
    """An idempotency key of fixed length, whatever the client calls things."""
    return "chat-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:48]
