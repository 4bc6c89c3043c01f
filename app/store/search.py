"""Full text search over one user's messages and titles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Tx, fetch, fetch_one, mine

# Only this many characters of a text are searched; migration 0005 has the same number.
SEARCHED_CHARS = 100_000
_NEWEST = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed question in PostgreSQL's notation; ``positive`` is its part without excluded words."""

    text: str
    positive: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A found message, or a conversation's title when ``message_id`` is None. Hits are ordered by ``at``."""

    conversation_id: str
    message_id: str | None
    role: str | None
    title: str | None
    text: str
    at: datetime


def parse(tx: Tx, question: str) -> Query:
    """Parse a question as web search engines do: words, "phrases", or, -excluded."""
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

    ``begun`` is the query whose last word may be the beginning of a word. Only titles and the newest 1,000 messages are
    searched for it.
    """
    at, item_id = before or _NEWEST
    rows = fetch(
        tx,
        f"""SELECT h.conversation_id, h.message_id, m.role, c.title, h.at,
               CASE WHEN h.message_id IS NULL THEN c.title ELSE left(m.content, :chars) END AS text
           FROM search_mine(CAST(:query AS tsquery), CAST(:begun AS tsquery), CAST(:at AS timestamptz),
               CAST(:id AS uuid), :limit) h
           JOIN conversations c ON c.id = h.conversation_id LEFT JOIN messages m ON m.id = h.message_id
           WHERE {mine("c.user_id")}
           ORDER BY h.at DESC, coalesce(h.message_id, h.conversation_id) DESC LIMIT :limit""",
        query=query,
        begun=begun,
        at=at,
        id=item_id,
        limit=limit,
        chars=SEARCHED_CHARS,
    )
    return [Hit(**row._mapping) for row in rows]
