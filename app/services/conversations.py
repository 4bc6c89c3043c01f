"""A user's conversations: list, look, change, delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.commands import ChangeConversation, ListConversations, User
from app.domain.errors import NotFound
from app.services.catalogue import Catalogue
from app.services.generations import Generations, GenerationView, view
from app.services.paging import read_cursor, write_cursor
from app.store import conversations, feed, generations
from app.store.conversations import Conversation, Message
from app.store.database import ONE_MOMENT, Database


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """A page of the list. ``next_cursor`` None: it was the last one."""

    items: list[Conversation]
    next_cursor: str | None
    feed_seq: int


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of messages. ``next_seq`` None: it was the last one."""

    items: list[Message]
    next_seq: int | None


@dataclass(frozen=True, slots=True)
class ConversationStatus:
    """Whether an answer is being made, and how far it is."""

    active: GenerationView | None
    last_updated: datetime


class Conversations:
    """What a user may do with conversations. A foreign id is answered like one that does not exist: NotFound."""

    def __init__(self, database: Database, generations: Generations, catalogue: Catalogue) -> None:
        self._database = database
        self._generations = generations
        self._catalogue = catalogue

    def list(self, user: User, command: ListConversations) -> ConversationPage:
        """One page, newest first."""
        before = read_cursor(command.cursor) if command.cursor else None
        with self._database.user(user.id) as tx:
            # Looked at first: what happens in between is in the page and in the feed, and not in neither.
            top = feed.tops_of_users(tx, [user.id])[user.id]
            found = conversations.page(
                tx,
                user_id=user.id,
                limit=command.limit + 1,
                before=before,
                model=command.model,
                archived=command.archived,
            )
        items = found[: command.limit]
        last = items[-1] if len(found) > len(items) else None
        return ConversationPage(items, write_cursor(last.last_message_at, last.id) if last else None, top)

    def active(self, user: User, model: str | None) -> Conversation:
        """The one the user is in with this model, None: in general chats. Writing to another one makes that it."""
        with self._database.user(user.id) as tx:
            found = conversations.active(tx, user.id, model)
        if found is None:
            raise NotFound("There is no active conversation.")
        return found

    def get(self, user: User, conversation_id: str) -> Conversation:
        """One conversation."""
        with self._database.user(user.id) as tx:
            found = conversations.get(tx, conversation_id)
        if found is None:
            raise NotFound("There is no such conversation.")
        return found

    def change(self, user: User, conversation_id: str, command: ChangeConversation) -> Conversation:
        """Apply a change and return the conversation as it is then."""
        if command.model is not None:
            self._catalogue.find(command.model)
        with self._database.user(user.id) as tx:
            conversations.change(tx, conversation_id, command)
        return self.get(user, conversation_id)

    def delete(self, user: User, conversation_id: str) -> None:
        """Stop what runs in it, so that every reader gets an end, then delete all of it for good."""
        self.get(user, conversation_id)
        while not self._delete_idle(user, conversation_id):
            self._generations.cancel_all(user, conversation_id)

    def messages(
        self, user: User, conversation_id: str, after_seq: int, limit: int, branch: str | None = None
    ) -> MessagePage:
        """Messages numbered above ``after_seq``, in order: all, or those of one branch.

        ``branch`` is any message of it; where it goes on in several ways, the one with the newest message counts.
        """
        with self._database.user(user.id) as tx:
            if branch is None:
                found = conversations.messages(tx, conversation_id, after_seq, limit + 1)
            else:
                leaf, found = conversations.branch_page(tx, conversation_id, branch, after_seq, limit + 1)
                if leaf is None:
                    raise NotFound("There is no such message in this conversation.")
        if not found:
            self.get(user, conversation_id)
        items = found[:limit]
        return MessagePage(items, items[-1].seq if len(found) > len(items) else None)

    def status(self, user: User, conversation_id: str) -> ConversationStatus:
        """What a client that polls asks for."""
        with self._database.user(user.id, ONE_MOMENT) as tx:
            found = conversations.get(tx, conversation_id)
            if found is None:
                raise NotFound("There is no such conversation.")
            live = generations.live_in(tx, conversation_id)
            active = view(tx, live[0]) if live else None
        return ConversationStatus(active, active.row.last_updated if active else found.last_updated)

    def _delete_idle(self, user: User, conversation_id: str) -> bool:
        """Delete it unless something runs in it; the lock keeps new messages out until the answer is known."""
        with self._database.user(user.id) as tx:
            if conversations.lock(tx, conversation_id) is None:
                return True
            if generations.live_in(tx, conversation_id):
                return False
            conversations.delete(tx, conversation_id)
            return True
