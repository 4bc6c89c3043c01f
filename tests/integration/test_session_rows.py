"""Rows of sessions: a use writes little, and workers find ended ones without reading the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from app.domain.audit import SERVICE
from app.domain.session import SessionRules, SignIn
from app.services import sessions as service
from app.services.passes import Pass
from app.services.sessions import Sessions
from app.store.database import Database
from tests.factories import add_user, insert, new_id, owner

RULES = SessionRules(idle_seconds=7 * 86_400, longest_seconds=30 * 86_400, most_per_user=100)
NOON = datetime.fromisoformat("2027-03-01T12:00:00+00:00")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, 3)
    yield database
    database.close()


def at(database: Database, moment: datetime) -> Sessions:
    """The service at this moment."""
    return Sessions(database, RULES, moment.timestamp)


def begin(database: Database, user_id: str, moment: datetime = NOON) -> str:
    """Begin a session; its id."""
    return at(database, moment).begin(SignIn(user_id, "link"), SERVICE).id


def days(cursor: Any) -> list[date]:
    cursor.execute("SELECT seen_on FROM sessions ORDER BY 1")
    return [day for (day,) in cursor.fetchall()]


def test_the_day_is_that_of_the_last_use(database_url: str, database: Database) -> None:
    with owner(database_url) as cursor:
        alice = add_user(cursor)
    used, streamed = (at(database, NOON).begin(SignIn(alice, "link"), SERVICE) for _ in range(2))
    with owner(database_url) as cursor:
        assert days(cursor) == [NOON.date()] * 2
    assert at(database, NOON + timedelta(days=1)).of_secret(used.secret) is not None
    at(database, NOON + timedelta(days=2)).touch([streamed.id])
    with owner(database_url) as cursor:
        assert days(cursor) == [NOON.date() + timedelta(days=1), NOON.date() + timedelta(days=2)]


@pytest.mark.parametrize(
    "use",
    [
        "SELECT use_session(s.digest, s.seen_at + interval '2 minutes', 1e6, 1e6, 60) FROM sessions s",
        "SELECT touch_sessions(ARRAY[s.id], s.seen_at + interval '2 minutes', 1e6, 1e6, 60) FROM sessions s",
    ],
)
def test_a_use_of_the_day_changes_no_index(database_url: str, database: Database, use: str) -> None:
    with owner(database_url) as cursor:
        alice = add_user(cursor)
    begin(database, alice)
    with owner(database_url) as cursor:
        cursor.execute(use)
        cursor.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'sessions'")
        assert cursor.fetchall() == [(1, 1)]


def test_a_session_of_earlier_code_has_the_present_day(database_url: str) -> None:
    with owner(database_url) as cursor:
        session = {"id": new_id(), "user_id": add_user(cursor), "digest": b"1", "method": "link"}
        insert(cursor, "sessions", {**session, "created_at": "now", "seen_at": "now"})
        cursor.execute("SELECT CAST(now() AT TIME ZONE 'UTC' AS date)")
        assert [cursor.fetchone()[0]] == days(cursor)


def test_ended_sessions_go_and_open_ones_stay(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PRUNED_AT_ONCE", 3)
    with owner(database_url) as cursor:
        alice = add_user(cursor)
    second = timedelta(seconds=1)
    for _ in range(7):
        begin(database, alice, NOON - timedelta(days=7))
    unused = begin(database, alice, NOON - timedelta(days=7) + second)
    old, longest = (begin(database, alice, NOON - timedelta(days=30) + past) for past in (second, timedelta(0)))
    with owner(database_url) as cursor:
        cursor.execute(
            "UPDATE sessions SET seen_at = %s, seen_on = %s WHERE id IN (%s, %s)", (NOON, NOON, old, longest)
        )
    assert Pass(at(database, NOON).prune, seconds=600).resume() is False
    with owner(database_url) as cursor:
        cursor.execute("SELECT id FROM sessions")
        assert {found for (found,) in cursor.fetchall()} == {unused, old}
