"""Sharing of a conversation: a snapshot without names, at an address that nobody can guess."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from app.domain.audit import Actor
from app.domain.commands import User
from app.domain.errors import InvalidInput, NotFound, WrongState
from app.domain.share import PATH, SharedMessage, Snapshot, digest_of, files_in, new_token
from app.domain.single_line import cut, single_line
from app.services.import_export import Export, ImportExport
from app.store import audit, conversations, shares
from app.store.database import Database
from app.store.messages import Message
from app.store.shares import Share

_UNTITLED = "Conversation"


class TooManyShares(WrongState):
    """There are as many shared conversations as one user may have."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"One user has at most {most} shared conversations (MAX_SHARES_PER_USER); end one of them first."
            if most
            else "Nothing is shared here (MAX_SHARES_PER_USER=0)."
        )


@dataclass(frozen=True, slots=True)
class Made:
    """A new share, with the path of its address: it is shown once."""

    share: Share
    path: str


@dataclass(frozen=True, slots=True)
class Shares:
    """The shared conversations of users: ``most`` of a user, with ``most_bytes`` of text in each."""

    database: Database
    transfer: ImportExport
    most: int
    most_bytes: int

    def share(self, user: User, conversation_id: str, through: str | None, actor: Actor) -> Made:
        """Share one branch of a conversation as it is now; an earlier address of the conversation ends.

        ``through`` is any message of the branch; None: the newest branch. Raises NotFound, TooManyShares, and
        InvalidInput for a conversation without text or with too much.
        """
        export = self.transfer.export_branch(user, conversation_id, through)
        said = list(self._said(export))
        if not said:
            raise InvalidInput("The conversation has no text to share.")
        token = new_token()
        digest = digest_of(token)
        assert digest, "a new token is one"
        # The preview may come from another branch.
        title = export.conversation.title or cut(single_line(said[0].content), conversations.PREVIEW_CHARS) or _UNTITLED
        with self.database.user(user.id) as tx:
            if conversations.lock(tx, conversation_id) is None:
                raise NotFound("There is no such conversation.")
            if shares.count_others(tx, conversation_id) >= self.most:
                raise TooManyShares(self.most)
            made = shares.put(tx, conversation_id, user.id, digest, title, [asdict(one) for one in said])
            audit.record(tx, actor, "conversation.shared", "conversation", conversation_id)
        return Made(made, f"{PATH}{token}")

    def get(self, user: User, conversation_id: str) -> Share:
        """The share of a conversation, without its address. Raises NotFound."""
        with self.database.user(user.id) as tx:
            found = shares.get(tx, conversation_id)
        if found is None:
            raise NotFound("The conversation is not shared.")
        return found

    def every(self, user: User) -> list[Share]:
        """All shares of a user, newest first."""
        with self.database.user(user.id) as tx:
            return shares.every(tx)

    def end(self, user: User, conversation_id: str, actor: Actor) -> None:
        """End the share of a conversation: its address is unknown from now on. Raises NotFound without a share."""
        with self.database.user(user.id) as tx:
            if not shares.end(tx, conversation_id):
                raise NotFound("The conversation is not shared.")
            audit.record(tx, actor, "share.ended", "conversation", conversation_id)

    def look(self, token: str) -> Snapshot | None:
        """The snapshot at an address, for everybody; None for an address that is unknown or has ended."""
        digest = digest_of(token)
        if digest is None or not self.most:
            return None
        with self.database.without_user() as tx:
            found = shares.look(tx, digest)
        if found is None:
            return None
        title, messages, created_at = found
        return Snapshot(title, [SharedMessage(**one) for one in messages], created_at)

    def _said(self, export: Export) -> Iterator[SharedMessage]:
        """The messages of a branch that have something to show. Raises InvalidInput above the limit."""
        size = 0
        for message in export.messages:
            size += len(message.content.encode())
            if size > self.most_bytes:
                raise InvalidInput(f"A shared conversation has at most {self.most_bytes} bytes (MAX_SHARE_BYTES).")
            shown = _shown(message)
            if shown.content or shown.files:
                yield shown


def _shown(message: Message) -> SharedMessage:
    model = message.model if message.role == "assistant" else None
    return SharedMessage(message.role, message.content, model, files_in(message.items))
