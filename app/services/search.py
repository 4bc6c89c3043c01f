"""Search in a user's messages and titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.commands import Search, User
from app.domain.excerpt import Excerpt, Word, excerpt, words_of
from app.domain.search_words import Question, parts_of
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
            parts = parts_of(wanted)
            if parts and len(hits) <= command.limit:
                with search.in_time(tx):
                    hits = _merged(hits, search.find_parts(tx, parts, command.limit + 1, before))[: command.limit + 1]
        shown = hits[: command.limit]
        words = words_of(query.positive + ending, question.runs(query.positive))
        items = [Found(hit, _excerpt(hit.text, words, parts)) for hit in shown]
        last = shown[-1] if len(hits) > len(shown) else None
        return FoundPage(items, write_cursor(last.at, last.message_id or last.conversation_id) if last else None)


def _merged(hits: list[Hit], others: list[Hit]) -> list[Hit]:
    """All hits, each once, newest first."""
    found = {(hit.conversation_id, hit.message_id): hit for hit in (*others, *hits)}
    return sorted(found.values(), key=lambda hit: (hit.at, hit.message_id or hit.conversation_id), reverse=True)


def _excerpt(text: str, words: Sequence[Word], parts: Sequence[str]) -> Excerpt:
    """The part of a text that shows why it was found: by whole words, or else by parts of them."""
    shown = excerpt(text, words)
    return shown if shown.highlights or not parts else excerpt(text, [Word(part, inside=True) for part in parts])


def _is_unfinished(question: str, query: str) -> bool:
    """True when the last word may be the beginning of a word: it is not in a phrase, and not excluded."""
    last = question.split()[-1] if query else ""
    return bool(last) and query.endswith("'") and last[-1].isalnum() and last[0] != "-" and question.count('"') % 2 == 0
