"""Finding what was said."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.commands import Search, User
from app.domain.excerpt import Excerpt, excerpt, words_of
from app.services.paging import read_cursor, write_cursor
from app.store import search
from app.store.database import Database
from app.store.search import Hit


@dataclass(frozen=True, slots=True)
class Found:
    """A hit, and the part of its text that shows why."""

    hit: Hit
    excerpt: Excerpt


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of what was found. ``next_cursor`` None: it was the last one."""

    items: list[Found]
    next_cursor: str | None


class Searcher:
    """Searches a user's messages and titles, newest first. What an answer in the making says is not looked at."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def search(self, user: User, command: Search) -> FoundPage:
        """One page. A question without a word in it finds nothing."""
        before = read_cursor(command.cursor) if command.cursor else None
        with self._database.user(user.id) as tx:
            query = search.parse(tx, command.question)
            ending = ":*" if _is_unfinished(command.question, query.text) else ""
            hits = search.find(tx, query.text, query.text + ending, command.limit + 1, before) if query.text else []
        shown = hits[: command.limit]
        words = words_of(query.positive + ending)
        items = [Found(hit, excerpt(hit.text, words)) for hit in shown]
        last = shown[-1] if len(hits) > len(shown) else None
        return FoundPage(items, write_cursor(last.at, last.message_id or last.conversation_id) if last else None)


def _is_unfinished(question: str, query: str) -> bool:
    """Whether its last word may be the beginning of one: not in a phrase, and not one that must be missing."""
    last = question.split()[-1] if query else ""
    return bool(last) and query.endswith("'") and last[-1].isalnum() and last[0] != "-" and question.count('"') % 2 == 0
