"""Full text search over one user's messages and titles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Tx, fetch, fetch_one

# What is behind this in a text is neither found nor looked at; migration 0005 has the same number.
SEARCHED_CHARS = 100_000
_NEWEST = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")


@dataclass(frozen=True, slots=True)
class Query:
    """What PostgreSQL made of a question, in its own notation; ``positive`` without what must not be there."""

    text: str
    positive: str


@dataclass(frozen=True, slots=True)
class Hit:
    """Something found. A conversation's title when ``message_id`` is None; ``at`` is what hits are ordered by."""

    conversation_id: str
    message_id: str | None
    role: str | None
    title: str | None
    text: str
    at: datetime


def parse(tx: Tx, question: str) -> Query:
    """Read a question the way search engines on the web do: words, "phrases", or, -without."""
    row = fetch_one(
        tx,
        """SELECT CAST(query AS text) AS text, querytree(query) AS positive
           FROM websearch_to_tsquery('simple', :question) AS query""",
        question=question,
    )
    assert row is not None, "a function has a result"
    return Query(row.text, row.positive)


def find(tx: Tx, query: str, begun: str, limit: int, before: tuple[datetime, str] | None) -> list[Hit]:
    """Up to ``limit`` hits of the transaction's user, newest first, older than ``before`` (at, id).

    ``begun`` is the query with an unfinished word; it is looked for in titles and the newest thousand messages.
    """
    at, item_id = before or _NEWEST
    rows = fetch(
        tx,
        """SELECT h.conversation_id, h.message_id, m.role, c.title, h.at,
               CASE WHEN h.message_id IS NULL THEN c.title ELSE left(m.content, :chars) END AS text
           FROM search_mine(CAST(:query AS tsquery), CAST(:begun AS tsquery), CAST(:at AS timestamptz),
               CAST(:id AS uuid), :limit) h
           JOIN conversations c ON c.id = h.conversation_id LEFT JOIN messages m ON m.id = h.message_id
           ORDER BY h.at DESC, coalesce(h.message_id, h.conversation_id) DESC LIMIT :limit""",
        query=query,
        begun=begun,
        at=at,
        id=item_id,
        limit=limit,
        chars=SEARCHED_CHARS,
    )
    return [Hit(**row._mapping) for row in rows]
