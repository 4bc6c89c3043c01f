"""The function behind the search reads the index of all users and returns ids of the transaction's user only.

The statement around it reads the rows under the user's policies: a second defence, which hides a hole in the first one.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.store.database import Database, fetch
from dev.postgres import WEB
from tests.factories import add_conversation, add_user, owner
from tests.logins import as_login

WORD = "marmalade"
# More messages than the function reads before it queries the index by month.
MESSAGES = 1100
DAYS = 200
FILL = """
    INSERT INTO messages (id, conversation_id, user_id, seq, role, status, content, indexed, created_at)
    SELECT gen_random_uuid(), %(conversation)s, %(user)s, n + 1, 'user', 'completed',
        CASE WHEN mod(n, 100) < 2 THEN %(word)s ELSE 'something else' END, mod(n, 100) = 0,
        now() - n * interval '%(days)s days' / %(count)s
    FROM generate_series(1, %(count)s) n
"""
# Every condition of the function that names the user, with its text without the user.
OPENED = [
    ("m.user_id = me AND (m.created_at, m.id) < (before, before_id)", "(m.created_at, m.id) < (before, before_id)"),
    ("(CAST(mine || '''' AS tsquery) && begun)", "begun"),
    ("m.user_id = me AND NOT m.indexed", "NOT m.indexed"),
    (
        "CAST(mine || '/' || month_of(last_at) - back || '''' AS tsquery)",
        f"CAST('{WORD}' AS tsquery)",
    ),
]


@pytest.fixture(scope="module")
def talkative(module_database_url: str) -> tuple[str, str]:
    """A database where the word is in early and late messages and titles of two users, and the id of one of them."""
    users = []
    with owner(module_database_url) as cursor:
        for _ in range(2):
            user = add_user(cursor)
            conversation, _ = add_conversation(cursor, user, title=WORD)
            values = {"conversation": conversation, "user": user, "word": WORD, "count": MESSAGES, "days": DAYS}
            cursor.execute(FILL, values)
            users.append(user)
    return module_database_url, users[0]


def found(url: str, user: str) -> list[tuple[str, str | None]]:
    """The ids that the function returns to a user, in pairs of a conversation and a message."""
    database = Database(as_login(url, WEB), 1)
    try:
        with database.user(user) as tx:
            rows = fetch(
                tx,
                f"""SELECT conversation_id, message_id FROM search_mine(CAST('{WORD}' AS tsquery),
                    CAST('{WORD}' AS tsquery), 'infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 1000)""",
            )
            return [(row.conversation_id, row.message_id) for row in rows]
    finally:
        database.close()


def own(url: str, user: str) -> dict[str, set[str]]:
    with owner(url) as cursor:
        ids = {}
        for table in ("conversations", "messages"):
            cursor.execute(f"SELECT CAST(id AS text) FROM {table} WHERE user_id = %s", (user,))
            ids[table] = {row[0] for row in cursor.fetchall()}
        return ids


def foreign(url: str, user: str) -> list[Any]:
    mine = own(url, user)
    return [
        pair
        for pair in found(url, user)
        if pair[0] not in mine["conversations"] or (pair[1] and pair[1] not in mine["messages"])
    ]


def test_the_search_finds_everything_of_a_user_and_nothing_of_others(talkative: tuple[str, str]) -> None:
    url, user = talkative
    assert len(found(url, user)) == 1 + 2 * MESSAGES // 100, "the title, and two of every hundred messages"
    assert foreign(url, user) == []


@pytest.mark.parametrize(("closed", "opened"), OPENED, ids=["newest", "titles", "not indexed", "months"])
def test_a_search_that_forgets_the_user_is_seen(talkative: tuple[str, str], closed: str, opened: str) -> None:
    url, user = talkative
    with owner(url) as cursor:
        cursor.execute("SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'search_mine'")
        definition = cursor.fetchone()[0]
        assert closed in definition
        cursor.execute(definition.replace(closed, opened))
    try:
        assert foreign(url, user)
    finally:
        with owner(url) as cursor:
            cursor.execute(definition)
