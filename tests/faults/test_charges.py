"""Calls beside answers are charged once: embeddings and titles, with a key, without a count, and without PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest
from structlog.testing import capture_logs

from app.config import WorkerSettings
from app.domain.audit import SERVICE
from app.domain.commands import StartGeneration, User
from app.domain.credential import Credential
from app.services.charges import Call
from app.services.leases import Leases
from app.services.worker_admin import WorkerAdmin
from app.store.database import fetch
from app.wiring import build
from dev.valkey import Valkey
from tests.fakes.proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until
from worker import embeddings
from worker.embeddings import Embedder
from worker.providers.registry import Providers

KEY = "key-of-a-program"
Counts = dict[str | None, tuple[int, int]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Stack]:
    settings = {"OPENAI_BASE_URL": upstream.base_url, "TITLES": "model", "LEASE_SECONDS": 3, "HEARTBEAT_SECONDS": 0.5}
    stack = Stack(tmp_path_factory.mktemp("charges"), module_database_url, valkey.url(), **settings)
    yield stack
    stack.stop()


@pytest.fixture
def person(stack: Stack) -> User:
    """A user of this test, with the API key KEY."""
    user = stack.resources.users.user(f"person-{uuid4().hex[:8]}", None)
    return replace(user, credential=Credential("key", KEY))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def embed(stack: Stack, person: User, loop: asyncio.AbstractEventLoop) -> Callable[..., str]:
    """Makes embeddings for the person, whose web process waits for no reply: the client has left."""
    variables = {name.lower(): value for name, value in stack.variables.items()}
    providers = Providers(WorkerSettings(**variables).configured_upstreams)

    def run(model: str, given: Any, services: Any = None, leaving: bool = False) -> str:
        services, request_id = services or stack.resources, uuid4().hex
        body = {"model": model, "input": given}
        request = orjson.dumps({"user_id": person.id, "key_id": KEY, "body": body})
        stack.resources.mailbox.send(request_id, request).cancel()
        embedder = Embedder(services, providers, loop)
        if leaving:
            embedder.leave()
        return embedder.run(request_id)

    return run


def counted(stack: Stack, person: User) -> Counts:
    """Input tokens and output tokens of a user: of all credentials under None, and of each key."""
    with stack.resources.database.system() as tx:
        days = fetch(
            tx,
            """SELECT NULL AS key_id, input_tokens, output_tokens FROM usage_days WHERE user_id = :id
               UNION ALL SELECT key_id, input_tokens, output_tokens FROM key_usage_days WHERE user_id = :id""",
            id=person.id,
        )
    sums: Counts = {}
    for row in days:
        first, second = sums.get(row.key_id, (0, 0))
        sums[row.key_id] = (first + row.input_tokens, second + row.output_tokens)
    return sums


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [
        ("fake", ["a", "bcd"], 14),
        ("fake?usage=false", "x" * 41, 11),
        ("fake?usage=false", ["x" * 41, [1, 2, 3], 7], 15),
        ("fake?text=nonsense", "x" * 40, 10),
        ("fake?header_delay=5", "x" * 40, 10),
        ("fake?status=400", "x" * 40, 0),
    ],
)
def test_embeddings_count_what_the_upstream_says_or_an_estimate(
    stack: Stack,
    person: User,
    embed: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    given: Any,
    expected: int,
) -> None:
    monkeypatch.setattr(embeddings, "TOTAL_SECONDS", 0.3 if "delay" in model else 10)
    embed(model, given)
    assert counted(stack, person) == ({None: (expected, 0), KEY: (expected, 0)} if expected else {})


def test_a_charge_outlasts_a_postgresql_that_is_away(
    stack: Stack, person: User, embed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replies to two COMMITs are lost: the first one of the charge was committed, and counts once."""
    url = stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        shaky = build(stack.settings.model_copy(update={"database_url": proxy.url(url)}))
        shaky.model_catalog.prepare()
        charge = shaky.usage.charge(Call(person.id, KEY, "fake", {"input_tokens": 5, "output_tokens": 1}))
        proxy.drop_reply_to(lambda data: b"COMMIT" in data, 2)
        assert charge.insist(20, threading.Event())
        assert counted(stack, person) == {None: (5, 1), KEY: (5, 1)}
        proxy.drop_request(lambda data: b"usage_days" in data, 3)
        assert embed("fake", ["a"], shaky) == "made"
        assert counted(stack, person) == {None: (12, 1), KEY: (12, 1)}
        proxy.drop_request(lambda data: b"usage_days" in data, 1000)
        with capture_logs() as lines:
            assert embed("fake", ["a"], shaky, leaving=True) == "made"
        [lost] = [line for line in lines if line["event"] == "usage not counted"]
        told = (lost["user_id"], lost["key_id"], lost["model"], lost["input_tokens"], lost["output_tokens"])
        assert told == (person.id, KEY, "fake", 7, 0)
        shaky.close()


