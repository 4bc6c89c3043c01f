"""Everything of a user is erased from both stores; a hold keeps it; old conversations go by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.services.own_data import erasing
from app.services.own_data.retention import Retention
from app.store import expired
from app.store.database import fetch
from app.wiring import Resources
from tests.factories import add_conversation, add_generation, add_message, insert, new_id, owner
from tests.stack import until
from tests.traces import keys_with, tables_with

from .conftest import Hand, Person, token
from .test_export import export, say_everywhere, unlisted

ME = "/api/v1/me"
DAY = 86_400.0


@pytest.fixture
def admin(app: OpenAPI) -> Person:
    person = Person(app.test_client(), f"admin-{uuid4().hex[:8]}")
    person.headers["Authorization"] = f"Bearer {token(person.subject, role='admin')}"
    return person


@pytest.fixture
def admin_of_holds(admin: Person) -> Any:
    """A function that places and ends holds."""

    def change(user_id: str, held: bool) -> None:
        path = f"/api/v1/ops/users/{user_id}/hold"
        answer = admin._ask("PUT", path, {"json": {"reason": "case 7"}}) if held else admin.delete(path)
        assert answer.status_code == (200 if held else 204), answer.text

    return change


def id_of(person: Person) -> str:
    found: str = person.get(ME).json["id"]
    return found


def age(settings: Settings) -> None:
    """Make all erasures as old as an erasure has to be for its next step."""
    with owner(settings.database_url) as cursor:
        cursor.execute("""UPDATE erasures SET requested_at = requested_at - interval '1 minute',
            emptied_at = emptied_at - interval '1 minute' WHERE finished_at IS NULL""")


def sweep(resources: Resources, settings: Settings) -> None:
    """The sweeps of workers, until nothing is left to erase."""
    for _ in range(6):
        age(settings)
        resources.own_data.erasures.sweep()


def left(resources: Resources, settings: Settings, *traces: str) -> set[str]:
    """The tables and the keys of Redis that have one of these texts in any form."""
    return {
        place
        for trace in traces
        for place in (*tables_with(settings.database_url, trace), *keys_with(resources.redis, trace))
    }


def test_nothing_of_a_user_is_left_anywhere(
    alice: Person, bob: Person, resources: Resources, settings: Settings
) -> None:
    marker, other = f"marker{uuid4().hex}", f"other{uuid4().hex}"
    say_everywhere(alice, resources, marker)
    unlisted(alice, resources, marker)
    bob.start(other)
    running = alice.start(f"{marker} running")
    hand = Hand(resources, running["generation"]["id"])
    hand.save()
    resources.history.context(running["conversation"]["id"], hand.claimed.user_message_id)
    alice.post("/api/v1/stream-tickets", json={"generation_id": running["generation"]["id"]})
    key = alice.post("/api/v1/api-keys", json={"name": f"{marker} key", "scopes": ["read"]})
    assert key.status_code == 201, key.text
    user = id_of(alice)
    # The search must be able to find something in every kind of place: else it would prove nothing.
    before = left(resources, settings, marker, user)
    assert before >= {
        "users", "conversations", "messages", "generations", "generation_chunks", "generation_archives", "responses",
        "reserved_conversations", "client_chats", "stream_tickets", "feeds", "feed_events", "usage_days", "api_keys",
        "audit",
    }  # fmt: skip
    assert {name.rpartition(":")[2] for name in before if ":" in name} >= {"log", running["conversation"]["id"]}
    assert any(":limits" in name for name in before)

    asked = alice.delete(ME)
    assert (asked.status_code, asked.json["state"]) == (202, "requested"), asked.text
    is_refused(alice)
    for refused in (alice.get(ME), alice.delete(ME), alice.get("/v1/conversations/conv_x"), alice.post("/api/chat")):
        assert refused.status_code == 410, refused.text
    assert "being erased" in alice.get(ME).json["detail"]
    assert alice.get(ME).json["type"] == "/problems/being-erased"
    by_key = Person(alice.client, "x", {"Authorization": f"Bearer {key.json['key']}"})
    assert by_key.get(ME).status_code == 401, "its key has ended"

    sweep(resources, settings)
    resources.eraser.sweep()
    assert left(resources, settings, marker, user, alice.subject) == set()
    assert left(resources, settings, other) >= {"messages"}
    with owner(settings.database_url) as cursor:
        cursor.execute(
            "SELECT user_id, finished_at IS NOT NULL, counts FROM erasures WHERE id = %s", (asked.json["id"],)
        )
        nobody, is_finished, counts = cursor.fetchone()
        assert (nobody, is_finished) == (None, True)
        assert counts["conversations"] >= 6
        # The audit says that somebody was erased, under the name of the erasure.
        cursor.execute("SELECT count(*), count(address) FROM audit WHERE actor_id = %s", (asked.json["id"],))
        many, addresses = cursor.fetchone()
        assert (many >= 2, addresses) == (True, 0)

    # Afterwards the subject is a new, empty user.
    # A token that no cache has: the sweeps above have not left the time in which processes read of the end.
    alice.headers["Authorization"] = f"Bearer {token(alice.subject, jti='afterwards')}"
    alice_again = alice.get(ME)
    assert alice_again.status_code == 200
    assert alice_again.json["id"] != user
    assert export(alice)["messages"] == []


def is_refused(person: Person) -> None:
    """The process reads a few times a second who is refused."""
    until(lambda: person.get(ME).status_code == 410, 10)


@pytest.mark.parametrize("key", ["user_id uuid", "note text"])
def test_a_table_that_is_left_out_is_found(alice: Person, resources: Resources, settings: Settings, key: str) -> None:
    """The planted table has no foreign key, so nothing removes its row."""
    user, name = id_of(alice), f"later_{uuid4().hex[:8]}"
    with owner(settings.database_url) as cursor:
        cursor.execute(f"CREATE TABLE {name} (id uuid DEFAULT gen_random_uuid(), {key})")
        cursor.execute(f"INSERT INTO {name} ({key.split()[0]}) VALUES (%s)", (user,))
    assert alice.delete(ME).status_code == 202
    sweep(resources, settings)
    assert left(resources, settings, user) == {name}
    with owner(settings.database_url) as cursor:
        cursor.execute(f"DROP TABLE {name}")


def test_batches_are_small_and_any_worker_goes_on(
    alice: Person, resources: Resources, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction leaves rows that another worker removes, whatever happened to the first one."""
    user = id_of(alice)
    with owner(settings.database_url) as cursor:
        conversation, first = add_conversation(cursor, user)
        for seq in range(2, 12):
            parent = first = add_message(cursor, conversation, user, seq=seq, parent_id=first)
        for _ in range(3):
            add_generation(cursor, user, "completed")
        insert(cursor, "feed_events", {"user_id": user, "seq": 9, "conversation_id": new_id(), "type": "message.new"})
    assert parent
    assert alice.delete(ME).status_code == 202
    monkeypatch.setattr(erasing, "ROWS_AT_ONCE", 3)
    age(settings)
    with resources.database.system() as tx:
        (erasure,) = [one for one in erasing.erasures.pending(tx, 1, 100) if one.user_id == user]
    messages = 0
    with owner(settings.database_url) as cursor:
        for rounds in range(100):
            cursor.execute("SELECT count(*) FROM messages WHERE user_id = %s", (user,))
            (now,) = cursor.fetchone()
            # A message goes with its conversation or in a batch of three.
            assert rounds == 0 or messages - now <= 3 + 3
            messages = now
            worker = erasing.Erasures(
                resources.database, resources.generations, resources.redis, settings.redis_namespace
            )
            if not worker._remove_batch(user, erasure):
                break
            cursor.connection.commit()
        assert rounds > 4
    assert left(resources, settings, user) - {"erasures"} <= {"revocations"} | set(keys_with(resources.redis, user))
    sweep(resources, settings)
    assert left(resources, settings, user) == set()


