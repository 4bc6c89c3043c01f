"""Search finds a user's own messages, newest first, with the places of the words, and never another user's."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.events import Token
from app.domain.search_words import WIDE, Question, without_accents
from app.store import search as search_store
from app.store.database import fetch_one
from app.store.search import Hit
from app.wiring import Resources
from tests.factories import add_conversation, add_message, owner

from .conftest import Hand, Person


@pytest.fixture(scope="module", autouse=True)
def unhurried() -> Iterator[None]:
    """A busy machine must not look like a search for parts of words that takes too long."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search_store, "PARTS_MILLISECONDS", 20_000)
        yield


def search(person: Person, q: str, **query: Any) -> list[dict[str, Any]]:
    """All hits of a search, read page by page."""
    found: list[dict[str, Any]] = []
    while True:
        answer = person.get("/api/v1/search", query_string={"q": q, **query})
        assert answer.status_code == 200, answer.text
        found += answer.json["items"]
        if answer.json["next_cursor"] is None:
            return found
        query["cursor"] = answer.json["next_cursor"]


def ask(person: Person, resources: Resources, message: str, *answer: str) -> dict[str, Any]:
    made = person.start(message)
    Hand(resources, made["generation"]["id"]).run(*answer)
    return made


def test_questions_and_answers_are_found_newest_first_and_marked(alice: Person, resources: Resources):
    made = ask(alice, resources, "What makes the tides?", "The Moon pulls the ", "<b>tides</b>.")
    ask(alice, resources, "Something else", "Nothing of that.")
    answer, question = search(alice, "tides")
    assert (question["role"], answer["role"]) == ("user", "assistant")
    assert question["message_id"] == made["message"]["message_id"]
    assert question["conversation_id"] == answer["conversation_id"] == made["conversation"]["id"]
    assert answer["snippet"] == "The Moon pulls the <b>tides</b>."
    assert [answer["snippet"][begin:end] for begin, end in answer["highlights"]] == ["tides"]


def test_the_way_one_searches_the_web_works(alice: Person):
    ids = {text: alice.start(text)["message"]["message_id"] for text in ("red fox", "red wolf", "grey wolf", "Füchse")}

    def found(q: str) -> set[str]:
        hits = {item["message_id"] for item in search(alice, q)}
        return {text for text, message_id in ids.items() if message_id in hits}

    assert found("red") == {"red fox", "red wolf"}
    assert found("RED wo") == {"red wolf"}
    assert found("red -wolf") == {"red fox"}
    assert found("fox or grey") == {"red fox", "grey wolf"}
    assert found('"grey wolf"') == found("wolf -red") == {"grey wolf"}
    assert found('"wolf grey"') == found("wolf -wol -red fo") == set()
    assert found("füch") == {"Füchse"}
    assert found("ed") == set()


def test_titles_are_found_and_renamed_ones_by_their_new_name(alice: Person):
    made = alice.start("nothing to see")
    path = f"/api/v1/conversations/{made['conversation']['id']}"
    alice.patch(path, json={"title": "Parrots of Paris"})
    [hit] = search(alice, "parrots")
    assert (hit["message_id"], hit["role"], hit["snippet"]) == (None, None, "Parrots of Paris")
    assert hit["highlights"] == [[0, 7]]
    alice.patch(path, json={"title": "Pigeons"})
    assert search(alice, "parrots") == []
    alice.patch(path, json={"title": None})
    assert search(alice, "pigeons") == []


def test_what_an_answer_in_the_making_says_is_not_found_before_its_end(alice: Person, resources: Resources):
    hand = Hand(resources, alice.start("hello")["generation"]["id"])
    hand.say(Token("unfinished business"))
    hand.save()
    assert search(alice, "unfinished") == []
    hand.finish()
    assert len(search(alice, "unfinished")) == 1


