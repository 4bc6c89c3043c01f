"""Search in a user's messages and titles."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.commands import Search, User
from app.domain.excerpt import Excerpt, excerpt, words_of
from app.domain.search_words import Question
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
    """A page of hits. ``next_cursor`` is None for the last page."""

    items: list[Found]
    next_cursor: str | None


class MessageSearch:
    """Searches a user's messages and titles, newest first. Live answers are not searched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def search(self, user: User, command: Search) -> FoundPage:
        """One page. A question without a word in it finds nothing."""
        before = read_cursor(command.cursor) if command.cursor else None
        question = Question(command.question)
        with self._database.user(user.id) as tx:
            query = search.parse(tx, question.text)
            ending = ":*" if not question.ends_wide and _is_unfinished(question.text, query.text) else ""
            wanted = question.in_pairs(query.text)
            hits = search.find(tx, wanted, wanted + ending, command.limit + 1, before) if wanted else []
        shown = hits[: command.limit]
        words = words_of(query.positive + ending, question.runs(query.positive))
        items = [Found(hit, excerpt(hit.text, words)) for hit in shown]
        last = shown[-1] if len(hits) > len(shown) else None
        return FoundPage(items, write_cursor(last.at, last.message_id or last.conversation_id) if last else None)


def _is_unfinished(question: str, query: str) -> bool:
    """True when the last word may be the beginning of a word: it is not in a phrase, and not excluded."""
    last = question.split()[-1] if query else ""
    return bool(last) and query.endswith("'") and last[-1].isalnum() and last[0] != "-" and question.count('"') % 2 == 0
