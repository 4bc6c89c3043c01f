"""A user's conversations: list, read, change, delete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.commands import ChangeConversation, ListConversations, User
from app.domain.errors import NotFound
from app.services.generations import Generations, GenerationView, view
from app.services.model_catalog import ModelCatalog
from app.services.paging import read_cursor, write_cursor
from app.store import conversations, feed, generations, messages
from app.store.conversations import Conversation
from app.store.database import ONE_MOMENT, Database
from app.store.messages import Message


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """A page of the list. ``next_cursor`` is None for the last page."""

    items: list[Conversation]
    next_cursor: str | None
    feed_seq: int


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of messages. ``next_seq`` is None for the last page."""

    items: list[Message]
    next_seq: int | None


@dataclass(frozen=True, slots=True)
class ConversationStatus:
    """The live generation of a conversation, None without one, and the time of the last change."""

    active: GenerationView | None
    last_updated: datetime


class Conversations:
    """The conversations of a user. Raises NotFound for another user's id, as for one that does not exist."""

    def __init__(
        self,
        database: Database,
        generations: Generations,
        catalogue: ModelCatalog,
        erase: Callable[[Sequence[str]], None],
    ) -> None:
        self._database = database
        self._generations = generations
        self._catalogue = catalogue
        self._erase = erase

    def list(self, user: User, command: ListConversations) -> ConversationPage:
        """One page, newest first."""
        before = read_cursor(command.cursor) if command.cursor else None
        with self._database.user(user.id) as tx:
            # Read first: a change between the two statements is in the page and in the feed, and in neither never.
            top = feed.tops_of_users(tx, [user.id])[user.id]
            found = conversations.page(tx, user.id, command, command.limit + 1, before)
        items = found[: command.limit]
        last = items[-1] if len(found) > len(items) else None
        return ConversationPage(items, write_cursor(last.last_message_at, last.id) if last else None, top)

    def active(self, user: User, model: str | None) -> Conversation:
        """The conversation that the user wrote to last with this model; ``model`` None: without a model of its own."""
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
        with self._database.user(user.id) as tx:
            if command.model is not None:
                self._catalogue.find(tx, command.model)
            conversations.change(tx, conversation_id, command)
        return self.get(user, conversation_id)

    def see(self, user: User, conversation_id: str, seq: int | None) -> Conversation:
        """Note that the user has seen the feed of a conversation up to ``seq``, or all of it: nothing is unread."""
        with self._database.user(user.id) as tx:
            conversations.see(tx, conversation_id, seq)
        return self.get(user, conversation_id)

    def delete(self, user: User, conversation_id: str) -> None:
        """Cancel the generations of a conversation, then delete it for good.

        Readers get the end of a generation unless its cancel waits for Redis; then the deletion ends their streams.
        """
        self.get(user, conversation_id)
        while (gone := self._delete_idle(user, conversation_id)) is None:
            self._generations.cancel_all(user, conversation_id)
        self._erase(gone)

    def messages(
        self, user: User, conversation_id: str, after_seq: int, limit: int, branch: str | None = None
    ) -> MessagePage:
        """Messages numbered above ``after_seq``, in order: all, or those of one branch.

        ``branch`` is any message of it; where it goes on in several ways, the one with the newest message counts.
        """
        with self._database.user(user.id) as tx:
            if branch is None:
                found = messages.page(tx, conversation_id, after_seq, limit + 1)
            else:
                leaf, found = messages.branch_page(tx, conversation_id, branch, after_seq, limit + 1)
                if leaf is None:
                    raise NotFound("There is no such message in this conversation.")
        if not found:
            self.get(user, conversation_id)
        items = found[:limit]
        return MessagePage(items, items[-1].seq if len(found) > len(items) else None)

    def status(self, user: User, conversation_id: str) -> ConversationStatus:
        """The status that a polling client reads."""
        with self._database.user(user.id, ONE_MOMENT) as tx:
            found = conversations.get(tx, conversation_id)
            if found is None:
                raise NotFound("There is no such conversation.")
            live = generations.live_in(tx, conversation_id)
            active = view(tx, live[0]) if live else None
        return ConversationStatus(active, active.row.last_updated if active else found.last_updated)

    def _delete_idle(self, user: User, conversation_id: str) -> Sequence[str] | None:
        """Delete a conversation unless a generation runs in it that is not being cancelled; the deleted ids, or None.

        The lock keeps new messages out until the transaction ends.
        """
        with self._database.user(user.id) as tx:
            if conversations.lock(tx, conversation_id) is None:
                return []
            if any(row.cancel_at is None for row in generations.live_in(tx, conversation_id)):
                return None
            self._generations.end_with_deletion(tx, conversation_id)
            return conversations.delete(tx, conversation_id)