def test_parts_of_words_are_found_and_marked(alice: Person, bob: Person):
    for text in ("Das Krankenhaus am Hafen", "A 50%_off lighthouse", "Überhäuser", "plain"):
        alice.start(text)
    bob.start("Krankenhaus")
    titled = alice.start("nothing here")["conversation"]["id"]
    alice.patch(f"/api/v1/conversations/{titled}", json={"title": "Gasthausbau"})

    def found(q: str) -> list[str]:
        items = alice.get("/api/v1/search", query_string={"q": q}).json["items"]
        return sorted(item["snippet"] for item in items)

    assert found("haus") == ["Das Krankenhaus am Hafen", "Gasthausbau", "Überhäuser"]
    assert found("HAUSER") == found("häuser") == ["Überhäuser"]
    assert found("kenhau afe") == ["Das Krankenhaus am Hafen"]
    assert found("ghthou") == ["A 50%_off lighthouse"]
    # No wildcard, no part of the user's id, no phrase, nothing short.
    user = alice.get("/api/v1/me").json["id"]
    for q in ("k%haus", "k_ank", "\\", "au", '"das kenhau"', "kenhau -plain", user[24:], user[:8]):
        assert found(q) == [], q
    [hit] = alice.get("/api/v1/search?q=kenhau").json["items"]
    assert [hit["snippet"][a:b] for a, b in hit["highlights"]] == ["kenhau"]


def test_the_search_for_parts_reads_the_newest_words_up_to_a_bound(alice: Person, monkeypatch: pytest.MonkeyPatch):
    for text in ("ein Krankenhaus", " ".join(f"wort{n}" for n in range(1000)), "ein Gasthaus"):
        alice.start(text)
    assert [hit["snippet"] for hit in search(alice, "haus")] == ["ein Gasthaus", "ein Krankenhaus"]
    monkeypatch.setattr(search_store, "PARTS_BYTES", 1000)
    assert [hit["snippet"] for hit in search(alice, "haus")] == ["ein Gasthaus"]
    assert [hit["snippet"] for hit in search(alice, "krankenhaus")] == ["ein Krankenhaus"]


def test_a_search_for_parts_ends_in_time_and_its_transaction_goes_on(
    alice: Person, resources: Resources, module_database_url: str, monkeypatch: pytest.MonkeyPatch
):
    alice.start("Krankenhaus")
    user = alice.get("/api/v1/me").json["id"]
    hits: list[Hit] = []
    with resources.database.user(user) as tx:
        with owner(module_database_url) as cursor, monkeypatch.context() as patch:
            patch.setattr(search_store, "PARTS_MILLISECONDS", 500)
            # The search waits for this lock until its time is over.
            cursor.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            with search_store.in_time(tx):
                hits = search_store.find_parts(tx, ["haus"], 10, None)
        assert hits == []
        [hit] = search_store.find_parts(tx, ["haus"], 10, None)
        row = fetch_one(tx, "SELECT current_setting('statement_timeout') AS timeout")
    assert hit.text == "Krankenhaus"
    assert row is not None
    assert row.timeout == "5s"


def test_nobody_finds_what_others_said(alice: Person, bob: Person, resources: Resources):
    ask(alice, resources, "a secret password", "kept secret")
    mine = alice.get("/api/v1/me").json["id"]
    for q in ("secret", f"={mine}", f"secret or {mine}", "-nothing", f'"={mine}"'):
        assert search(bob, q) == [], q
    assert len(search(alice, "secret")) == 2
    assert search(alice, mine) == []


@pytest.mark.parametrize(
    "indexed",
    [lambda n: True, lambda n: False, lambda n: n > 700, lambda n: n % 2 == 0],
    ids=["all of them indexed", "none", "all but the first", "every second"],
)
def test_pages_are_complete_also_behind_the_newest_thousand(
    alice: Person, module_database_url: str, indexed: Callable[[int], bool]
):
    """The index finds rare words, and a scan finds common ones. Pages of both join without a gap or a repeat."""
    user = alice.get("/api/v1/me").json["id"]
    with owner(module_database_url) as cursor:
        conversation, _ = add_conversation(cursor, user)
        for n in range(1, 2500):
            words = ["common"] + ["rare"] * (n % 300 == 0) + ["old"] * (n < 1200)
            at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=17 * n)
            content = " ".join([f"n{n}", *words])
            add_message(cursor, conversation, user, seq=n + 1, content=content, created_at=at, indexed=indexed(n))
    numbers = {q: [int(hit["snippet"].split()[0][1:]) for hit in search(alice, q, limit=50)] for q in ("rare", "old")}
    assert numbers["rare"] == [2400, 2100, 1800, 1500, 1200, 900, 600, 300]
    assert numbers["old"] == list(range(1199, 0, -1))
    assert len(search(alice, "common", limit=50)) == 2499
    assert [hit["snippet"].split()[0] for hit in search(alice, "rare", limit=3)][:2] == ["n2400", "n2100"]