def test_two_workers_do_not_wait_for_each_other(alice: Person, resources: Resources, settings: Settings) -> None:
    user = id_of(alice)
    with resources.database.system() as one, resources.database.system() as other:
        assert erasing.erasures.hold_for_erasure(one, user)
        assert not erasing.erasures.hold_for_erasure(other, user)


@contextmanager
def refused(settings: Settings, table: str, condition: str) -> Iterator[None]:
    """Within the block PostgreSQL refuses to delete the rows of a table that meet a condition."""
    with owner(settings.database_url) as cursor:
        cursor.execute(f"""
            CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
            CREATE TRIGGER refuse BEFORE DELETE ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse();
        """)
    try:
        yield
    finally:
        with owner(settings.database_url) as cursor:
            cursor.execute(f"DROP TRIGGER refuse ON {table}")


def test_a_user_whose_rows_cannot_be_removed_keeps_no_other_user(
    alice: Person, bob: Person, resources: Resources, settings: Settings
) -> None:
    erasures = resources.own_data.erasures
    for person in (alice, bob):
        person.start("say nothing")
    broken, other = id_of(alice), id_of(bob)
    for person in (alice, bob):
        assert person.delete(ME).status_code == 202
    with refused(settings, "conversations", f"OLD.user_id = '{broken}'"):
        refusals = 0
        for _ in range(6):
            age(settings)
            try:
                erasures.sweep()
            except DBAPIError:
                refusals += 1
                assert erasures._due()[-1][0] == broken, "a sweep begins with the others"
        assert refusals >= 2, "it is tried again"
        assert "users" in tables_with(settings.database_url, broken)
        assert "users" not in tables_with(settings.database_url, other)
    sweep(resources, settings)
    assert "users" not in tables_with(settings.database_url, broken)


