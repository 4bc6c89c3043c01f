"""A message is stored as a whole or not at all, and once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest

from app.domain.commands import StartGeneration, User
from app.domain.errors import (
    ConversationBusy,
    DatabaseDown,
    InvalidInput,
    KeyReused,
    NotFound,
    Overloaded,
    UnbrokenError,
)
from app.services.generation_start import Started
from app.wiring import Resources, build
from dev.valkey import Valkey
from tests.actors import claim, start
from tests.factories import owner
from tests.fakes.proxy import TcpProxy
from tests.stack import Stack

T = TypeVar("T")


@pytest.fixture
def resources(module_stack: Stack) -> Resources:
    return module_stack.resources


@pytest.fixture
def alice(resources: Resources) -> User:
    """A new user in each test."""
    return resources.users.user(f"alice {uuid4()}", None)


def together(count: int, work: Callable[[int], T]) -> list[T | UnbrokenError]:
    """Run ``work`` in this many threads at one moment. Returns each result, or the service's error."""
    gate = threading.Barrier(count)

    def one(number: int) -> T | UnbrokenError:
        gate.wait(60)
        try:
            return work(number)
        except UnbrokenError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def stored(url: str, user: User) -> Counter[str]:
    """The number of the user's rows in each table."""
    found: Counter[str] = Counter()
    with owner(url) as cursor:
        for table in ("conversations", "messages", "generations"):
            cursor.execute(f"SELECT count(*) FROM {table} WHERE user_id = %s", (user.id,))
            found[table] = cursor.fetchone()[0]
    return found


WHOLE = Counter(conversations=1, messages=2, generations=1)
NOTHING = Counter(conversations=0, messages=0, generations=0)


# --- all of it or nothing -----------------------------------------------------------------------------------------


@pytest.fixture
def failing(module_database_url: str) -> Iterator[Callable[[str, str, str], None]]:
    """Makes a kind of statement fail like on a full disk: ``failing(table, "BEFORE INSERT", condition)``."""
    made: list[str] = []

    def fail(table: str, when: str, condition: str = "true") -> None:
        with owner(module_database_url) as cursor:
            cursor.execute("""
                CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$
            """)
            kind = "CONSTRAINT TRIGGER" if "AFTER" in when else "TRIGGER"
            deferred = "DEFERRABLE INITIALLY DEFERRED" if "AFTER" in when else ""
            each = f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION fail()"
            cursor.execute(f"CREATE {kind} fail {when} ON {table} {deferred} {each}")
        made.append(table)

    yield fail
    with owner(module_database_url) as cursor:
        for table in made:
            cursor.execute(f"DROP TRIGGER IF EXISTS fail ON {table}")


@pytest.mark.parametrize(
    ("table", "when", "condition"),
    [
        ("conversations", "BEFORE INSERT", "true"),
        ("conversations", "BEFORE UPDATE", "true"),
        ("messages", "BEFORE INSERT", "NEW.role = 'user'"),
        ("messages", "BEFORE INSERT", "NEW.role = 'assistant'"),
        ("generations", "BEFORE INSERT", "true"),
        ("conversations", "AFTER INSERT", "true"),  # deferred: it is the COMMIT that fails
        ("generations", "AFTER INSERT", "true"),
    ],
)
def test_a_failure_anywhere_leaves_nothing(
    resources: Resources,
    alice: User,
    module_database_url: str,
    failing: Callable[[str, str, str], None],
    table: str,
    when: str,
    condition: str,
) -> None:
    failing(table, when, condition)
    with pytest.raises(DatabaseDown):
        start(resources, alice)
    assert stored(module_database_url, alice) == NOTHING


@pytest.mark.parametrize("when", ["BEFORE INSERT", "AFTER INSERT"])
def test_a_failing_second_message_changes_nothing_of_its_conversation(
    resources: Resources, alice: User, module_database_url: str, failing: Callable[[str, str, str], None], when: str
) -> None:
    first = start(resources, alice)
    claim(resources, first.generation.id).speak(1).finish()
    before = resources.conversations.get(alice, first.conversation.id)
    failing("generations", when, "true")
    with pytest.raises(DatabaseDown):
        start(resources, alice, "again", conversation_id=first.conversation.id)
    assert stored(module_database_url, alice) == WHOLE
    assert resources.conversations.get(alice, first.conversation.id) == before


