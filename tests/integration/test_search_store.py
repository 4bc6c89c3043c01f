"""The search over thousands of messages finds what a plain list has, and reads the index and the rows no further."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.store import search
from app.store.database import Database, Tx, fetch_one
from dev.postgres import WEB
from tests.factories import add_conversation, add_user, insert, owner
from tests.logins import as_login

MESSAGES, TITLES = 2_500, 60
# A word is in one of so many messages.
WORDS = {
    "die": 2,
    "der": 3,
    "krankenhaus": 40,
    "hafenhaus": 90,
    "haus": 150,
    "o'neill": 200,
    "50%_off": 300,
    "selten": 500,
}
WHOLE_WORDS = [word for word in WORDS if word.isalpha()]
PARTS = ["die", "haus", "aus", "kenhau", "elte", "neil", "xyz", "afenhaus", "off", "fehlt"]
# Months without a message lie behind the first ones.
GAP = timedelta(days=700)

Place = tuple[datetime, str]


@dataclass(frozen=True)
class Item:
    """A message, or a title; ``place`` is its time and id."""

    place: Place
    words: tuple[str, ...]
    is_title: bool


@dataclass(frozen=True)
class Corpus:
    """A user, and all messages and titles of the user, newest first."""

    database: Database
    user: str
    items: list[Item]

    def newest(self, before: Place | None) -> list[Item]:
        return [item for item in self.items if before is None or item.place < before]

    def search(self, found: Callable[[Tx], list[search.Hit]]) -> list[Place]:
        with self.database.user(self.user) as tx:
            return [(hit.at, hit.message_id or hit.conversation_id) for hit in found(tx)]


@pytest.fixture(scope="module")
def corpus(module_database_url: str) -> Iterator[Corpus]:
    """Messages over five years in two times, several at the same time, every third not in the index of words."""
    dice = random.Random(1)
    items: list[Item] = []
    with owner(module_database_url) as cursor:
        user, other = add_user(cursor), add_user(cursor)
        conversations = [_add_title(cursor, user, dice, items) for _ in range(TITLES)]
        _add_messages(cursor, user, conversations, dice, items)
        _add_messages(cursor, other, [add_conversation(cursor, other)[0]], dice, [])
        cursor.execute("ANALYZE messages, conversations")
    database = Database(as_login(module_database_url, WEB), 1)
    yield Corpus(database, user, sorted(items, key=lambda item: item.place, reverse=True))
    database.close()


def _add_title(cursor: Any, user: str, dice: random.Random, items: list[Item]) -> str:
    words, at = _words(dice), datetime(2021, 1, 1, tzinfo=UTC) + timedelta(days=dice.randrange(1800))
    conversation, hello = add_conversation(cursor, user, title=" ".join(words), last_message_at=at, created_at=at)
    cursor.execute("SELECT created_at FROM messages WHERE id = %s", (hello,))
    said_at = cursor.fetchone()[0]
    items += [Item((at, conversation), tuple(words), True), Item((said_at, hello), ("hello",), False)]
    return conversation


def _add_messages(cursor: Any, user: str, conversations: Sequence[str], dice: random.Random, items: list[Item]) -> None:
    for n in range(MESSAGES):
        # Each two have one time.
        at = (
            datetime(2021, 1, 1, tzinfo=UTC)
            + timedelta(hours=n // 2 * 22)
            + (GAP if n > MESSAGES // 4 else timedelta())
        )
        words = _words(dice)
        message_id = f"{n:08x}-{dice.randrange(1 << 16):04x}-7000-8000-{user[-12:]}"
        values = {
            "id": message_id,
            "conversation_id": conversations[n % len(conversations)],
            "user_id": user,
            "seq": n + 2,
            "role": "user",
            "status": "completed",
            "content": " ".join(words),
            "created_at": at,
            "indexed": n % 3 > 0,
        }
        insert(cursor, "messages", values)
        items.append(Item((at, message_id), tuple(words), False))


def _words(dice: random.Random) -> list[str]:
    return [word for word, every in WORDS.items() if dice.randrange(every) == 0] or ["nichts"]


QUERIES: list[tuple[str, Callable[[Sequence[str], str, str], bool]]] = [
    ("'{0}'", lambda words, a, b: a in words),
    ("'{0}' & '{1}'", lambda words, a, b: a in words and b in words),
    ("'{0}' | '{1}'", lambda words, a, b: a in words or b in words),
    ("'{0}' & !'{1}'", lambda words, a, b: a in words and b not in words),
    ("'{0}' <-> '{1}'", lambda words, a, b: (a, b) in pairwise(words)),
]
LIMITS = st.sampled_from([1, 5, 21, 51])


def _places(corpus: Corpus) -> st.SearchStrategy[Place | None]:
    return st.none() | st.sampled_from(corpus.items).map(lambda item: item.place)


@settings(max_examples=80)
@given(st.data())
def test_whole_words_are_found_as_in_a_plain_list(corpus: Corpus, data: st.DataObject) -> None:
    form, matches = data.draw(st.sampled_from(QUERIES))
    a, b = (data.draw(st.sampled_from([*WHOLE_WORDS, "fehlt"])) for _ in range(2))
    before, limit, query = data.draw(_places(corpus)), data.draw(LIMITS), form.format(a, b)
    expected = [item.place for item in corpus.newest(before) if matches(item.words, a, b)][:limit]
    assert corpus.search(lambda tx: search.find(tx, query, query, limit, before)) == expected


@settings(max_examples=60)
@given(st.data())
def test_parts_of_words_are_found_as_in_the_newest_of_a_plain_list(corpus: Corpus, data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=2))
    before, limit = data.draw(_places(corpus)), data.draw(LIMITS)
    read = [
        item
        for is_title in (True, False)
        for item in [item for item in corpus.newest(before) if item.is_title == is_title][: search.PARTS_SEARCHED]
        if all(any(part in word for word in item.words) for part in parts)
    ]
    expected = sorted((item.place for item in read), reverse=True)[:limit]
    assert corpus.search(lambda tx: search.find_parts(tx, parts, limit, before)) == expected


def _reads(tx: Tx, relation: str, kind: str, work: Callable[[Tx], object]) -> int:
    """The scans of an index (``numscans``) or its entries (``tuples_returned``) that ``work`` reads."""
    counts = []
    for _ in range(2):
        row = fetch_one(tx, f"SELECT pg_stat_get_xact_{kind}(CAST(:relation AS regclass)) AS n", relation=relation)
        assert row is not None
        counts.append(row.n)
        if len(counts) == 1:
            work(tx)
    return int(counts[1] - counts[0])


@pytest.mark.parametrize("limit", [1, 3, 6, 12])
def test_a_search_reads_the_index_for_no_month_behind_the_one_that_completes_its_page(
    corpus: Corpus, limit: int
) -> None:
    word, newest = "selten", [item for item in corpus.items if not item.is_title]
    at = newest[0].place[0]
    hits = [item.place[0] for item in newest[search.PARTS_SEARCHED :] if word in item.words]
    assert len(hits) >= 2
    found_before = sum(word in item.words for item in newest[: search.PARTS_SEARCHED])
    wanted = found_before + min(limit, len(hits) - 1)
    begin, end = newest[search.PARTS_SEARCHED - 1].place[0], hits[wanted - found_before - 1]
    months = (begin.year - end.year) * 12 + begin.month - end.month + 1
    assert at > begin
    with corpus.database.user(corpus.user) as tx:
        query = f"'{word}'"
        scans = _reads(tx, "messages_search", "numscans", lambda tx: search.find(tx, query, query, wanted, None))
    assert 0 < scans <= months


def test_a_search_for_parts_reads_no_message_behind_those_that_fill_its_page(corpus: Corpus) -> None:
    """A part that many messages have costs a few entries of the index, and one that none has the bound."""

    def entries(part: str) -> int:
        with corpus.database.user(corpus.user) as tx:
            return _reads(tx, "messages_of_user", "tuples_returned", lambda tx: search.find_parts(tx, [part], 5, None))

    assert 0 < entries("die") < 100
    assert entries("xyz") == search.PARTS_SEARCHED
