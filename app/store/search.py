"""Full text search over one user's messages and titles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg2.errors import QueryCanceled
from sqlalchemy.exc import DBAPIError

from app.store.database import Tx, fetch, fetch_one, mine

# Only this many characters of a text are searched; migration 0005 has the same number.
SEARCHED_CHARS = 100_000
# Signs with a meaning in LIKE.
_UNLIKELY = re.compile(r"[\\%_]")
# Messages and titles, the newest ones, that are searched for parts of words: no index has them.
PARTS_SEARCHED = 1000
# Bytes of stored words of these messages, as PostgreSQL compresses them, and the time that it may take to read them.
# 8 MB take some 45 ms of a processor; words that compress to a small part of their length take longer.
PARTS_BYTES = 8_000_000
PARTS_MILLISECONDS = 500
# The words without their positions have 0.6 of the length. The user's id is one of the words, so that words that match
# are read a second time without it.
_HAS_PARTS = """CAST(strip(search) AS text) LIKE ALL (CAST(:patterns AS text[]))
    AND replace(CAST(strip(search) AS text), CAST(user_id AS text), '') LIKE ALL (CAST(:patterns AS text[]))"""
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


@contextmanager
def in_time(tx: Tx) -> Iterator[None]:
    """A block with a search for parts. It ends without an error when a statement takes more than PARTS_MILLISECONDS.

    The transaction goes on behind it, but without what the block has written.
    """
    tx.exec_driver_sql(f"SAVEPOINT parts; SET LOCAL statement_timeout = {PARTS_MILLISECONDS}")
    try:
        yield
    except DBAPIError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
    # It takes back the timeout, too.
    tx.exec_driver_sql("ROLLBACK TO SAVEPOINT parts")


def find_parts(tx: Tx, parts: Sequence[str], limit: int, before: tuple[datetime, str] | None) -> list[Hit]:
    """Up to ``limit`` hits whose words have all of ``parts`` in them, newest first, older than ``before`` (at, id).

    The stored words are read as text: they are in small letters and without accents, as ``parts`` are. The user's id is
    a stored word, too. Only the newest PARTS_SEARCHED messages and titles are searched, and of these messages as many
    as have PARTS_BYTES of words. PostgreSQL reads them in this order and stops at ``limit``.
    """
    at, item_id = before or _NEWEST
    rows = fetch(
        tx,
        f"""WITH found AS (
                (SELECT conversation_id, id AS message_id, id AS item_id, at FROM (
                    SELECT *, sum(pg_column_size(search))
                        OVER (ORDER BY at DESC, id DESC ROWS UNBOUNDED PRECEDING) AS bytes
                    FROM (
                        SELECT m.conversation_id, m.id, m.created_at AS at, m.user_id, m.search FROM messages m
                        WHERE {mine("m.user_id")}
                            AND (m.created_at, m.id) < (CAST(:at AS timestamptz), CAST(:id AS uuid))
                        ORDER BY m.created_at DESC, m.id DESC LIMIT :most
                    ) newest
                ) sized WHERE bytes <= :most_bytes AND {_HAS_PARTS} ORDER BY at DESC, id DESC LIMIT :limit)
                UNION ALL
                (SELECT id, NULL, id, at FROM (
                    SELECT c.id, c.last_message_at AS at, c.user_id, c.search FROM conversations c
                    WHERE {mine("c.user_id")} AND c.listed AND c.title IS NOT NULL
                        AND (c.last_message_at, c.id) < (CAST(:at AS timestamptz), CAST(:id AS uuid))
                    ORDER BY c.last_message_at DESC, c.id DESC LIMIT :most
                ) titles WHERE {_HAS_PARTS} ORDER BY at DESC, id DESC LIMIT :limit)
                ORDER BY at DESC, item_id DESC LIMIT :limit
            )
            SELECT f.conversation_id, f.message_id, m.role, c.title, f.at,
                CASE WHEN f.message_id IS NULL THEN c.title ELSE left(m.content, :chars) END AS text
            FROM found f JOIN conversations c ON c.id = f.conversation_id LEFT JOIN messages m ON m.id = f.message_id
            WHERE {mine("c.user_id")} ORDER BY f.at DESC, f.item_id DESC""",
        at=at,
        id=item_id,
        most=PARTS_SEARCHED,
        most_bytes=PARTS_BYTES,
        patterns=[f"%{_UNLIKELY.sub(_escaped, part)}%" for part in parts],
        limit=limit,
        chars=SEARCHED_CHARS,
    )
    return [Hit(**row._mapping) for row in rows]


def _escaped(sign: re.Match[str]) -> str:
    return "\\" + sign[0]