# --- holds -----------------------------------------------------------------------------------------------------------


def by_native(alice: Person, made: dict[str, Any]) -> None:
    assert alice.delete(f"/api/v1/conversations/{made['conversation']['id']}").status_code == 204


def by_openai(alice: Person, made: dict[str, Any]) -> None:
    openai = f"conv_{made['conversation']['id'].replace('-', '')}"
    assert alice.delete(f"/v1/conversations/{openai}").status_code == 200


def by_response(alice: Person, made: dict[str, Any]) -> None:
    assert alice.delete(f"/v1/responses/resp_{made['generation']['id'].replace('-', '')}").status_code == 200


@pytest.mark.parametrize("held", [False, True])
def test_what_is_deleted_under_a_hold_is_kept_out_of_sight_until_it_ends(
    alice: Person, admin_of_holds: Any, resources: Resources, settings: Settings, held: bool
) -> None:
    marker, user = f"marker{uuid4().hex}", id_of(alice)
    if held:
        admin_of_holds(user, True)
    ways = [(delete, runs) for delete in (by_native, by_openai, by_response) for runs in (False, True)]
    words = [f"{marker}{n}x" for n in range(len(ways))]
    for word, (delete, runs) in zip(words, ways, strict=True):
        _delete_out_of_sight(alice, resources, word, delete, runs)
    assert marker not in str(export(alice))
    resources.eraser.sweep()
    sweep(resources, settings)
    assert keys_with(resources.redis, marker) == set()
    with owner(settings.database_url) as cursor:
        cursor.execute("SELECT string_agg(content, ' ') FROM messages")
        kept = cursor.fetchone()[0] or ""
    assert [word in kept for word in words] == [held] * len(ways)
    if held:
        admin_of_holds(user, False)
        sweep(resources, settings)
    assert tables_with(settings.database_url, marker) == set()


def _delete_out_of_sight(alice: Person, resources: Resources, word: str, delete: Any, is_running: bool) -> None:
    """Delete a new conversation: no surface shows it, and its key is free again."""
    sent = {"client_msg_id": f"{word}-key", "metadata": {"note": word}}
    made = alice.start(f"{word} asked", **sent)
    hand = Hand(resources, made["generation"]["id"])
    if not is_running:
        hand.run(f"{word} answered")
    conversation = made["conversation"]["id"]
    assert alice.get(f"/api/v1/search?q={word}").json["items"]
    delete(alice, made)
    assert alice.get(f"/api/v1/conversations/{conversation}").status_code == 404
    assert alice.get(f"/api/v1/generations/{made['generation']['id']}").status_code == 404
    assert alice.get(f"/api/v1/search?q={word}").json["items"] == []
    assert alice.post(f"/api/v1/messages/{made['generation']['message_id']}/regenerate", json={}).status_code == 404
    assert conversation not in alice.get("/api/v1/conversations").text
    again = alice.start(f"{word} asked", **sent)
    assert again["conversation"]["id"] != conversation
    by_native(alice, again)


