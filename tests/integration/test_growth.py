"""docs/operate/growth.md names the bound of everything that is stored, and rows past their age go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from threading import Event, Thread
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from app.config import WorkerSettings
from app.domain.session import SessionRules
from app.services import feeds
from app.services import leftovers as service
from app.services.feeds import Feeds
from app.services.leftovers import KeptDays, Leftovers
from app.services.own_data.retention import Retention
from app.services.passes import Pass
from app.services.sessions import Sessions
from app.store import chats, expired, leftovers, reserved_conversations
from app.store.database import Database
from app.wiring import Resources
from tests.conftest import ROOT
from tests.factories import add_user, insert, new_id, owner
from tests.stack import Stack, until
from worker.chores import chores

DOCUMENT = (ROOT / "docs" / "operate" / "growth.md").read_text()
TABLES, KEYS, _ = (part.split("\n## ")[0] for part in DOCUMENT.split("\n## ")[1:4])
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `([a-z_]+)` \| (.+) \| (.+) \| (.*?) ?\|$", TABLES, re.MULTILINE)}
KEY_ROWS = [(re.findall(r"`([^`]+)`", row[0]), row[1]) for row in re.findall(r"^\| (`.+?) \|.+\| (.+) \|$", KEYS, re.M)]
CHORE = re.compile(r'"([a-z -]+)"')
DAYS = KeptDays(reservations=90, usage=100, erasures=200)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, 3)
    yield database
    database.close()


def prune(service: Leftovers | Feeds | Sessions) -> None:
    assert Pass(service.prune, seconds=600).resume() is False


def count(cursor: Any, table: str) -> int:
    cursor.execute(f"SELECT count(*) FROM {table}")
    found: int = cursor.fetchone()[0]
    return found


# --- the page ------------------------------------------------------------------------------------------------------


def test_every_table_has_a_row(database_url: str) -> None:
    with owner(database_url) as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = {name for (name,) in cursor.fetchall()}
    assert set(ROWS) == found


def test_every_row_says_a_bound_that_exists() -> None:
    settings = {name.upper() for name in WorkerSettings.model_fields}
    for table, (_, bound, _) in ROWS.items():
        assert bound.startswith(("age: ", "number: ", "with: ", "as many as ", "one row")), table
        assert ("age: " not in bound) or ROWS[table][2], f"{table}: nothing removes its rows"
    for name in re.findall(r"`([A-Z_]+)`", DOCUMENT):
        assert name in settings | {"RATELIMIT_"}, name
    for module, name in re.findall(r"`([a-z_.]+):([A-Z_]+)`", DOCUMENT):
        assert getattr(import_module(module), name) > 0


def test_every_chore_of_the_page_is_one_of_a_worker(stack: Stack) -> None:
    known = {chore.name for chore in chores(stack.resources)}
    named = {name for _, _, by in ROWS.values() for name in CHORE.findall(by)}
    assert named <= known
    # These begin something, or remove nothing.
    assert known - named == {"notice restore", "end expired keys"}


@pytest.mark.slow
def test_every_key_of_a_run_has_a_row_and_expires_where_the_row_says_so(stack: Stack) -> None:
    patterns = {_pattern(name): bound for names, bound in KEY_ROWS for name in names}
    stack.web()
    stack.worker()
    stack.finished(stack.start(model="offline").generation.id)
    with redis.Redis.from_url(stack.variables["REDIS_URL"]) as client:
        keys = until(lambda: list(client.scan_iter(match=f"{stack.namespace}:*")), what="a key")
        for key in keys:
            name = key.decode().removeprefix(f"{stack.namespace}:")
            bounds = [bound for pattern, bound in patterns.items() if pattern.fullmatch(name)]
            assert bounds, f"{name} has no row"
            if bounds[0].startswith("expire"):
                assert client.ttl(key) != -1, f"{name} does not expire"


def _pattern(name: str) -> re.Pattern[str]:
    known = re.escape(name).replace(re.escape("{id}"), r"\{[^}]+\}")
    # A name that the page shows with an ellipsis has more behind it.
    return re.compile(known + (".*" if f"`{name}`…" in KEYS or name == "generations" else ""), re.DOTALL)


# --- rows go --------------------------------------------------------------------------------------------------------


def add_reservation(cursor: Any, user_id: str, days: float, chat: str | None = None) -> str:
    found = new_id()
    cursor.execute(
        """INSERT INTO reserved_conversations (id, user_id, created_at)
           VALUES (%s, %s, now() - make_interval(days => %s))""",
        (found, user_id, days),
    )
    if chat is not None:
        insert(cursor, "client_chats", {"user_id": user_id, "chat_id": chat, "conversation_id": found})
    return found


def test_old_reservations_go_with_their_chats_and_young_ones_stay(database_url: str, database: Database) -> None:
    with owner(database_url) as cursor:
        alice = add_user(cursor)
        for n in range(7):
            add_reservation(cursor, alice, 91, f"old {n}")
        kept = add_reservation(cursor, alice, 89, "young")
    prune(Leftovers(database, DAYS))
    with owner(database_url) as cursor:
        cursor.execute("SELECT id FROM reserved_conversations")
        assert cursor.fetchall() == [(kept,)]
        cursor.execute("SELECT chat_id FROM client_chats")
        assert cursor.fetchall() == [("young",)]


def test_a_hold_keeps_reservations_and_usage(database_url: str, database: Database) -> None:
    with owner(database_url) as cursor:
        alice = add_user(cursor)
        add_reservation(cursor, alice, 1000)
        add_usage(cursor, alice, 1000)
        keeper = new_id()
        insert(cursor, "users", {"id": keeper, "subject": keeper, "kept_for": alice})
        add_reservation(cursor, keeper, 1000)
        insert(cursor, "holds", {"user_id": alice, "reason": "a court"})
    prune(Leftovers(database, DAYS))
    with owner(database_url) as cursor:
        assert count(cursor, "reserved_conversations") == 2
        assert [count(cursor, table) for table in ("usage_days", "key_usage_days")] == [1, 1]


def test_a_chat_that_is_being_begun_keeps_its_reservation_and_waits_for_nothing(
    database_url: str, database: Database
) -> None:
    with owner(database_url) as cursor:
        alice = add_user(cursor)
        reserved = add_reservation(cursor, alice, 91, "mine")
    is_begun, may_end = Event(), Event()

    def begin() -> None:
        with database.user(alice) as tx:
            assert chats.claim(tx, alice, "mine", new_id()) == reserved
            is_begun.set()
            may_end.wait(30)
            chats.promise(tx, alice, reserved)

    thread = Thread(target=begin)
    thread.start()
    assert is_begun.wait(30)
    try:
        with database.system() as tx:
            assert leftovers.remove_reservations(tx, 90, 10) == 0
    finally:
        may_end.set()
        thread.join(30)
    with owner(database_url) as cursor:
        assert (count(cursor, "reserved_conversations"), count(cursor, "client_chats")) == (1, 1)


def test_a_chat_that_was_begun_has_its_reservation_for_the_first_message(database_url: str, database: Database) -> None:
    """The transaction of the message is another one; a pass of the chore may lie between the two."""
    with owner(database_url) as cursor:
        alice = add_user(cursor)
        reserved = add_reservation(cursor, alice, 91, "mine")
    with database.user(alice) as tx:
        assert chats.claim(tx, alice, "mine", new_id()) == reserved
        chats.promise(tx, alice, reserved)
    prune(Leftovers(database, DAYS))
    with database.user(alice) as tx:
        assert reserved_conversations.take(tx, reserved) is not None


def add_usage(cursor: Any, user_id: str, days: int) -> None:
    for table, more, values in (("usage_days", "", ""), ("key_usage_days", "key_id, cached_tokens, ", "'key', 0, ")):
        cursor.execute(
            f"""INSERT INTO {table} ({more}user_id, day, model, currency, generations, input_tokens, output_tokens)
                VALUES ({values}%s, CAST(now() AT TIME ZONE 'UTC' AS date) - %s, 'm', '', 1, 2, 3)""",
            (user_id, days),
        )


def test_old_usage_goes_in_batches_and_what_is_young_stays(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LEFTOVERS_AT_ONCE", 3)
    with owner(database_url) as cursor:
        alice = add_user(cursor)
        for days in (0, 99, 100, *range(101, 109)):
            add_usage(cursor, alice, days)
    prune(Leftovers(database, DAYS))
    with owner(database_url) as cursor:
        for table in ("usage_days", "key_usage_days"):
            cursor.execute(f"SELECT CAST(now() AT TIME ZONE 'UTC' AS date) - day FROM {table} ORDER BY 1")
            assert cursor.fetchall() == [(0,), (99,), (100,)]


def test_old_tickets_of_users_who_never_return_go(database_url: str, database: Database) -> None:
    with owner(database_url) as cursor:
        alice = add_user(cursor)
        for seconds in (5, 800, 1000):
            cursor.execute(
                """INSERT INTO stream_tickets (digest, user_id, object, token_expires_at, created_at)
                   VALUES (sha256(%s), %s, gen_random_uuid(), now(), now() - make_interval(secs => %s))""",
                (str(seconds).encode(), alice, seconds),
            )
    prune(Leftovers(database, DAYS))
    with owner(database_url) as cursor:
        assert count(cursor, "stream_tickets") == 2


def test_finished_erasures_go_and_others_stay_however_old(database_url: str, database: Database) -> None:
    with owner(database_url) as cursor:
        alice = add_user(cursor)
        for user, finished in ((None, 199), (None, 201), (alice, None)):
            cursor.execute(
                """INSERT INTO erasures (id, user_id, digest, requested_at, emptied_at, finished_at)
                   VALUES (%s, %s, %s, now() - interval '900 days', now() - make_interval(days => %s),
                       now() - make_interval(days => %s))""",
                (new_id(), user, UUID(new_id()).bytes * 2, finished, finished),
            )
    prune(Leftovers(database, DAYS))
    with owner(database_url) as cursor:
        cursor.execute("SELECT CAST(now() AS date) - CAST(finished_at AS date) FROM erasures ORDER BY 1")
        assert cursor.fetchall() == [(199,), (None,)]


def add_lists(cursor: Any) -> None:
    for name, days in (("used", -1), ("gone", 31)):
        cursor.execute(
            "INSERT INTO upstream_models (upstream, refresh_at) VALUES (%s, now() - make_interval(days => %s))",
            (name, days),
        )


def upstreams(cursor: Any) -> set[str]:
    cursor.execute("SELECT upstream FROM upstream_models")
    return {name for (name,) in cursor.fetchall()}


def test_the_list_of_an_upstream_without_a_worker_goes(database_url: str, database: Database) -> None:
    with owner(database_url) as cursor:
        add_lists(cursor)
    prune(Leftovers(database, DAYS))
    with owner(database_url) as cursor:
        assert upstreams(cursor) == {"used"}


def test_a_list_that_another_transaction_holds_is_not_waited_for(database_url: str, database: Database) -> None:
    with owner(database_url) as cursor:
        add_lists(cursor)
    with owner(database_url) as cursor:
        cursor.execute("UPDATE upstream_models SET refresh_at = now() WHERE upstream = 'gone'")
        prune(Leftovers(database, DAYS))
    with owner(database_url) as cursor:
        assert upstreams(cursor) == {"used", "gone"}


def test_a_kind_that_cannot_be_removed_keeps_none_of_the_others(database_url: str, database: Database) -> None:
    with owner(database_url) as cursor:
        alice = add_user(cursor)
        add_reservation(cursor, alice, 91)
        add_usage(cursor, alice, 1000)
        cursor.execute("REVOKE DELETE ON reserved_conversations FROM unbroken_system")
    each = Pass(Leftovers(database, DAYS).prune, seconds=600)
    with pytest.raises(DBAPIError, match="permission denied"):
        each.resume()
    each.resume()
    with owner(database_url) as cursor:
        assert [count(cursor, table) for table in ("usage_days", "key_usage_days")] == [0, 0]


def test_a_conversation_that_cannot_be_removed_keeps_none_of_the_others(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expired, "LOOKED_THROUGH_AT_ONCE", 1)
    broken, other = (f"0180000{n}-0000-7000-8000-000000000000" for n in (1, 2))
    with owner(database_url) as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        alice = add_user(cursor)
        for found in (broken, other):
            values = {"id": found, "user_id": alice, "first_message_id": new_id(), "last_message_at": "2022-01-01"}
            insert(cursor, "conversations", values)
        cursor.execute(f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
            CREATE TRIGGER refuse BEFORE DELETE ON conversations FOR EACH ROW
                WHEN (OLD.id = '{broken}') EXECUTE FUNCTION refuse();
        """)
    retention = Retention(database, 30, 60)
    with pytest.raises(DBAPIError, match="refused"):
        retention.sweep()
    assert retention.sweep() == 1
    with owner(database_url) as cursor:
        cursor.execute("SELECT id FROM conversations")
        assert cursor.fetchall() == [(broken,)]