def test_everything_is_there_when_it_succeeds(resources: Resources, alice: User, module_database_url: str) -> None:
    started = start(resources, alice, "Hello", client_msg_id="c1", metadata={"a": [1, None]})
    assert stored(module_database_url, alice) == WHOLE
    assert started.conversation_created
    assert not started.repeated
    messages = resources.conversations.messages(alice, started.conversation.id, 0, 10).items
    assert [(m.seq, m.role, m.status, m.content) for m in messages] == [
        (1, "user", "completed", "Hello"),
        (2, "assistant", "queued", ""),
    ]
    assert messages[1].parent_id == messages[0].id == started.message.id
    assert messages[1].generation_id == started.generation.id
    assert started.conversation.has_active_generation


def test_another_users_conversation_does_not_exist(resources: Resources, alice: User) -> None:
    started = start(resources, alice)
    bob = resources.users.user(f"bob {uuid4()}", None)
    with pytest.raises(NotFound):
        start(resources, bob, conversation_id=started.conversation.id)


def test_an_unknown_model_is_refused_and_leaves_nothing(
    resources: Resources, alice: User, module_database_url: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        start(resources, alice, model="no-such-model")
    assert caught.value.field == "model"
    assert stored(module_database_url, alice) == NOTHING


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient_locks")
def test_twelve_simultaneous_requests_with_one_key_make_one_generation(
    resources: Resources, alice: User, module_database_url: str
) -> None:
    found = together(12, lambda _: start(resources, alice, idempotency_key="k"))
    assert not [one for one in found if isinstance(one, UnbrokenError)]
    assert len({one.generation.id for one in found if isinstance(one, Started)}) == 1
    assert [one.repeated for one in found if isinstance(one, Started)].count(False) == 1
    assert stored(module_database_url, alice) == WHOLE


def test_a_key_with_another_body_is_refused(resources: Resources, alice: User, module_database_url: str) -> None:
    start(resources, alice, "one", idempotency_key="k")
    with pytest.raises(KeyReused):
        start(resources, alice, "two", idempotency_key="k")
    with pytest.raises(KeyReused):
        start(resources, alice, "one", idempotency_key="k", parameters={"temperature": 1})
    assert stored(module_database_url, alice) == WHOLE


def test_a_key_is_its_users_own(resources: Resources, alice: User) -> None:
    bob = resources.users.user(f"bob {uuid4()}", None)
    ours, theirs = (start(resources, user, idempotency_key="k") for user in (alice, bob))
    assert ours.generation.id != theirs.generation.id
    assert not theirs.repeated


def test_a_repeat_after_the_end_gets_the_finished_generation(resources: Resources, alice: User) -> None:
    started = start(resources, alice, idempotency_key="k")
    claim(resources, started.generation.id).speak(2).finish()
    again = start(resources, alice, idempotency_key="k")
    assert again.repeated
    assert (again.generation.id, again.generation.status) == (started.generation.id, "completed")


@pytest.mark.usefixtures("patient_locks")
def test_twenty_simultaneous_messages_to_one_conversation_start_exactly_one(
    resources: Resources, alice: User, module_database_url: str
) -> None:
    first = start(resources, alice)
    claim(resources, first.generation.id).speak(1).finish()
    found = together(20, lambda n: start(resources, alice, str(n), conversation_id=first.conversation.id))
    assert Counter(type(one) for one in found) == {Started: 1, ConversationBusy: 19}
    assert stored(module_database_url, alice) == Counter(conversations=1, messages=4, generations=2)


@pytest.mark.usefixtures("patient_locks")
def test_simultaneous_first_messages_begin_conversations_of_their_own(resources: Resources, alice: User) -> None:
    found = together(6, lambda n: start(resources, alice, str(n)))
    assert len({one.conversation.id for one in found if isinstance(one, Started)}) == 6


def test_admission_ends_at_the_configured_number(database_url: str, valkey: Valkey, tmp_path: Path) -> None:
    stack = Stack(tmp_path, database_url, valkey.url(), MAX_QUEUED=2)
    try:
        first, _ = stack.start(model="offline"), stack.start(model="offline")
        with pytest.raises(Overloaded) as caught:
            stack.start(model="offline")
        assert caught.value.retry_after > 0
        claim(stack.resources, first.generation.id)
        stack.start(model="offline")
    finally:
        stack.stop()


def test_a_request_never_needs_two_connections_at_once(database_url: str, valkey: Valkey, tmp_path: Path) -> None:
    """If requests needed two connections, simultaneous ones could take all first connections and wait for ever."""
    stack = Stack(tmp_path, database_url, valkey.url(), DATABASE_POOL=1)
    try:
        user = stack.user
        found = together(6, lambda n: start(stack.resources, user, str(n)))
        # Requests that wait for each other would fail after 5 s: the database is busy.
        assert {type(one) for one in found} == {Started}
    finally:
        stack.stop()


# --- when the reply is lost ------------------------------------------------------------------------------------------


@pytest.fixture
def shaky(module_stack: Stack) -> Iterator[tuple[Resources, TcpProxy]]:
    """The services of ``module_stack`` over a connection to PostgreSQL that can be disturbed."""
    url = module_stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        disturbed = build(module_stack.settings.model_copy(update={"database_url": proxy.url(url)}))
        yield disturbed, proxy
        disturbed.close()


def commits(data: bytes) -> bool:
    return b"COMMIT" in data


def test_a_lost_reply_to_the_commit_is_asked_about(
    shaky: tuple[Resources, TcpProxy], alice: User, module_database_url: str
) -> None:
    resources, proxy = shaky
    proxy.drop_reply_to(commits)
    started = start(resources, alice, "Hello", idempotency_key="k")
    assert proxy.lost_replies == 1
    assert not started.repeated
    assert stored(module_database_url, alice) == WHOLE
    again = start(resources, alice, "Hello", idempotency_key="k")
    assert (again.repeated, again.generation.id) == (True, started.generation.id)


def test_a_commit_that_never_arrived_is_an_error_and_nothing_is_stored(
    shaky: tuple[Resources, TcpProxy], alice: User, module_database_url: str
) -> None:
    resources, proxy = shaky
    proxy.drop_request(commits)
    with pytest.raises(DatabaseDown):
        start(resources, alice)
    assert stored(module_database_url, alice) == NOTHING
    start(resources, alice)
    assert stored(module_database_url, alice) == WHOLE


def test_when_nobody_can_be_asked_it_is_an_error_and_a_repeat_with_the_key_finds_what_was_stored(
    shaky: tuple[Resources, TcpProxy], alice: User, module_database_url: str
) -> None:
    resources, proxy = shaky

    def last_words(data: bytes) -> bool:
        if commits(data):
            proxy.rules.refusing = True
            return True
        return False

    proxy.drop_reply_to(last_words)
    with pytest.raises(DatabaseDown):
        start(resources, alice, "Hello", idempotency_key="k")
    proxy.pass_()
    again = start(resources, alice, "Hello", idempotency_key="k")
    assert again.repeated
    assert stored(module_database_url, alice) == WHOLE


def test_a_broker_that_is_away_costs_the_sender_nothing(module_stack: Stack, alice: User) -> None:
    url = module_stack.settings.redis_url
    with TcpProxy.before(url) as proxy:
        proxy.black_hole()
        settings = module_stack.settings.model_copy(update={"celery_broker_url": proxy.url(url)})
        silent = build(settings)
        try:
            for _ in range(3):
                assert start(silent, alice).generation.status == "queued"
        finally:
            silent.close()


def test_the_command_is_not_changed_by_being_carried_out(resources: Resources, alice: User) -> None:
    command = StartGeneration("Hello", model="offline", metadata={"a": 1})
    resources.starter.start(alice, command)
    assert command == StartGeneration("Hello", model="offline", metadata={"a": 1})