def test_a_user_who_is_being_erased_is_neither_unblocked_nor_seen_twice(
    alice: Person, admin: Person, admin_of_holds: Any
) -> None:
    user = id_of(alice)
    admin_of_holds(user, True)
    by_native(alice, alice.start("kept"))
    seen = admin.get("/api/v1/ops/users?limit=100").json["items"]
    assert {one["kind"] for one in seen} <= {"person", "service"}, "the owner of what is kept is no user"
    assert alice.delete(ME).status_code == 202
    is_refused(alice)
    for action in ("block", "unblock"):
        admin.post(f"/api/v1/ops/users/{user}/{action}", json={"reason": "a try"})
    assert admin.get(f"/api/v1/ops/users/{user}").json["state"] == "erasing"
    assert alice.get(ME).status_code == 410
    admin_of_holds(user, False)


def test_a_chat_a_reservation_and_a_part_of_a_message_are_kept_under_a_hold(
    alice: Person, admin_of_holds: Any, resources: Resources, settings: Settings
) -> None:
    user = id_of(alice)
    admin_of_holds(user, True)
    talk = alice.post("/v1/conversations", json={"items": [{"role": "user", "content": "firstword"}]}).json["id"]
    item = alice.get(f"/v1/conversations/{talk}/items").json["data"][0]["id"]
    assert alice.delete(f"/v1/conversations/{talk}/items/{item}").status_code == 200
    assert "firstword" not in alice.get(f"/v1/conversations/{talk}/items").text
    promised = alice.post("/v1/conversations", json={"metadata": {"note": "secondword"}}).json["id"]
    assert alice.delete(f"/v1/conversations/{promised}").status_code == 200
    assert alice.get(f"/v1/conversations/{promised}").status_code == 404
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "thirdword"}]}
    body = {"id": "a-chat", "messages": [message], "trigger": "submit-message"}
    alice.post("/api/chat", json=body).close()
    (chat,) = [c for c in alice.get("/api/v1/conversations").json["items"] if "thirdword" in c["preview"]]
    assert alice.delete(f"/api/v1/conversations/{chat['id']}").status_code == 204
    alice.post("/api/chat", json=body).close()  # the id of the chat is free
    assert [m["role"] for m in alice.get("/api/chat/a-chat").json["messages"]][:1] == ["user"]
    for word, table in (("firstword", "messages"), ("secondword", "reserved_conversations"), ("thirdword", "messages")):
        assert table in tables_with(settings.database_url, word), word
    assert "firstword" not in str(export(alice))
    assert alice.post("/api/v1/api-keys", json={"name": "a key", "scopes": ["read"]}).status_code == 201
    with owner(settings.database_url) as cursor:
        insert(cursor, "sessions", {"id": new_id(), "user_id": user, "digest": new_id().encode(), "method": "link",
                                    "created_at": "2026-01-01", "seen_at": "2026-01-01"})  # fmt: skip
    assert alice.delete(ME).status_code == 202
    sweep(resources, settings)
    assert "messages" in tables_with(settings.database_url, user), "the erasure waits"
    is_refused(alice)
    # No hold keeps a credential alive.
    with owner(settings.database_url) as cursor:
        cursor.execute("SELECT count(*) FROM sessions WHERE user_id = %s", (user,))
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT name, ended_at IS NOT NULL FROM api_keys WHERE user_id = %s", (user,))
        assert cursor.fetchall() == [("a key", True)]
    admin_of_holds(user, False)
    sweep(resources, settings)
    resources.eraser.sweep()
    assert left(resources, settings, "firstword", "secondword", "thirdword", user) == set()


def test_only_administrators_hold_and_each_hold_has_a_reason(
    alice: Person, bob: Person, admin: Person, app: OpenAPI, resources: Resources
) -> None:
    path = f"/api/v1/ops/users/{id_of(alice)}/hold"
    reason = {"json": {"reason": "case 8"}}
    for method in ("GET", "PUT", "DELETE"):
        assert bob._ask(method, path, reason if method == "PUT" else {}).status_code == 403
    assert admin.get(path).status_code == 404
    assert admin._ask("PUT", path, {"json": {}}).status_code == 422
    assert admin._ask("PUT", f"/api/v1/ops/users/{uuid4()}/hold", reason).status_code == 404
    placed = admin._ask("PUT", path, reason)
    assert (placed.status_code, placed.json["reason"]) == (200, "case 8")
    assert admin.get(path).json == placed.json
    assert admin.delete(path).status_code == 204
    assert admin.delete(path).status_code == 404
    # The audit of the user does not tell of it; that of administrators does.
    assert "hold" not in alice.get("/api/v1/me/audit").text
    found = admin.get(f"/api/v1/ops/audit?object={path.split('/')[5]}").json["items"]
    assert [row["action"] for row in found] == ["hold.ended", "hold.placed"]


