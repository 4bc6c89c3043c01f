"""Chats of the AI SDK: a client chooses the ids, sends its whole history, and knows no branches."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain import message_files
from app.domain.commands import EditMessage, OnBusy, Regenerate, Said, StartGeneration, User
from app.domain.errors import InvalidInput
from app.domain.generation import TERMINAL
from app.domain.message_files import FilePart, Item
from app.services.generations import Generations
from app.services.history import LONGEST
from app.services.placement import Command
from app.services.users import new_id
from app.store import chats, conversations, messages
from app.store.database import Database, Tx
from app.store.generations import Generation
from app.store.messages import Message

# Seconds for which an ended answer is replayed. A client that lost its connection just before the end would otherwise
# keep half an answer that looks whole.
REPLAY_SECONDS = 300.0

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A client's message: ``text`` and ``files`` under its name ``message_id``, or ``outputs`` of called tools.

    ``before`` is the history as the client has it, ``seen_id`` the last answer in it. ``again``: answer once more;
    ``named_id`` is the message the client means by that.
    """

    chat_id: str
    message_id: str
    text: str
    files: tuple[FilePart, ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    before: tuple[Said, ...] = ()
    seen_id: str | None = None
    again: bool = False
    named_id: str | None = None
    model: str | None = None
    on_busy: OnBusy = "interrupt"
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of the message; none for a message of text only."""
        return message_files.items_with(self.text, self.files)


@dataclass(frozen=True, slots=True)
class ChainedAnswer:
    """An answer to be sent. ``chain``: the stored messages it continues, the first answer of them first."""

    generation: Generation
    chain: tuple[Message, ...] = ()

    @property
    def message_id(self) -> str:
        """The one message all of it is to the client."""
        return self.chain[0].id if self.chain else self.generation.message_id


class AISDKChats:
    """The chats of a user. Another user's chat is answered like one that does not exist."""

    def __init__(self, database: Database, generations: Generations) -> None:
        self._database = database
        self._generations = generations

    def plan(self, user: User, request: ChatRequest) -> Command | Generation:
        """The command of a request, or the generation that an equal request has started. Raises InvalidInput."""
        with self._database.user(user.id) as tx:
            conversation_id = self._claim(tx, user, request.chat_id)
            if request.outputs:
                return _continue(tx, conversation_id, request)
            known = chats.message_named(tx, conversation_id, request.message_id)
            if request.again:
                answer = _answer_meant(tx, conversation_id, request, known)
                if answer is not None:
                    return Regenerate(answer, request.model, request.on_busy, parameters=request.parameters)
            elif known is not None and known.role == "user":
                found = chats.newest_answer(tx, conversation_id, to=known.id)
                if found is not None and known.content == request.text and _ids(known.items) == _ids(request.items):
                    return found
                return _edit(request, known)
            return _say(tx, conversation_id, request)

    def current(self, user: User, chat_id: str) -> ChainedAnswer | None:
        """The answer for a client that reconnects: the live one, or one that has just ended.

        None without one: the chat has no answer, the answer was stopped or ended long ago, or a newer message exists.
        """
        with self._database.user(user.id) as tx:
            conversation_id = _find(tx, chat_id)
            row = chats.newest_answer(tx, conversation_id) if conversation_id else None
            if row is None or (row.status in TERMINAL and not _is_fresh(tx, row)):
                return None
            return _chained(tx, row)

    def chained(self, user: User, row: Generation) -> ChainedAnswer:
        """The answer of a generation, with the stored messages that it continues."""
        with self._database.user(user.id) as tx:
            return _chained(tx, row)

    def stop(self, user: User, chat_id: str) -> None:
        """Cancel every queued or running generation of a chat."""
        with self._database.user(user.id) as tx:
            conversation_id = _find(tx, chat_id)
        if conversation_id is not None:
            self._generations.cancel_all(user, conversation_id)

    def branch(self, user: User, chat_id: str) -> list[Message]:
        """The messages that lead to the newest one, and itself, oldest first; none for an unknown chat."""
        with self._database.user(user.id) as tx:
            conversation_id = _find(tx, chat_id)
            newest = messages.newest_id(tx, conversation_id) if conversation_id else None
            return messages.branch(tx, newest, LONGEST) if newest else []

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


def _say(tx: Tx, conversation_id: str, request: ChatRequest) -> StartGeneration:
    if not request.text and not request.files:
        raise InvalidInput("There is nothing to answer.", "messages")
    is_new = conversations.get(tx, conversation_id) is None
    # Messages of the client that are not stored here are added.
    before = request.before if is_new else ()
    said = (*before, Said("user", request.text, request.items)) if before or request.files else ()
    return StartGeneration(
        message=request.text,
        conversation_id=conversation_id,
        model=request.model,
        parent_id=None if is_new else _parent(tx, conversation_id, request.seen_id),
        on_busy=request.on_busy,
        client_msg_id=request.message_id,
        idempotency_key=_key("say", request.chat_id, request.message_id),
        parameters=request.parameters,
        said=said,
    )


def _edit(request: ChatRequest, known: Message) -> EditMessage:
    return EditMessage(
        message_id=known.id,
        message=request.text,
        model=request.model,
        on_busy=request.on_busy,
        client_msg_id=request.message_id,
        idempotency_key=_key("edit", known.id, request.text, *_ids(request.items)),
        parameters=request.parameters,
        attachments=tuple(_ids(request.items)),
    )


def _continue(tx: Tx, conversation_id: str, request: ChatRequest) -> StartGeneration:
    """Go on with an answer whose tool calls the client has run."""
    caller = chats.caller_of(tx, conversation_id, request.outputs[0]["call_id"])
    if caller is None:
        raise InvalidInput("No answer of this chat made that tool call.", "messages")
    return StartGeneration(
        message="",
        conversation_id=conversation_id,
        model=request.model,
        parent_id=caller.id,
        on_busy=request.on_busy,
        idempotency_key=_key("continue", caller.id, *(output["call_id"] for output in request.outputs)),
        parameters=request.parameters,
        said=(Said("user", "", request.outputs),),
    )


def _answer_meant(tx: Tx, conversation_id: str, request: ChatRequest, known: Message | None) -> str | None:
    """The answer to regenerate; None when the message that it answers was never stored."""
    if known is not None and known.role == "user":
        found = chats.newest_answer(tx, conversation_id, to=known.id)
        return found.message_id if found else None
    for name in (request.named_id, request.message_id):
        named = chats.message_named(tx, conversation_id, name) if name else None
        if named is not None and named.role == "assistant":
            return named.id
    return None


def _parent(tx: Tx, conversation_id: str, seen_id: str | None) -> str | None:
    """The message that a new one follows: the newest (None), unless the client shows another branch."""
    seen = chats.message_named(tx, conversation_id, seen_id) if seen_id else None
    newest = messages.newest_id(tx, conversation_id)
    if seen is None or newest is None:
        return None
    branch = messages.branch(tx, newest, LONGEST)
    return None if any(message.id == seen.id for message in branch) else seen.id


def _is_fresh(tx: Tx, row: Generation) -> bool:
    """True for an ended answer that is still replayed: not cancelled, ended lately, the newest message."""
    age = chats.seconds_since_end(tx, row.id)
    is_newest = messages.newest_id(tx, row.conversation_id) == row.message_id
    return row.status != "cancelled" and is_newest and age is not None and age < REPLAY_SECONDS


def _chained(tx: Tx, row: Generation) -> ChainedAnswer:
    return ChainedAnswer(row, tuple(_continued(messages.branch(tx, row.user_message_id, LONGEST))))


def _continued(branch: Sequence[Message]) -> list[Message]:
    """The end of a branch that is one answer with the outputs of its tools: none unless it ends with such outputs."""
    begin = len(branch)
    while begin >= 2 and gives_outputs(branch[begin - 1]) and branch[begin - 2].role == "assistant":
        begin -= 2
    return list(branch[begin:])


def gives_outputs(message: Message) -> bool:
    """True for a user's message that consists of outputs of tools only."""
    items = [item for item in message.items or () if item]
    return message.role == "user" and bool(items) and all(i.get("type") == "function_call_output" for i in items)


def _ids(items: Iterable[Item | None] | None) -> list[str]:
    """The ids of the files of a message."""
    return [part["file_id"] for part in message_files.in_items(items) if part.get("file_id")]


def _key(*parts: str) -> str:
    """An idempotency key of fixed length, made of ids of any length."""
    return "chat-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:48]
