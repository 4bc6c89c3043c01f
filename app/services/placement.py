"""The place of an answer: its conversation, the message it answers, and its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from app.domain import message_files
from app.domain.commands import CONTINUES, ContinueAnswer, EditMessage, OnBusy, Regenerate, Said, Setup, StartGeneration
from app.domain.errors import InvalidInput, NotFound, WrongState
from app.domain.generation import TERMINAL
from app.services.users import new_id
from app.store import conversations, generations, messages, preferences, reserved_conversations
from app.store.conversations import Held
from app.store.database import Tx
from app.store.messages import Message

Command = StartGeneration | Regenerate | ContinueAnswer | EditMessage
# Returns the name of the model for requests that name none, from the model that their user prefers, None without one.
DefaultModel = Callable[[str | None], str]


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of an answer. ``said`` empty: the message it answers exists already, as ``message_id``.

    ``message_id`` is the last of ``said``; ``own_model`` and ``setup`` are what a new conversation keeps; ``reserved``
    is the metadata of a conversation that was reserved before. ``parameters`` are those of the request and, where it
    has none, of the conversation.
    """

    conversation_id: str
    is_new: bool
    message_id: str
    parent_id: str | None
    said: tuple[Said, ...]
    model: str
    own_model: str | None = None
    client_msg_id: str | None = None
    metadata: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    request: dict[str, Any] | None = None
    reserved: dict[str, Any] | None = None
    listed: bool = True
    setup: Setup = field(default_factory=Setup)


def place(tx: Tx, command: Command, default_model: DefaultModel) -> Placement:
    """Find the place of an answer, and hold its conversation until the transaction ends.

    Raises NotFound for a conversation or message that does not exist, InvalidInput for one that cannot be answered,
    WrongState for an answer that cannot be continued yet.
    """
    match command:
        case StartGeneration(conversation_id=None):
            return _new(tx, command, default_model)
        case StartGeneration():
            return _next(tx, command, default_model)
        case Regenerate():
            return _again(tx, command, default_model)
        case ContinueAnswer():
            return _continued(tx, command, default_model)
        case EditMessage():
            return _edited(tx, command, default_model)


def _new(tx: Tx, command: StartGeneration, default_model: DefaultModel) -> Placement:
    if command.parent_id is not None:
        raise InvalidInput("A new conversation has no message to branch from.", "parent_id")
    setup, preferred = command.setup or Setup(), None
    if command.setup is not None:
        chosen = preferences.get(tx)
        preferred = chosen.get("model")
        if setup.system_prompt is None:
            setup = replace(setup, system_prompt=chosen.get("system_prompt"))
        setup = replace(setup, parameters={**chosen.get("parameters", {}), **setup.parameters})
    return Placement(
        conversation_id=new_id(),
        is_new=True,
        message_id=new_id(),
        parent_id=None,
        said=command.messages,
        model=command.model or default_model(preferred),
        own_model=command.model,
        client_msg_id=command.client_msg_id,
        metadata=command.metadata,
        parameters=_of_answer(setup, command.parameters),
        request=command.request,
        listed=command.listed and not setup.temporary,
        setup=setup,
    )


def _next(tx: Tx, command: StartGeneration, default_model: DefaultModel) -> Placement:
    assert command.conversation_id, "checked by the caller"
    if command.parent_id is None and (promised := reserved_conversations.take(tx, command.conversation_id)) is not None:
        new = _new(tx, command, default_model)
        return replace(new, conversation_id=command.conversation_id, reserved=promised)
    held = _hold(tx, command.conversation_id)
    preferred = held.preferred if command.setup is not None else None
    return Placement(
        conversation_id=command.conversation_id,
        is_new=False,
        message_id=new_id(),
        parent_id=_parent(tx, command.conversation_id, command.parent_id, command.on_busy),
        said=command.messages,
        model=command.model or held.model or default_model(preferred),
        client_msg_id=command.client_msg_id,
        metadata=command.metadata,
        parameters=_of_answer(held, command.parameters),
        request=command.request,
    )


def _again(tx: Tx, command: Regenerate, default_model: DefaultModel) -> Placement:
    answer = _message(tx, command.message_id)
    if answer.role != "assistant" or answer.parent_id is None:
        raise InvalidInput("Only an answer can be regenerated.", "message_id")
    return _beside(tx, answer, command, command.parameters, default_model)


def _continued(tx: Tx, command: ContinueAnswer, default_model: DefaultModel) -> Placement:
    answer = _message(tx, command.message_id)
    if answer.role != "assistant" or answer.parent_id is None:
        raise InvalidInput("Only an answer can be continued.", "message_id")
    if answer.status not in TERMINAL:
        raise WrongState("This answer is still being generated.")
    if not answer.content or answer.tools:
        raise InvalidInput("Only an answer of text alone can be continued.", "message_id")
    return _beside(tx, answer, command, {CONTINUES: answer.id}, default_model)


def _beside(
    tx: Tx,
    answer: Message,
    command: Regenerate | ContinueAnswer,
    parameters: dict[str, Any],
    default_model: DefaultModel,
) -> Placement:
    """The place of another answer to the message that ``answer`` answers."""
    assert answer.parent_id, "checked by the caller"
    held = _hold(tx, answer.conversation_id)
    return Placement(
        conversation_id=answer.conversation_id,
        is_new=False,
        message_id=answer.parent_id,
        parent_id=None,
        said=(),
        model=command.model or answer.model or held.model or default_model(held.preferred),
        parameters=_of_answer(held, parameters),
    )


def _edited(tx: Tx, command: EditMessage, default_model: DefaultModel) -> Placement:
    message = _message(tx, command.message_id)
    if message.role != "user":
        raise InvalidInput("Only your own messages can be edited.", "message_id")
    held = _hold(tx, message.conversation_id)
    kept = list(message_files.in_items(message.items)) if command.attachments is None else []
    return Placement(
        conversation_id=message.conversation_id,
        is_new=False,
        message_id=new_id(),
        parent_id=message.parent_id,
        said=(Said("user", command.message, message_files.items_with(command.message, kept)),),
        model=command.model or held.model or default_model(held.preferred),
        client_msg_id=command.client_msg_id,
        metadata=command.metadata,
        parameters=_of_answer(held, command.parameters),
    )


def _of_answer(kept: Held | Setup, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of an answer: those of the request, which replace those that its conversation keeps."""
    prompt = {"instructions": kept.system_prompt} if kept.system_prompt else {}
    return {**kept.parameters, **prompt, **given}


def _hold(tx: Tx, conversation_id: str) -> Held:
    """Hold the conversation until the transaction ends; its settings. Raises NotFound."""
    held = conversations.lock_for_answer(tx, conversation_id)
    if held is None:
        raise NotFound("There is no such conversation.")
    return held


def _parent(tx: Tx, conversation_id: str, wanted: str | None, policy: OnBusy) -> str | None:
    """The parent of a new message: the wanted one, or the newest; with ``replace``, the replaced message's parent."""
    if wanted is not None:
        parent = messages.get(tx, wanted)
        if parent is None or parent.conversation_id != conversation_id:
            raise InvalidInput("There is no such message in this conversation.", "parent_id")
        return parent.id
    live = generations.live_in(tx, conversation_id)
    if policy == "replace" and live:
        replaced = messages.get(tx, live[0].user_message_id)
        return replaced.parent_id if replaced else None
    return messages.newest_id(tx, conversation_id)


def _message(tx: Tx, message_id: str) -> Message:
    found = messages.get(tx, message_id)
    if found is None:
        raise NotFound("There is no such message.")
    return found
