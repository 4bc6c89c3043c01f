"""Conversations for protocols that create them empty, add to them without asking for an answer, and take parts out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.domain.commands import Said, User
from app.domain.errors import ConversationBusy, NotFound
from app.services.accounts import new_id
from app.services.conversations import Conversations
from app.services.history import LONGEST
from app.store import conversations, generations, reserved
from app.store.conversations import Message
from app.store.database import Database, Tx


class Dialogues:
    """What a user may do. A foreign id is answered like one that does not exist: NotFound."""

    def __init__(self, database: Database, conversations: Conversations) -> None:
        self._database = database
        self._conversations = conversations

    def promise(self, user: User, metadata: dict[str, Any]) -> str:
        """A conversation nothing has been said in: its id."""
        conversation_id = new_id()
        with self._database.user(user.id) as tx:
            reserved.add(tx, conversation_id, user.id, metadata)
        return conversation_id

    def metadata(self, user: User, conversation_id: str) -> dict[str, Any]:
        """What its owner has noted about it."""
        with self._database.user(user.id) as tx:
            return _metadata(tx, conversation_id)

    def change(self, user: User, conversation_id: str, metadata: dict[str, Any]) -> None:
        """Replace that."""
        with self._database.user(user.id) as tx:
            if not reserved.change(tx, conversation_id, metadata):
                _metadata(tx, conversation_id)
                conversations.set_metadata(tx, conversation_id, metadata)

    def delete(self, user: User, conversation_id: str) -> None:
        """Delete it; what runs in it is stopped."""
        with self._database.user(user.id) as tx:
            promised = reserved.take(tx, conversation_id)
        if promised is None:
            self._conversations.delete(user, conversation_id)

    def branch(self, user: User, conversation_id: str) -> list[Message]:
        """The messages that lead to the newest one, and itself, oldest first."""
        with self._database.user(user.id) as tx:
            _metadata(tx, conversation_id)
            newest = conversations.last_message_id(tx, conversation_id)
            return conversations.branch(tx, newest, LONGEST) if newest else []

    def message(self, user: User, conversation_id: str, message_id: str) -> Message:
        """One message of it."""
        with self._database.user(user.id) as tx:
            return _message(tx, conversation_id, message_id)

    def add(self, user: User, conversation_id: str, said: Sequence[Said]) -> list[Message]:
        """Add messages behind the newest one. Raises ConversationBusy while an answer is being made."""
        with self._database.user(user.id) as tx:
            ids = [new_id() for _ in said]
            promised = reserved.take(tx, conversation_id)
            if promised is not None:
                _begin(tx, user, conversation_id, ids[0], promised)
            elif conversations.lock(tx, conversation_id) is None:
                raise NotFound("There is no such conversation.")
            if generations.live_in(tx, conversation_id):
                raise ConversationBusy
            return _append(tx, user, conversation_id, ids, said)

    def take_out(
        self,
        user: User,
        conversation_id: str,
        message_id: str,
        left: Callable[[Message], tuple[list[Any], str]],
    ) -> None:
        """Say what a message consists of from now on. ``left`` is asked for that and for its text, and may raise."""
        with self._database.user(user.id) as tx:
            # Held: of two who take something out of it, the second sees what the first has left.
            conversations.lock(tx, conversation_id)
            items, content = left(_message(tx, conversation_id, message_id))
            conversations.set_items(tx, conversation_id, message_id, items, content)


def _message(tx: Tx, conversation_id: str, message_id: str) -> Message:
    found = conversations.message(tx, message_id)
    if found is None or found.conversation_id != conversation_id:
        raise NotFound("There is no such item.")
    return found


def _metadata(tx: Tx, conversation_id: str) -> dict[str, Any]:
    promised = reserved.get(tx, conversation_id)
    if promised is not None:
        return promised
    found = conversations.get(tx, conversation_id)
    if found is None:
        raise NotFound("There is no such conversation.")
    return found.metadata


def _begin(tx: Tx, user: User, conversation_id: str, first_message_id: str, metadata: dict[str, Any]) -> None:
    conversations.add(
        tx,
        conversation_id=conversation_id,
        user_id=user.id,
        first_message_id=first_message_id,
        count=0,
        model=None,
        preview="",
        metadata=metadata,
    )


def _append(tx: Tx, user: User, conversation_id: str, ids: list[str], said: Sequence[Said]) -> list[Message]:
    parent_id = conversations.last_message_id(tx, conversation_id)
    preview = next((one.content for one in reversed(said) if one.content), None)
    seq, _ = conversations.take_numbers(tx, conversation_id, len(said), preview)
    for n, (message_id, one) in enumerate(zip(ids, said, strict=True)):
        conversations.add_message(
            tx,
            message_id=message_id,
            conversation_id=conversation_id,
            user_id=user.id,
            parent_id=parent_id,
            seq=seq + n,
            role=one.role,
            status="completed",
            content=one.content,
            items=list(one.items) or None,
        )
        parent_id = message_id
    return conversations.messages(tx, conversation_id, seq - 1, len(said))
