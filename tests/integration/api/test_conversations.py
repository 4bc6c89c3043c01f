"""Conversations: list, page, change, delete and read them; a user reaches no conversation of another user."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.domain.events import Token
from app.wiring import Resources

from .conftest import OWNED, Hand, Person


def test_pages_are_newest_first_and_complete(alice: Person):
    made = [alice.start(f"message {n}")["conversation"]["id"] for n in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = alice.get(
            "/api/v1/conversations", query_string={"limit": 3} | ({"cursor": cursor} if cursor else {})
        ).json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_a_list_shows_previews_and_filters(alice: Person):
    plain = alice.start("plain talk")["conversation"]["id"]
    chosen = alice.start("with a model", model="offline-fast")["conversation"]["id"]
    items = alice.get("/api/v1/conversations").json["items"]
    assert {item["id"]: item["preview"] for item in items} == {plain: "plain talk", chosen: "with a model"}
    assert [i["id"] for i in alice.get("/api/v1/conversations?model=offline-fast").json["items"]] == [chosen]
    alice.patch(f"/api/v1/conversations/{plain}", json={"archived": True})
    assert [i["id"] for i in alice.get("/api/v1/conversations").json["items"]] == [chosen]
    assert [i["id"] for i in alice.get("/api/v1/conversations?archived=true").json["items"]] == [plain]


def test_the_active_conversation_is_the_one_last_written_to(alice: Person, bob: Person, resources: Resources):
    active = "/api/v1/conversations/active"
    assert alice.get(active).status_code == 404
    first, second = alice.start("one"), alice.start("two")
    chosen = alice.start("three", model="offline-fast")["conversation"]["id"]
    ids = [made["conversation"]["id"] for made in (first, second)]
    assert alice.get(active).json["id"] == ids[1]
    assert alice.get(active, query_string={"model": "offline-fast"}).json["id"] == chosen
    Hand(resources, first["generation"]["id"]).run("answer")
    alice.start("more", conversation_id=ids[0])
    assert alice.get(active).json["id"] == ids[0]
    alice.patch(f"/api/v1/conversations/{ids[0]}", json={"archived": True})
    assert alice.get(active).json["id"] == ids[1]
    alice.delete(f"/api/v1/conversations/{ids[1]}")
    assert alice.get(active).status_code == bob.get(active).status_code == 404
    assert alice.get(active, query_string={"model": "offline"}).status_code == 404


def test_a_title_is_given_and_taken_away(alice: Person):
    path = f"/api/v1/conversations/{alice.start()['conversation']['id']}"
    assert alice.patch(path, json={"title": "  Parrots 🦜 "}).json["title"] == "Parrots 🦜"
    assert alice.patch(path, json={"archived": True}).json["title"] == "Parrots 🦜"
    assert alice.patch(path, json={"title": None}).json["title"] is None
    assert alice.patch(path, json={}).status_code == 200
    assert alice.patch(path).status_code == 200


def test_messages_come_in_order_and_in_pages(alice: Person, resources: Resources):
    made = alice.start("one")
    conversation = made["conversation"]["id"]
    Hand(resources, made["generation"]["id"]).run("answer one")
    more = alice.start("two", conversation_id=conversation)
    Hand(resources, more["generation"]["id"]).run("answer two")
    path = f"/api/v1/conversations/{conversation}/messages"
    first = alice.get(path, query_string={"limit": 3}).json
    assert [m["content"] for m in first["items"]] == ["one", "answer one", "two"]
    rest = alice.get(path, query_string={"after_seq": first["next_seq"]}).json
    assert [m["content"] for m in rest["items"]] == ["answer two"]
    assert rest["next_seq"] is None
    assert rest["items"][0]["generation_id"] == more["generation"]["id"]
    assert rest["items"][0]["parent_id"] == more["message"]["message_id"]
    assert first["items"][2]["parent_id"] == first["items"][1]["message_id"]


def test_status_tells_pollers_how_far_it_is(alice: Person, resources: Resources):
    made = alice.start()
    path = f"/api/v1/conversations/{made['conversation']['id']}/status"
    assert alice.get(path).json["has_active_generation"] is True
    hand = Hand(resources, made["generation"]["id"])
    hand.say(Token("half"))
    hand.save()
    status = alice.get(path)
    assert status.json["partial_content"] == "half"
    assert status.json["cursor"] == "1-1"
    assert status.json["generating_message_id"] == made["generation"]["message_id"]
    assert alice.get(path, headers={"If-None-Match": status.headers["ETag"]}).status_code == 304
    hand.finish()
    assert alice.get(path, headers={"If-None-Match": status.headers["ETag"]}).json["has_active_generation"] is False


def test_deleting_stops_what_runs_and_leaves_nothing(alice: Person, resources: Resources):
    made = alice.start()
    hand = Hand(resources, made["generation"]["id"])
    path = f"/api/v1/conversations/{made['conversation']['id']}"
    assert alice.delete(path).status_code == 204
    assert hand.leases.holds(hand.claimed.lease) is False
    for gone in (path, f"{path}/messages", f"/api/v1/generations/{made['generation']['id']}"):
        assert alice.get(gone).status_code == 404
    assert alice.delete(path).status_code == 404


def test_a_transaction_in_one_name_sees_one_persons_rows(alice: Person, bob: Person, resources: Resources):
    alice.start()
    bob.start()
    user = alice.get("/api/v1/me").json["id"]
    with resources.database.user(user) as tx:
        for table in OWNED:
            owners = tx.execute(text(f"SELECT DISTINCT user_id FROM {table}")).scalars().all()
            assert owners == [user], table
        assert tx.execute(text("SELECT count(*) FROM generation_chunks")).scalar_one() == 0
        assert tx.execute(text("UPDATE conversations SET title = 'mine'")).rowcount == 1


def test_nothing_can_be_written_in_somebody_elses_name(alice: Person, bob: Person, resources: Resources):
    made = alice.start()
    mine, theirs = bob.get("/api/v1/me").json["id"], alice.get("/api/v1/me").json["id"]
    statement = text("UPDATE messages SET user_id = :other WHERE user_id = :me")
    bob.start()
    with pytest.raises(ProgrammingError, match="row-level security"), resources.database.user(mine) as tx:
        tx.execute(statement, {"other": theirs, "me": mine})
    with resources.database.user(mine) as tx:
        gone = tx.execute(text("DELETE FROM conversations WHERE id = :id"), {"id": made["conversation"]["id"]})
        assert gone.rowcount == 0


def test_without_a_name_there_are_no_rows_and_the_role_has_no_way_round(alice: Person, resources: Resources):
    alice.start()
    with resources.database.without_user() as tx:
        assert tx.execute(text("SELECT current_user")).scalar_one() == "unbroken_app"
        for table in OWNED:
            assert tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
        flags = tx.execute(
            text("SELECT rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = current_user")
        ).one()
        assert not any(flags)
        owned = tx.execute(text("SELECT count(*) FROM pg_tables WHERE tableowner = current_user")).scalar_one()
        assert owned == 0
