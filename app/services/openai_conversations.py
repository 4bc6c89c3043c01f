"""Conversations of OpenAI's protocol: created empty, extended without an answer, with parts that can be removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.domain.commands import Said, User
from app.domain.errors import ConversationBusy, NotFound
from app.services.attachments import Attachments
from app.services.conversations import Conversations
from app.services.history import LONGEST
from app.services.message_branch import Branch, append, preview_of
from app.services.users import new_id
from app.store import conversations, generations, messages, reserved_conversations
from app.store.conversations import NewConversation
from app.store.database import Database, Tx
from app.store.messages import Message


class OpenAIConversations:
    """The conversations of a user. Raises NotFound for another user's id, as for one that does not exist."""

    def __init__(self, database: Database, conversations: Conversations, attachments: Attachments) -> None:
        self._database = database
        self._conversations = conversations
        self._attachments = attachments

    def promise(self, user: User, metadata: dict[str, Any]) -> str:
        """Reserve an empty conversation; its id."""
        conversation_id = new_id()
        with self._database.user(user.id) as tx:
            reserved_conversations.add(tx, conversation_id, user.id, metadata)
        return conversation_id

    def metadata(self, user: User, conversation_id: str) -> dict[str, Any]:
        """The metadata of a conversation."""
        with self._database.user(user.id) as tx:
            return _metadata(tx, conversation_id)

    def change(self, user: User, conversation_id: str, metadata: dict[str, Any]) -> None:
        """Replace the metadata of a conversation."""
        with self._database.user(user.id) as tx:
            if not reserved_conversations.change(tx, conversation_id, metadata):
                _metadata(tx, conversation_id)
                conversations.set_metadata(tx, conversation_id, metadata)

    def delete(self, user: User, conversation_id: str) -> None:
        """Delete a conversation; its live generations are cancelled."""
        with self._database.user(user.id) as tx:
            was_promised = reserved_conversations.discard(tx, conversation_id)
        if not was_promised:
            self._conversations.delete(user, conversation_id)

    def branch(self, user: User, conversation_id: str) -> list[Message]:
        """The messages that lead to the newest one, and itself, oldest first."""
        with self._database.user(user.id) as tx:
            _metadata(tx, conversation_id)
            newest = messages.newest_id(tx, conversation_id)
            return messages.branch(tx, newest, LONGEST) if newest else []

    def message(self, user: User, conversation_id: str, message_id: str) -> Message:
        """One message of a conversation."""
        with self._database.user(user.id) as tx:
            return _message(tx, conversation_id, message_id)

    def add(self, user: User, conversation_id: str, said: Sequence[Said]) -> list[Message]:
        """Append messages behind the newest one.

        Raises ConversationBusy while a generation is live, and FileRefused for a file that is gone.
        """
        with self._database.user(user.id) as tx:
            ids = [new_id() for _ in said]
            promised = reserved_conversations.take(tx, conversation_id)
            if promised is not None:
                _begin(tx, user, conversation_id, ids[0], promised)
            elif conversations.lock(tx, conversation_id) is None:
                raise NotFound("There is no such conversation.")
            if generations.live_in(tx, conversation_id):
                raise ConversationBusy
            self._attachments.hold(tx, user, said)
            return _append(tx, user, conversation_id, ids, said)

    def take_out(
        self,
        user: User,
        conversation_id: str,
        message_id: str,
        left: Callable[[Message], tuple[list[Any], str]],
    ) -> None:
        """Replace the parts of a message. ``left`` returns the remaining parts and their text, and may raise."""
        with self._database.user(user.id) as tx:
            # Locked: of two requests that remove parts, the second sees the result of the first.
            conversations.lock(tx, conversation_id)
            items, content = left(_message(tx, conversation_id, message_id))
            messages.set_aside(tx, message_id)
            messages.set_items(tx, conversation_id, message_id, items, content)


def _message(tx: Tx, conversation_id: str, message_id: str) -> Message:
    found = messages.get(tx, message_id)
    if found is None or found.conversation_id != conversation_id:
        raise NotFound("There is no such item.")
    return found


def _metadata(tx: Tx, conversation_id: str) -> dict[str, Any]:
    promised = reserved_conversations.get(tx, conversation_id)
    if promised is not None:
        return promised
    found = conversations.get(tx, conversation_id)
    if found is None:
        raise NotFound("There is no such conversation.")
    return found.metadata


def _begin(tx: Tx, user: User, conversation_id: str, first_message_id: str, metadata: dict[str, Any]) -> None:
    new = NewConversation(
        id=conversation_id,
        user_id=user.id,
        first_message_id=first_message_id,
        count=0,
        model=None,
        preview="",
        metadata=metadata,
    )
    conversations.add(tx, new)


def _append(tx: Tx, user: User, conversation_id: str, ids: list[str], said: Sequence[Said]) -> list[Message]:
    """Append messages behind the newest one of a conversation."""
    branch = Branch(conversation_id, user.id, messages.newest_id(tx, conversation_id))
    seq, _ = conversations.take_numbers(tx, conversation_id, len(said), preview_of(said))
    append(tx, branch, seq, ids, said)
    return messages.page(tx, conversation_id, seq - 1, len(said))