def test_codes_of_expired_links_go(stack: Stack, database_url: str) -> None:
    resources: Resources = stack.resources
    with owner(database_url) as cursor:
        for days in (-1, 6, 8):
            cursor.execute(
                """INSERT INTO sign_in_codes (digest, subject, expires_at)
                   VALUES (sha256(%s), 'alice', now() - make_interval(days => %s))""",
                (str(days).encode(), days),
            )
    resources.sign_in_links.prune()
    with owner(database_url) as cursor:
        assert count(cursor, "sign_in_codes") == 2


# --- plans ----------------------------------------------------------------------------------------------------------

FILLED = """
    INSERT INTO users (id, subject) SELECT uuidv7(), 'user ' || n FROM generate_series(1, 20000) n;
    SET LOCAL session_replication_role = replica;
    INSERT INTO conversations (id, user_id, first_message_id, feed_seq)
    SELECT id, id, id, CASE WHEN row_number() OVER () % 100 = 0 THEN 300 ELSE 5 END FROM users;
    INSERT INTO feeds (user_id, seq) SELECT id, 300 FROM users;
    INSERT INTO feed_events (user_id, seq, conversation_id, conversation_seq, type, created_at)
    SELECT id, n, id, CASE WHEN n > 2 THEN n END, 'message.new', now() - interval '3 days'
    FROM users, generate_series(1, 5) n;
    INSERT INTO reserved_conversations (id, user_id, created_at)
    SELECT uuidv7(), id, now() - make_interval(days => CAST(row_number() OVER () AS integer) % 92) FROM users;
    INSERT INTO stream_tickets (digest, user_id, object, token_expires_at, created_at)
    SELECT sha256(uuid_send(id)), id, id, now(), now() - make_interval(secs => row_number() OVER () % 920) FROM users;
    INSERT INTO usage_days (user_id, day, model, currency, generations, input_tokens, output_tokens)
    SELECT id, current_date - CAST(row_number() OVER () AS integer) % 102, 'm', '', 1, 1, 1 FROM users;
    INSERT INTO key_usage_days (user_id, key_id, day, model, currency, generations, input_tokens, output_tokens,
        cached_tokens) SELECT user_id, 'key', day, model, currency, 1, 1, 1, 0 FROM usage_days;
    INSERT INTO erasures (id, digest, requested_at, emptied_at, finished_at)
    SELECT id, sha256(uuid_send(id)), now(), now(),
        now() - make_interval(days => CAST(row_number() OVER () AS integer) % 202) FROM users;
    INSERT INTO sessions (id, user_id, digest, method, created_at, seen_at, seen_on)
    SELECT id, id, uuid_send(id), 'link', seen - interval '21 days', seen, CAST(seen AT TIME ZONE 'UTC' AS date)
    FROM (SELECT id, now() - make_interval(hours => CAST(row_number() OVER () AS integer) % 180) AS seen FROM users) s;
"""
LARGE = "feed_events|reserved_conversations|stream_tickets|usage_days|key_usage_days|erasures|conversations|sessions"
SESSIONS = SessionRules(idle_seconds=7 * 86_400, longest_seconds=28 * 86_400, most_per_user=100)


def test_no_batch_reads_a_whole_table(database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each statement that removes rows the plan is looked at, in place of its effect."""
    # A quarter of a table may as well be read in one go; a batch is a small part of a table that is worth an index.
    monkeypatch.setattr(feeds, "LOOKED_AT_AT_ONCE", 1000)
    with owner(database_url) as cursor:
        cursor.execute(FILLED)
        cursor.execute("ANALYZE")
    plans: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute", retval=True)
    def explain(_: Any, __: Any, sql: str, values: Any, *___: Any) -> tuple[str, Any]:
        return ("EXPLAIN " if re.match(r"\s*(DELETE|WITH old)", sql) else "") + sql, values

    @event.listens_for(database.engine, "after_cursor_execute")
    def collect(_: Any, cursor: Any, sql: str, *__: Any) -> None:
        if sql.startswith("EXPLAIN "):
            plans.append("\n".join(line for (line,) in cursor.fetchall()))

    prune(Leftovers(database, DAYS))
    prune(Feeds(database))
    prune(Sessions(database, SESSIONS))
    assert len(plans) >= 11
    assert [plan for plan in plans if re.search(rf"Seq Scan on ({LARGE})\b", plan)] == []