def said(**behaviour: Any) -> str:
    return json.dumps({"fake": {"key": uuid4().hex, **behaviour}}) + "x" * 2000


def test_claims_that_left_no_trace_are_counted_by_an_estimate(stack: Stack, person: User) -> None:
    """Two workers were lost, and no store has an event of them: a cancel and a takeover count both."""
    leases = Leases(stack.resources.database, "lost", 0, 600)
    messages = (StartGeneration(said(tokens=3, rate=0), model="fake") for _ in range(2))
    ids = [stack.resources.starter.start(person, message).generation.id for message in messages]
    for generation in ids:
        for _ in range(2):
            assert leases.claim(generation) is not None
    cancelled = stack.resources.generations.cancel(person, ids[0]).row
    worker = stack.worker(TITLES="nobody")
    row = stack.finished(ids[1])
    worker.kill()
    assert [one["outcome"] for one in row.attempts] == ["lost", "lost", "finished"]
    assert [one["outcome"] for one in cancelled.attempts] == ["cancelled"] * 2
    for one in [*row.attempts[:2], *cancelled.attempts]:
        assert one["usage"]["input_tokens"] >= 500
        assert one["usage"]["estimated"] is True
    total = sum(one["usage"]["input_tokens"] for one in [*row.attempts, *cancelled.attempts])
    assert counted(stack, person)[KEY][0] == total


def test_the_title_of_a_worker_that_leaves_is_counted_for_the_key(
    stack: Stack, person: User, upstream: FakeUpstream
) -> None:
    worker = stack.worker()
    before = len(upstream.calls)
    message = said(tokens=100, rate=5)
    generation = stack.resources.starter.start(person, StartGeneration(message, model="fake")).generation.id
    until(lambda: len([call for call in upstream.calls[before:] if call.tokens_sent > 2]) == 2, 20, "both calls")
    assert counted(stack, person) == {}
    assert worker.terminate() == 0
    used = counted(stack, person)
    assert set(used) == {None, KEY}
    # The prompt of a title has the first 2,000 characters of the message.
    assert 500 <= used[KEY][0] <= 600
    assert 0 < used[KEY][1] < 100
    stack.resources.generations.cancel(person, generation)


def test_the_title_of_an_answer_that_is_handed_over_is_left_to_the_next_worker(
    stack: Stack, person: User, upstream: FakeUpstream
) -> None:
    first, second = stack.workers(2)
    admin = WorkerAdmin(stack.resources.database.system, stack.settings.worker_lost_seconds)
    admin.drain(SERVICE, second.name, "finish", None)
    until(lambda: admin.get(second.name).worker.may_stop, 60, "a drained worker")
    before = len(upstream.calls)
    started = stack.resources.starter.start(person, StartGeneration(said(tokens=300, rate=5), model="fake"))
    until(lambda: len([call for call in upstream.calls[before:] if call.tokens_sent > 2]) == 2, 60, "both calls")
    admin.undrain(SERVICE, second.name, None)
    admin.drain(SERVICE, first.name, "hand_over", None)
    until(lambda: '"outcome":"released"' in first.log(), 60, "the end of the title")
    until(lambda: admin.get(first.name).worker.may_stop, 60, "that it may stop")
    until(lambda: len(upstream.calls) == before + 4, 60, "both calls of the next worker")
    stack.resources.generations.cancel(person, started.generation.id)
