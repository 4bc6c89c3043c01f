"""Conversations that are past the time for which they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from app.store import conversations, feed
from app.store.database import Tx, fetch, fetch_one

# Conversations that one transaction looks through.
LOOKED_THROUGH_AT_ONCE = 5000
# Messages of a conversation that is removed in one transaction. A larger one is set aside and removed in batches.
MOST_MESSAGES = 1000


class Expired(NamedTuple):
    """A conversation whose last activity is past. ``size`` is the number of its messages."""

    id: str
    size: int


@dataclass(frozen=True, slots=True)
class IdRange:
    """Conversations by id, which is in order of their creation: above ``after`` and not above ``until``."""

    after: str
    until: str


def next_range(tx: Tx, after: str, end: str) -> IdRange:
    """The next conversations behind ``after``, up to the id ``end``."""
    row = fetch_one(
        tx,
        """SELECT c.id FROM conversations c WHERE c.id > CAST(:after AS uuid) AND c.id <= CAST(:end AS uuid)
           ORDER BY c.id OFFSET :skipped LIMIT 1""",
        after=after,
        end=end,
        skipped=LOOKED_THROUGH_AT_ONCE - 1,
    )
    return IdRange(after, row.id if row else end)


def take(tx: Tx, within: IdRange, days: float, limit: int) -> list[Expired]:
    """Hold up to ``limit`` conversations of a range without activity for ``days``, by id.

    A conversation with a live generation, or whose user has a hold or is being erased, is left out, and so is one that
    another transaction holds.
    """
    rows = fetch(
        tx,
        """SELECT c.id, c.message_seq AS size FROM conversations c JOIN users u ON u.id = c.user_id
           WHERE c.id > CAST(:after AS uuid) AND c.id <= CAST(:until AS uuid)
             AND c.last_message_at < now() - make_interval(secs => :seconds) AND u.kept_for IS NULL
             AND NOT EXISTS (SELECT FROM generations g WHERE g.conversation_id = c.id
                 AND g.status IN ('queued', 'running'))
             AND NOT EXISTS (SELECT FROM holds h WHERE h.user_id = c.user_id)
           ORDER BY c.id LIMIT :limit FOR UPDATE OF c SKIP LOCKED""",
        after=within.after,
        until=within.until,
        seconds=days * 86_400,
        limit=limit,
    )
    return [Expired(*row) for row in rows]


def take_temporary(tx: Tx, seconds: float, limit: int) -> list[Expired]:
    """Hold up to ``limit`` temporary conversations without activity for ``seconds``; left out are those of ``take``."""
    rows = fetch(
        tx,
        """SELECT c.id, c.message_seq AS size FROM conversations c JOIN users u ON u.id = c.user_id
           WHERE c.temporary AND c.last_message_at < now() - make_interval(secs => :seconds) AND u.kept_for IS NULL
             AND NOT EXISTS (SELECT FROM generations g WHERE g.conversation_id = c.id
                 AND g.status IN ('queued', 'running'))
             AND NOT EXISTS (SELECT FROM holds h WHERE h.user_id = c.user_id)
           ORDER BY c.last_message_at LIMIT :limit FOR UPDATE OF c SKIP LOCKED""",
        seconds=seconds,
        limit=limit,
    )
    return [Expired(*row) for row in rows]


def remove(tx: Tx, found: Expired) -> None:
    """Remove a conversation that this transaction holds. Its user's feed says so."""
    if found.size <= MOST_MESSAGES:
        conversations.delete(tx, found.id)
    else:
        feed.record_deletion(tx, found.id)
        fetch(tx, "SELECT set_aside_conversation(CAST(:id AS uuid))", id=found.id)
