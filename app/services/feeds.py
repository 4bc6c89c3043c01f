"""Feeds of changes: of one conversation, and of everything that a user has. PostgreSQL numbers and keeps them.

A feed is a log like any other to the relay. Its positions are ``1-<seq>``. It is read from PostgreSQL at each
notification, and at intervals without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from app.domain.commands import User
from app.domain.cursor import Cursor
from app.domain.errors import MalformedInput, NotFound
from app.domain.events import Entry
from app.services.passes import batches
from app.store import feed, messages
from app.store.database import Database, Tx
from app.store.feed import Change
from app.store.messages import Message

# A replay has the newest of the missed changes, at least one: at most so many changes, with so many bytes of messages.
# Other endpoints have the rest.
MOST_REPLAYED = 200
MOST_REPLAYED_BYTES = 1_048_576
# Days after which changes that are not replayed are removed, and rows removed in one transaction.
KEPT_DAYS = 7
PRUNED_AT_ONCE = 1000
# Conversations, and users, that one of these transactions looks through. There is no index over all changes by age.
LOOKED_AT_AT_ONCE = 5000
FIRST_ID, LAST_ID = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True, slots=True)
class Line:
    """A change with the message it is about; None when it is about none, or it was deleted since."""

    change: Change
    message: Message | None


@dataclass(frozen=True, slots=True)
class Replay:
    """The changes past ``after`` up to ``top``. ``lines`` has the newest of them; ``available`` counts all."""

    after: int
    lines: list[Line]
    top: int

    @property
    def available(self) -> int:
        """The number of changes past the position."""
        return self.top - self.after

    @property
    def missed(self) -> int:
        """The number of changes past the position that are not in ``lines``."""
        return self.available - len(self.lines)


@dataclass(frozen=True, slots=True)
class Scope:
    """A kind of feed: its changes by key, position and limit, and where the feeds of these keys end.

    ``tops`` sees the feeds of the transaction's user, ``ends`` those of several users. ``begin`` begins a transaction
    in the name of the user who has the feed of a key.
    """

    changes: Callable[[Tx, str, int, int], list[Change]]
    tops: Callable[[Tx, Sequence[str]], dict[str, int]]
    ends: Callable[[Tx, Sequence[str]], dict[str, int]]
    begin: Callable[[Database, str], AbstractContextManager[Tx]]


CONVERSATION = Scope(
    feed.of_conversation,
    feed.tops_of_conversations,
    feed.ends_of_conversations,
    lambda database, key: database.owner("conversation", key),
)
USER = Scope(feed.of_user, feed.tops_of_users, feed.ends_of_users, lambda database, key: database.user(key))


class Feeds:
    """The feeds of a user. Raises NotFound for another user's id, as for one that does not exist."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_conversation(self, user: User, conversation_id: str, after: int) -> Replay:
        """The missed changes of a conversation. Raises NotFound, and MalformedInput for a position past its end."""
        return self._replay(user, CONVERSATION, conversation_id, after)

    def of_user(self, user: User, after: int) -> Replay:
        """The missed changes of everything that a user has. Raises MalformedInput for a position past its end."""
        return self._replay(user, USER, user.id, after)

    def existing(self, user: User, conversation_ids: Sequence[str]) -> list[str]:
        """Those of these conversations that the user has."""
        with self._database.user(user.id) as tx:
            return list(CONVERSATION.tops(tx, conversation_ids))

    def prune(self) -> Iterator[Iterator[None]]:
        """Remove changes that are old and behind all that is replayed: a part for each range of ids."""
        for following, remove in ((feed.next_conversation, feed.prune), (feed.next_user, feed.prune_passing)):
            after = FIRST_ID
            while after < LAST_ID:
                with self._database.system() as tx:
                    until = following(tx, after, LOOKED_AT_AT_ONCE - 1) or LAST_ID
                yield self._remove(partial(remove, within=feed.IdRange(after, until)))
                after = until
        yield self._remove(feed.prune_deleted)

    def _remove(self, remove: Callable[..., int]) -> Iterator[None]:
        limit = PRUNED_AT_ONCE
        return batches(self._database, partial(remove, newest=MOST_REPLAYED, days=KEPT_DAYS, limit=limit), limit)

    def _replay(self, user: User, scope: Scope, key: str, after: int) -> Replay:
        with self._database.user(user.id) as tx:
            top = scope.tops(tx, [key]).get(key)
            if top is None:
                raise NotFound("There is no such conversation.")
            if after > top:
                raise MalformedInput(f"This feed has not reached {after}; its newest event is {top}.")
            changes = scope.changes(tx, key, max(after, top - MOST_REPLAYED), min(top - after, MOST_REPLAYED))
            return Replay(after, lines(tx, _newest(changes)), top)


class FeedReader:
    """Reads feeds of any user; the caller has authorised the reader. ``show`` encodes a line for readers."""

    def __init__(self, database: Database, scope: Scope, show: Callable[[Line], bytes]) -> None:
        self._database = database
        self._scope = scope
        self._show = show

    def read(self, key: str, after: Cursor, limit: int) -> list[Entry]:
        """Up to ``limit`` entries past ``after``, without a hole. Raises DatabaseDown."""
        with self._scope.begin(self._database, key) as tx:
            found = lines(tx, self._scope.changes(tx, key, after.n, limit))
        return [Entry(Cursor(1, line.change.seq), self._show(line)) for line in found]

    def ends(self, keys: Sequence[str]) -> dict[str, Cursor | None]:
        """The newest entry of each feed that exists. A feed never ends; a reader at this entry has missed nothing."""
        with self._database.without_user() as tx:
            return {key: Cursor(1, seq) for key, seq in self._scope.ends(tx, keys).items()}

    def queue_positions(self, keys: Sequence[str]) -> dict[str, int]:
        """Empty: a feed has no queue position."""
        return {}


def lines(tx: Tx, changes: Iterable[Change]) -> list[Line]:
    """The changes with their messages as they are now. Parts that were removed from a message are not sent again."""
    changes = list(changes)
    about = {change.message_id for change in changes if change.message_id and change.kind.startswith("message.")}
    found = messages.by_id(tx, list(about))
    return [Line(change, found.get(change.message_id or "")) for change in changes]


def _newest(changes: list[Change]) -> list[Change]:
    """The last changes that fit MOST_REPLAYED_BYTES, and at least one."""
    size, begin = 0, len(changes)
    while begin and (size := size + changes[begin - 1].size) <= MOST_REPLAYED_BYTES:
        begin -= 1
    return changes[min(begin, len(changes) - 1) :] if changes else []
