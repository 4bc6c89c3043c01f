"""The context of an answer: Redis has fifteen recent messages; PostgreSQL has the rest, and is read in any doubt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import orjson
import pytest
from sqlalchemy import event

from app.domain.commands import User
from app.services.generation_start import Started
from app.services.history import RECENT, TTL_SECONDS
from app.wiring import Resources, build
from dev.server import free_port
from tests.actors import claim, start
from tests.factories import owner
from tests.stack import Stack


@pytest.fixture
def resources(module_stack: Stack) -> Resources:
    return module_stack.resources


@pytest.fixture
def alice(resources: Resources) -> User:
    return resources.users.user(f"alice {uuid4()}", None)


def talk(resources: Resources, user: User, rounds: int) -> Started:
    """Start and finish this many answers, and start one more. Returns the objects of the last request."""
    started = start(resources, user, "question 0")
    for number in range(1, rounds + 1):
        claim(resources, started.generation.id).speak(1).finish()
        started = start(resources, user, f"question {number}", conversation_id=started.conversation.id)
    return started


def context(resources: Resources, started: Started) -> list[str]:
    return [turn.content for turn in resources.history.context(started.conversation.id, started.message.id)]


def said(rounds: int) -> list[str]:
    """The texts of the messages that ``talk`` makes, in order."""
    return [text for n in range(rounds) for text in (f"question {n}", "t1.0 ")] + [f"question {rounds}"]


def key(resources: Resources, started: Started) -> str:
    return f"{resources.settings.redis_namespace}:history:{started.conversation.id}"


class Statements:
    """Counts the statements that read messages from PostgreSQL."""

    def __init__(self, resources: Resources) -> None:
        self.engine = resources.database.engine
        self.branches = 0

    def __enter__(self) -> Statements:
        event.listen(self.engine, "before_cursor_execute", self._count)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self.engine, "before_cursor_execute", self._count)

    def _count(self, connection: Any, cursor: Any, statement: str, *_: object) -> None:
        self.branches += "WITH RECURSIVE" in statement


@pytest.mark.parametrize("rounds", [0, 1, 6, 7, 8, 20])
def test_the_context_is_the_whole_conversation_in_order(resources: Resources, alice: User, rounds: int) -> None:
    started = talk(resources, alice, rounds)
    assert context(resources, started) == said(rounds)
    assert context(resources, started) == said(rounds)


def test_a_second_look_takes_the_recent_messages_from_redis(resources: Resources, alice: User) -> None:
    started = talk(resources, alice, 3)
    context(resources, started)
    with Statements(resources) as asked:
        assert context(resources, started) == said(3)
    assert asked.branches == 0


def test_what_is_said_is_written_through(resources: Resources, alice: User) -> None:
    """With a warm cache, PostgreSQL is read only for the version one round later."""
    started = talk(resources, alice, 2)
    context(resources, started)
    claim(resources, started.generation.id).speak(1).finish()
    following = start(resources, alice, "question 3", conversation_id=started.conversation.id)
    with Statements(resources) as asked:
        assert context(resources, following) == said(3)
    assert asked.branches == 0


def test_fifteen_messages_are_kept_for_an_hour(resources: Resources, alice: User) -> None:
    started = talk(resources, alice, 12)
    context(resources, started)
    kept = orjson.loads(resources.redis.get(key(resources, started)))
    assert len(kept["turns"]) == RECENT == 15
    assert kept["turns"][-1]["content"] == "question 12"
    assert TTL_SECONDS - 60 < resources.redis.ttl(key(resources, started)) <= TTL_SECONDS == 3600
    claim(resources, started.generation.id).speak(1).finish()
    kept = orjson.loads(resources.redis.get(key(resources, started)))
    assert len(kept["turns"]) == 15
    assert [turn["content"] for turn in kept["turns"][-2:]] == ["question 12", "t1.0 "]
    assert resources.redis.ttl(key(resources, started)) > 0


def test_postgresql_wins_when_the_cache_is_stale(resources: Resources, alice: User) -> None:
    started = talk(resources, alice, 2)
    context(resources, started)
    old = resources.redis.get(key(resources, started))
    claim(resources, started.generation.id).speak(1).finish()
    following = start(resources, alice, "question 3", conversation_id=started.conversation.id)
    resources.redis.set(key(resources, started), old)
    assert context(resources, following) == said(3)


@pytest.mark.parametrize(
    "forge",
    [
        lambda kept: {**kept, "version": kept["version"] + 1, "turns": kept["turns"][:1]},
        lambda kept: {**kept, "leaf": str(uuid4()), "turns": []},
        lambda kept: {"version": 1},
        lambda kept: [],
        lambda kept: None,
        lambda kept: {**kept, "turns": [{"who": "me"}]},
        lambda kept: {**kept, "turns": 3},
    ],
)
def test_a_cache_that_says_something_else_is_not_believed(resources: Resources, alice: User, forge: Any) -> None:
    started = talk(resources, alice, 2)
    context(resources, started)
    kept = orjson.loads(resources.redis.get(key(resources, started)))
    resources.redis.set(key(resources, started), orjson.dumps(forge(kept)))
    assert context(resources, started) == said(2)


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\x00", b"null", b"3"])
def test_garbage_in_the_cache_is_no_cache(resources: Resources, alice: User, garbage: bytes) -> None:
    started = talk(resources, alice, 1)
    resources.redis.set(key(resources, started), garbage)
    assert context(resources, started) == said(1)
    resources.redis.set(key(resources, started), garbage)
    claim(resources, started.generation.id).speak(1).finish()


def test_a_key_of_another_kind_is_no_cache(resources: Resources, alice: User) -> None:
    started = talk(resources, alice, 1)
    resources.redis.delete(key(resources, started))
    resources.redis.lpush(key(resources, started), "x")
    assert context(resources, started) == said(1)


def test_a_branch_has_its_own_context(resources: Resources, alice: User) -> None:
    started = talk(resources, alice, 3)
    claim(resources, started.generation.id).speak(1).finish()
    context(resources, started)
    first = resources.conversations.messages(alice, started.conversation.id, 0, 2).items[1]
    branched = start(resources, alice, "other", conversation_id=started.conversation.id, parent_id=first.id)
    assert context(resources, branched) == ["question 0", "t1.0 ", "other"]


@pytest.fixture
def without_redis(module_stack: Stack) -> Iterator[Resources]:
    url = f"redis://127.0.0.1:{free_port()}/0"
    resources = build(module_stack.settings.model_copy(update={"redis_url": url, "celery_broker_url": url}))
    yield resources
    resources.close()


def test_without_redis_everything_comes_from_postgresql(without_redis: Resources, alice: User) -> None:
    started = talk(without_redis, alice, 10)
    assert context(without_redis, started) == said(10)


def test_answers_that_said_nothing_are_left_out(resources: Resources, alice: User) -> None:
    started = start(resources, alice, "question 0")
    resources.generations.cancel(alice, started.generation.id)
    following = start(resources, alice, "again", conversation_id=started.conversation.id)
    assert context(resources, following) == ["question 0", "again"]


def test_the_cache_of_one_deployment_is_not_anothers(resources: Resources, alice: User) -> None:
    started = talk(resources, alice, 1)
    context(resources, started)
    other = build(resources.settings.model_copy(update={"redis_namespace": "elsewhere"}))
    with Statements(other) as asked:
        assert [turn.content for turn in other.history.context(started.conversation.id, started.message.id)] == said(1)
    assert asked.branches == 1
    other.close()


def test_a_message_changed_behind_our_back_is_seen_with_the_next_change(
    resources: Resources, alice: User, module_database_url: str
) -> None:
    started = talk(resources, alice, 1)
    context(resources, started)
    with owner(module_database_url) as cursor:
        cursor.execute(
            "UPDATE conversations SET history_version = history_version + 1 WHERE id = %s", (started.conversation.id,)
        )
        cursor.execute("UPDATE messages SET content = 'edited' WHERE id = %s", (started.message.id,))
    assert context(resources, started) == [*said(1)[:-1], "edited"]
