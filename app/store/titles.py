"""Titles of conversations that have none yet."""

from __future__ import annotations

from dataclasses import dataclass

from app.store import feed
from app.store.database import Tx, execute, fetch_one, mine


@dataclass(frozen=True, slots=True)
class Untitled:
    """A conversation without a title, and its first message with text.

    ``by_program``: its generation was created over the Responses API, which programs use.
    """

    conversation_id: str
    message: str
    by_program: bool


def untitled(tx: Tx, generation_id: str) -> Untitled | None:
    """The conversation of a generation, if it is listed, has no title yet and has a message with text."""
    row = fetch_one(
        tx,
        f"""SELECT c.id AS conversation_id, said.content AS message,
               EXISTS (SELECT FROM responses r WHERE r.generation_id = g.id) AS by_program
           FROM generations g JOIN conversations c ON c.id = g.conversation_id AND c.title IS NULL AND c.listed
           CROSS JOIN LATERAL (
               SELECT m.content FROM messages m
               WHERE m.conversation_id = c.id AND m.role = 'user' AND m.content <> '' ORDER BY m.seq LIMIT 1
           ) said
           WHERE g.id = :id AND {mine("g.user_id")}""",
        id=generation_id,
    )
    return Untitled(**row._mapping) if row else None


def entitle(tx: Tx, conversation_id: str, title: str) -> bool:
    """Give a conversation a title, unless it has one. Returns whether it had none."""
    sql = f"UPDATE conversations SET title = :title WHERE id = :id AND {mine()} AND title IS NULL"
    entitled = execute(tx, sql, id=conversation_id, title=title) == 1
    if entitled:
        feed.record(tx, conversation_id, "conversation.updated")
    return entitled
