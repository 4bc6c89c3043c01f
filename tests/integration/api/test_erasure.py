"""A deletion leaves no text of a conversation in Redis or in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from app.config import Settings
from app.domain.events import Token
from app.services import eraser
from app.store.database import execute, fetch_one
from app.wiring import Resources
from tests.factories import owner
from tests.integration.api.conftest import Hand, Person
from tests.traces import keys_of, keys_with, tables_with


@dataclass
class Said:
    """A conversation with the marker in every text it can have, and the ids that keys may contain."""

    conversation_id: str
    finished: str
    ids: list[str]


def say(alice: Person, resources: Resources, marker: str) -> Said:
    """Make a finished answer, a title, a cached history, and a second answer that runs, each with the marker."""
    made = alice.start(f"{marker} asked")
    conversation = made["conversation"]["id"]
    Hand(resources, made["generation"]["id"]).run(f"{marker} ", "answered")
    assert alice.patch(f"/api/v1/conversations/{conversation}", json={"title": f"{marker} title"}).status_code == 200
    again = alice.start(f"{marker} asked again", conversation_id=conversation)
    hand = Hand(resources, again["generation"]["id"])
    hand.say(Token(f"{marker} half"))
    hand.save()
    resources.history.context(conversation, hand.claimed.user_message_id)
    ids = [conversation, made["generation"]["id"], again["generation"]["id"]]
    return Said(conversation, made["generation"]["id"], ids)


def by_conversation(alice: Person, said: Said, _: Settings) -> None:
    assert alice.delete(f"/api/v1/conversations/{said.conversation_id}").status_code == 204


def by_openai_conversation(alice: Person, said: Said, _: Settings) -> None:
    assert alice.delete(f"/v1/conversations/conv_{said.conversation_id.replace('-', '')}").status_code == 200


@pytest.mark.parametrize("delete", [by_conversation, by_openai_conversation])
def test_nothing_is_left_when_a_delete_has_answered(
    alice: Person, resources: Resources, settings: Settings, delete: Callable[..., None]
) -> None:
    marker = f"marker{uuid4().hex}"
    said = say(alice, resources, marker)
    # The searches below must be able to find the marker: else they would prove nothing.
    assert len(keys_with(resources.redis, marker)) == 3
    assert tables_with(settings.database_url, marker) >= {
        "conversations", "messages", "generation_archives", "generation_chunks",
    }  # fmt: skip
    delete(alice, said, settings)
    assert keys_with(resources.redis, marker) == set()
    assert not {key for key in keys_of(resources.redis, said.ids) if key.endswith((":log", ":meta"))}
    assert tables_with(settings.database_url, marker) == set()


def test_a_deleted_response_takes_its_conversation_out_of_both_stores(
    alice: Person, resources: Resources, settings: Settings
) -> None:
    marker = f"marker{uuid4().hex}"
    made = alice.post("/v1/responses", json={"model": "offline", "input": f"{marker} asked", "background": True})
    assert made.status_code == 200, made.text
    with owner(settings.database_url) as cursor:
        cursor.execute("SELECT generation_id FROM responses ORDER BY generation_id DESC LIMIT 1")
        (generation,) = cursor.fetchone()
    Hand(resources, str(generation)).run(f"{marker} answered")
    assert keys_with(resources.redis, marker)
    assert alice.delete(f"/v1/responses/{made.json['id']}").status_code == 200
    assert keys_with(resources.redis, marker) == set()
    assert tables_with(settings.database_url, marker) == set()


def test_a_deleted_account_is_taken_out_of_redis_by_the_next_sweep(
    alice: Person, resources: Resources, settings: Settings
) -> None:
    """An administrator deletes the row of a user, and the user's rows go with it. No route deletes an account."""
    marker = f"marker{uuid4().hex}"
    said = say(alice, resources, marker)
    with owner(settings.database_url) as cursor:
        cursor.execute(
            "DELETE FROM users WHERE id = (SELECT user_id FROM conversations WHERE id = %s)", (said.conversation_id,)
        )
    assert tables_with(settings.database_url, marker) == set()
    assert keys_with(resources.redis, marker)
    resources.eraser.sweep()
    assert keys_with(resources.redis, marker) == set()


def kept(resources: Resources) -> int:
    with resources.database.system() as tx:
        row: Any = fetch_one(tx, "SELECT count(*) AS many FROM deletions")
    return int(row.many)


def test_a_late_writer_is_cleaned_up_after_until_the_deletion_has_settled(
    alice: Person, resources: Resources, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eraser, "ERASED_AT_ONCE", 2)
    with owner(settings.database_url) as cursor:
        # Those of earlier tests would settle in the middle of this one.
        cursor.execute("DELETE FROM deletions")
    said = say(alice, resources, "words")
    by_conversation(alice, said, settings)
    before = kept(resources)
    assert before >= 3
    for _ in range(2):
        # History.context has read the conversation before its deletion, and caches it afterwards.
        resources.redis.set(resources.history.key(said.conversation_id), b"late")
        resources.eraser.sweep()
        assert resources.redis.get(resources.history.key(said.conversation_id)) is None
        assert kept(resources) == before
    with resources.database.system() as tx:
        # The role of the workers may not change a deletion.
        assert fetch_one(tx, "SELECT has_table_privilege('deletions', 'UPDATE') AS may").may is False  # type: ignore[union-attr]
    with owner(settings.database_url) as cursor:
        cursor.execute("UPDATE deletions SET deleted_at = deleted_at - interval '16 s'")
    resources.eraser.sweep()
    assert kept(resources) == 0


def test_the_web_process_can_neither_read_nor_add_deletions(resources: Resources) -> None:
    for sql in ("SELECT id FROM deletions", "INSERT INTO deletions (id) VALUES (gen_random_uuid())"):
        with pytest.raises(Exception, match="permission denied"), resources.database.without_user() as tx:
            execute(tx, sql)