def test_nobody_finds_what_others_said_long_ago(alice: Person, bob: Person, module_database_url: str):
    mine, others = (person.get("/api/v1/me").json["id"] for person in (alice, bob))
    with owner(module_database_url) as cursor:
        for user in (mine, others):
            conversation, _ = add_conversation(cursor, user)
            for n in range(1, 1010):
                at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=n)
                content = f"the {'first' if n < 5 else 'next'} of {user}"
                add_message(cursor, conversation, user, seq=n + 1, content=content, created_at=at, indexed=n % 2 == 0)
    assert [hit["snippet"] for hit in search(alice, "first")] == [f"the first of {mine}"] * 4


def test_a_users_first_messages_are_not_indexed_and_later_ones_are(
    alice: Person, bob: Person, resources: Resources, module_database_url: str
):
    """Each indexed word costs bytes of WAL. The first thousand messages of a user need not be in the index."""
    earlier = ask(alice, resources, "an early question", "an early answer")
    with owner(module_database_url) as cursor:
        cursor.execute("UPDATE feeds SET seq = 2000 WHERE user_id = %s", (alice.get("/api/v1/me").json["id"],))
    later = ask(alice, resources, "a later question", "a later answer")
    another = ask(bob, resources, "somebody else's question", "somebody else's answer")
    with owner(module_database_url) as cursor:
        cursor.execute("SELECT conversation_id::text, bool_and(indexed), bool_or(indexed) FROM messages GROUP BY 1")
        indexed = {row[0]: row[1:] for row in cursor.fetchall()}
    said = [indexed[made["conversation"]["id"]] for made in (earlier, later, another)]
    assert said == [(False, False), (True, True), (False, False)]
    assert len(search(alice, "early or later")) == 4


@pytest.mark.parametrize(
    "text",
    [
        "-".join(map(chr, itertools.chain(range(0x20000, 0x2A6D0), range(0xAC00, 0xD7A0)))),
        " ".join(f"{chr(0x20000 + n)}-{chr(0x20000 + n // 7)}" for n in range(40_000)),
        "x" * 300_000,
        " ".join(map(str, range(60_000))),
        "http://a.b/" + "c/" * 60_000,
    ],
    ids=["one compound", "many compounds", "one word", "many words", "one address"],
)
def test_no_text_is_too_much_to_be_kept(alice: Person, resources: Resources, text: str):
    hand = Hand(resources, alice.start("write a lot")["generation"]["id"])
    hand.say(Token(text + " behind the end"))
    hand.finish()
    [answer] = alice.get(f"/api/v1/generations/{hand.id}").json["content"].rsplit(" behind", 1)[:1]
    assert answer == text


@pytest.mark.parametrize("q", ["", "   ", "x" * 201, "a\0b"])
def test_questions_that_cannot_be_asked_are_refused(alice: Person, q: str):
    answer = alice.get("/api/v1/search", query_string={"q": q})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "q")


@pytest.mark.parametrize("q", ["\x1c", "!!!", "' : * & | ! ( ) <->", '"', "or", "-", "\\", "a:*b", "%", "'='"])
def test_signs_are_no_syntax(alice: Person, q: str):
    alice.start("hello")
    search(alice, q)


def test_other_cursors_and_missing_questions_are_refused(alice: Person):
    assert alice.get("/api/v1/search?q=a&cursor=nonsense").status_code == 400
    assert alice.get("/api/v1/search").status_code == 422
    assert alice.get("/api/v1/search?q=a&limit=51").status_code == 422
    assert alice.client.get("/api/v1/search?q=a").status_code == 401