# --- retention -------------------------------------------------------------------------------------------------------


def make_old(settings: Settings, conversation_id: str, days: int = 40) -> str:
    """Give a conversation an earlier id and last activity; the new id."""
    earlier = str(new_id())
    with owner(settings.database_url) as cursor:
        cursor.execute("SET session_replication_role = replica")
        old = f"01800000{earlier[8:]}"
        for table in ("messages", "generations", "feed_events", "client_chats"):
            cursor.execute(
                f"UPDATE {table} SET conversation_id = %s WHERE conversation_id = %s", (old, conversation_id)
            )
        cursor.execute(
            "UPDATE conversations SET id = %s, last_message_at = now() - make_interval(days => %s) WHERE id = %s",
            (old, days, conversation_id),
        )
    return old


@pytest.mark.parametrize("most", [1000, 0])
def test_old_conversations_go_and_the_others_stay(
    alice: Person,
    bob: Person,
    admin_of_holds: Any,
    resources: Resources,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    """``most`` 0: each of them is so large that it is set aside first."""
    monkeypatch.setattr(expired, "MOST_MESSAGES", most)
    monkeypatch.setattr(expired, "LOOKED_THROUGH_AT_ONCE", 2)
    admin_of_holds(id_of(bob), True)
    words = [f"word{uuid4().hex}" for _ in range(6)]
    made = [alice.start(word) for word in words[:5]] + [bob.start(words[5])]
    for one in (*made[:3], *made[4:]):
        Hand(resources, one["generation"]["id"]).run("answered")
    old = {n: make_old(settings, made[n]["conversation"]["id"], 40 if n != 2 else 20) for n in (0, 1, 2, 3, 5)}
    feed = alice.get("/api/v1/conversations").json
    Retention(resources.database, None, DAY).sweep()
    assert alice.get(f"/api/v1/conversations/{old[0]}").status_code == 200
    assert Retention(resources.database, 30, DAY).sweep() >= 2
    statuses = [alice.get(f"/api/v1/conversations/{old[n]}").status_code for n in (0, 1, 2, 3)]
    assert statuses == [404, 404, 200, 200], "2 is not old enough, 3 has a running answer"
    assert alice.get(f"/api/v1/conversations/{made[4]['conversation']['id']}").status_code == 200
    assert bob.get(f"/api/v1/conversations/{old[5]}").status_code == 200, "a hold"
    with resources.database.system() as tx:
        told = fetch(tx, "SELECT conversation_id FROM feed_events WHERE type = 'conversation.deleted'")
    assert {old[0], old[1]} <= {row.conversation_id for row in told}
    assert feed
    sweep(resources, settings)
    resources.eraser.sweep()
    for n in range(6):
        assert bool(left(resources, settings, words[n])) is (n > 1), n


def test_temporary_conversations_go_after_their_time(
    alice: Person, bob: Person, admin_of_holds: Any, resources: Resources, settings: Settings
) -> None:
    admin_of_holds(id_of(bob), True)
    made = [alice.start(f"passing {n}", temporary=True) for n in range(3)] + [alice.start("kept")]
    held = bob.start("passing", temporary=True)
    for one in (made[0], made[1], made[3], held):
        Hand(resources, one["generation"]["id"]).run("answered")
    old = {n: make_old(settings, one["conversation"]["id"], 2) for n, one in enumerate([*made, held]) if n != 1}
    retention = Retention(resources.database, None, DAY)
    assert retention.sweep_temporary() >= 1
    assert retention.sweep_temporary() == 0
    young = made[1]["conversation"]["id"]
    statuses = [alice.get(f"/api/v1/conversations/{id_}").status_code for id_ in (old[0], young, old[2], old[3])]
    assert statuses == [404, 200, 200, 200], "the second is young, the third has an answer to come"
    assert bob.get(f"/api/v1/conversations/{old[4]}").status_code == 200, "a hold"


def test_an_import_is_as_old_as_its_import(alice: Person, resources: Resources) -> None:
    say_everywhere(alice, resources, "imported")
    before = len(export(alice)["conversations"])
    Retention(resources.database, 1, DAY).sweep()
    assert len(export(alice)["conversations"]) == before
