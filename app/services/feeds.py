"""Feeds of what happens: of one conversation, and of everything a user has. PostgreSQL numbers and keeps them.

A feed is a log like any other to the relay: its positions are ``1-<seq>``, read from PostgreSQL whenever the doorbell
rings, and looked at now and then when it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from app.domain.commands import User
from app.domain.cursor import Cursor
from app.domain.errors import MalformedInput, NotFound
from app.domain.events import Entry
from app.store import conversations, feed
from app.store.conversations import Message
from app.store.database import Database, Tx
from app.store.feed import Change

# What somebody who comes back is told at once, in changes and in bytes of their messages: the newest of what was
# missed, at least one. The rest has other addresses.
MOST_REPLAYED = 200
MOST_REPLAYED_BYTES = 1_048_576
# What is older and would not be replayed is removed; so many rows in one transaction.
KEPT_DAYS = 7
PRUNED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """A change with the message it is about; None when it is about none, or it was deleted since."""

    change: Change
    message: Message | None


@dataclass(frozen=True, slots=True)
class Replay:
    """What was missed past ``after``: its newest lines up to ``top``; ``available`` is how much it was altogether."""

    after: int
    lines: list[Line]
    top: int

    @property
    def available(self) -> int:
        """How many changes there are past the position."""
        return self.top - self.after

    @property
    def missed(self) -> int:
        """How many of them are not in ``lines``."""
        return self.available - len(self.lines)


@dataclass(frozen=True, slots=True)
class Scope:
    """A kind of feed: its changes by key, position and limit, and where the feeds of these keys end."""

    changes: Callable[[Tx, str, int, int], list[Change]]
    tops: Callable[[Tx, Sequence[str]], dict[str, int]]


CONVERSATION = Scope(feed.of_conversation, feed.tops_of_conversations)
USER = Scope(feed.of_user, feed.tops_of_users)


class Feeds:
    """What a user may follow. A foreign id is answered like one that does not exist: NotFound."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_conversation(self, user: User, conversation_id: str, after: int) -> Replay:
        """What was missed of a conversation. Raises NotFound, and MalformedInput for a position it has not reached."""
        return self._replay(user, CONVERSATION, conversation_id, after)

    def of_user(self, user: User, after: int) -> Replay:
        """What was missed of everything. Raises MalformedInput for a position that was not reached."""
        return self._replay(user, USER, user.id, after)

    def prune(self) -> None:
        """Remove what is old and behind everything that is replayed. Raises DatabaseDown."""
        for remove in (feed.prune, feed.prune_passing, feed.prune_deleted):
            removed = PRUNED_AT_ONCE
            while removed == PRUNED_AT_ONCE:
                with self._database.system() as tx:
                    removed = remove(tx, MOST_REPLAYED, KEPT_DAYS, PRUNED_AT_ONCE)

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
    """Reads feeds for whoever has already been allowed to. ``show`` gives a line the form readers get."""

    def __init__(self, database: Database, scope: Scope, show: Callable[[Line], bytes]) -> None:
        self._database = database
        self._scope = scope
        self._show = show

    def read(self, key: str, after: Cursor, limit: int) -> list[Entry]:
        """Up to ``limit`` entries past ``after``, without a hole. Raises DatabaseDown."""
        with self._database.system() as tx:
            found = lines(tx, self._scope.changes(tx, key, after.n, limit))
        return [Entry(Cursor(1, line.change.seq), self._show(line)) for line in found]

    def ends(self, keys: Sequence[str]) -> dict[str, Cursor | None]:
        """For each that exists: its newest entry. It never ends there, but who has it misses nothing."""
        with self._database.system() as tx:
            return {key: Cursor(1, seq) for key, seq in self._scope.tops(tx, keys).items()}

    def queue_positions(self, keys: Sequence[str]) -> dict[str, int]:
        """Feeds do not wait for anybody."""
        return {}


def lines(tx: Tx, changes: Iterable[Change]) -> list[Line]:
    """The changes with their messages as they are now: what was taken out of one is not told again."""
    changes = list(changes)
    about = {change.message_id for change in changes if change.message_id and change.kind.startswith("message.")}
    messages = conversations.messages_by_id(tx, list(about))
    return [Line(change, messages.get(change.message_id or "")) for change in changes]


def _newest(changes: list[Change]) -> list[Change]:
    """The last of them that are not too much altogether, and at least one."""
    size, begin = 0, len(changes)
    while begin and (size := size + changes[begin - 1].size) <= MOST_REPLAYED_BYTES:
        begin -= 1
    return changes[min(begin, len(changes) - 1) :] if changes else []