WIDE_TEXTS = {
    "zh": "这是一个重要的提示：请在部署之前备份数据库。",
    "ja": "東京の人口は約一千四百万人です。データを保存してください。",
    "th": "กรุณาสำรองข้อมูลก่อนติดตั้งระบบ",
    "ko": "데이터베이스를 백업하세요",
    "fr": "Le café est fermé",
    "mixed": "GPT模型很大",
}


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("重要", {"zh"}),
        ("备份", {"zh"}),
        ("数据库", {"zh"}),
        ("备份数据库", {"zh"}),
        ("人口", {"ja"}),
        ("保存", {"ja"}),
        ("データ", {"ja"}),
        ("ข้อมูล", {"th"}),
        ("ติดตั้ง", {"th"}),
        ("데이터베이스", {"ko"}),
        ("백업", {"ko"}),
        ("cafe", {"fr"}),
        ("café", {"fr"}),
        ("CAFÉ ferme", {"fr"}),
        ("模型", {"mixed"}),
        ("gpt", {"mixed"}),
        ("GPT 很大", {"mixed"}),
        ("重", {"zh"}),
        ("大", {"mixed"}),
        ("重要 or 人口", {"zh", "ja"}),
        ("重要 -人口", {"zh"}),
        ("重要 -数据库", set()),
        ('"重要的提示"', {"zh"}),
        ("要重", set()),
        ("份备", set()),
        ("重要 wide0x", set()),
        ("wide0x 重要", set()),
        ("-重要", {"ja", "th", "ko", "fr", "mixed"}),
    ],
)
def test_words_of_every_script_are_found(alice: Person, q: str, found: set[str]):
    ids = {alice.start(text)["message"]["message_id"]: name for name, text in WIDE_TEXTS.items()}
    assert {ids[item["message_id"]] for item in search(alice, q) if item["message_id"] in ids} == found


def test_what_was_found_is_marked_in_every_script(alice: Person):
    for text in WIDE_TEXTS.values():
        alice.start(text)
    for q, marked in (("备份", ["备份"]), ("cafe", ["café"]), ("保存", ["保存"]), ("ข้อมูล", ["ข้อมูล"])):
        [hit] = [item for item in search(alice, q) if item["message_id"]]
        assert [hit["snippet"][begin:end] for begin, end in hit["highlights"]] == marked


LETTERS = st.text(st.sampled_from("aZé ñ-重要提示備份ガが데이กรุ𠮷Ω½Åå\u0301\n。.1"), max_size=30)


@given(LETTERS, st.data())
def test_every_part_of_a_run_and_every_word_of_a_text_is_found(resources: Resources, text: str, data: st.DataObject):
    runs = re.findall(f"[{WIDE}]+", without_accents(text))
    words = re.findall(r"(?<!\S)[a-z]+(?!\S)", without_accents(text).lower())
    if not runs + words:
        return
    part = data.draw(st.sampled_from(runs + words))
    if part in runs:
        begin = data.draw(st.integers(0, len(part) - 1))
        part = part[begin : data.draw(st.integers(begin + 1, len(part)))]
    question = Question(part)
    with resources.database.without_user() as tx:
        query = question.in_pairs(search_store.parse(tx, question.text).text)
        sql = "SELECT to_tsvector('simple', searchable(:text)) @@ CAST(:query AS tsquery) AS found"
        row = fetch_one(tx, sql, text=text, query=query)
    assert row is not None
    assert row.found, query


@pytest.mark.parametrize("first", [0x4E00, 0x20000])
def test_a_text_of_any_letters_has_room_for_its_words(resources: Resources, first: int):
    """A text whose words PostgreSQL cannot hold could not be stored."""
    letters = [chr(first + n % 20_000) + chr(first + n * 7 % 19_997) for n in range(100_000)]
    with resources.database.without_user() as tx:
        sql = "SELECT length(to_tsvector('simple', searchable(:text))) AS words"
        for text in ("".join(letters), "é ".join(letters), "\u0344" * 100_000):
            assert fetch_one(tx, sql, text=text) is not None
