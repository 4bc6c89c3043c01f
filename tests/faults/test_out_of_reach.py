"""A worker cut off from Redis would take text back in a takeover. It leaves that to workers that can read the log."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from app.domain.events import Snapshot, decode
from app.domain.transcript import Transcript
from app.eventlog import allowance
from app.services.leases import Leases
from app.services.takeover import Takeover
from app.store.database import execute, fetch_one
from app.wiring import build
from dev.valkey import Valkey
from tests.actors import claim, start
from tests.fakes.proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, Worker, until
from worker.process import LONGEST_TAKEOVER_WAIT


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str, upstream: FakeUpstream) -> Iterator[Stack]:
    given: dict[str, Any] = {"OPENAI_BASE_URL": upstream.base_url, "LEASE_SECONDS": 12, "HEARTBEAT_SECONDS": 0.5}
    stack = Stack(tmp_path, database_url, redis_url, **given)
    yield stack
    stack.stop()


def lease(stack: Stack, generation_id: str, seconds: float) -> None:
    """Let the generation's lease end this many seconds from now. No takeover comes before that.

    A server that is younger than a lease counts no lease as expired; the function waits until it is older.
    """
    until(lambda: server_seconds(stack) > stack.settings.lease_seconds)
    with stack.resources.database.system() as tx:
        sql = "UPDATE generations SET lease_until = now() + make_interval(secs => :seconds) WHERE id = :id"
        execute(tx, sql, seconds=seconds, id=generation_id)


def server_seconds(stack: Stack) -> float:
    """The seconds since the start of PostgreSQL."""
    sql = "SELECT CAST(extract(epoch FROM now() - pg_postmaster_start_time()) AS float8) AS seconds"
    with stack.resources.database.system() as tx:
        row = fetch_one(tx, sql)
    assert row
    return float(row.seconds)


def ahead_of_postgresql(stack: Stack, database: TcpProxy) -> str:
    """Start an answer whose worker cannot save, and kill the worker: its log in Redis is ahead of its checkpoints."""
    url = stack.settings.database_url
    worker = stack.worker(DATABASE_URL=database.url(url))
    said = json.dumps({"fake": {"tokens": 400, "rate": 50}})
    generation = stack.start(said, model="fake").generation.id
    until(lambda: len(stack.log(generation)) > 20)
    database.black_hole()
    shown = len(stack.log(generation))
    until(lambda: len(stack.log(generation)) > shown + 30)
    worker.kill()
    lease(stack, generation, 600)
    return generation


def has_noticed(worker: Worker) -> bool:
    """True when a worker knows that Redis is away: by its connection, or by a takeover that could not read the log."""
    return any(sign in worker.log() for sign in ("out of reach", "does not reply", "connection to Redis failed"))


def claims(worker: Worker) -> list[datetime]:
    """The times at which a worker has claimed generations."""
    lines = [json.loads(line) for line in worker.log().splitlines() if '"generation claimed"' in line]
    return [datetime.fromisoformat(line["time"]) for line in lines]


def revisions(stack: Stack, generation_id: str) -> Iterator[tuple[str, str]]:
    """For each revision behind the first: the text before it, and the text of its snapshot."""
    said = Transcript()
    for cursor, payload in stack.read(generation_id):
        event = decode(payload)
        if isinstance(event, Snapshot) and cursor.epoch > 1:
            yield said.text, event.text
        said.add(cursor, event)


@pytest.mark.slow
def test_a_worker_cut_off_from_redis_leaves_the_answer_to_one_that_is_not(stack: Stack) -> None:
    with TcpProxy.before(stack.settings.database_url) as database, TcpProxy.before(stack.settings.redis_url) as redis:
        generation = ahead_of_postgresql(stack, database)
        shown = Transcript.of(stack.log(generation)).text
        other = stack.worker()
        other.signal(signal.SIGSTOP)
        cut_off = stack.worker(REDIS_URL=redis.url(stack.settings.redis_url))
        redis.black_hole()
        lease(stack, generation, -1)
        until(lambda: has_noticed(cut_off))
        other.signal(signal.SIGCONT)
        row = stack.finished(generation)
    assert (row.status, row.tries) == ("completed", 2), "what was left was not tried"
    openings = list(revisions(stack, generation))
    assert all(after.startswith(before) for before, after in openings)
    assert openings[0][1].startswith(shown)


@pytest.mark.slow
def test_an_answer_nobody_can_read_goes_on_from_the_checkpoints(stack: Stack) -> None:
    with TcpProxy.before(stack.settings.database_url) as database, TcpProxy.before(stack.settings.redis_url) as redis:
        generation = ahead_of_postgresql(stack, database)
        worker = stack.worker(REDIS_URL=redis.url(stack.settings.redis_url))
        redis.black_hole()
        expired = datetime.now(UTC)
        lease(stack, generation, -1)
        row = stack.finished(generation)
        redis.pass_()
    assert row.status == "completed"
    *left, last = claims(worker)
    assert len(left) == worker.log().count("out of reach") <= 1, "it comes last, and then it goes on"
    assert last - expired >= timedelta(seconds=LONGEST_TAKEOVER_WAIT - 1), "the lease ends a second before now"


@pytest.mark.slow
def test_a_cancel_during_a_freeze_of_redis_keeps_what_readers_have_seen(
    tmp_path: Path, database_url: str, upstream: FakeUpstream
) -> None:
    """The request is answered within its allowance. A worker ends the answer when Redis resumes."""
    valkey = Valkey(tmp_path / "valkey")
    valkey.start(120)
    given: dict[str, Any] = {"OPENAI_BASE_URL": upstream.base_url, "LEASE_SECONDS": 12, "HEARTBEAT_SECONDS": 0.5}
    stack = Stack(tmp_path, database_url, valkey.url(), **given)
    assert valkey.process
    try:
        with TcpProxy.before(database_url) as database:
            generation = ahead_of_postgresql(stack, database)
        shown = Transcript.of(stack.log(generation)).text
        assert len(Transcript.of(stack.chunks(generation)).text) < len(shown)
        worker = stack.worker()
        os.kill(valkey.process.pid, signal.SIGSTOP)
        allowance.begin(0.5)
        try:
            view = stack.resources.generations.cancel(stack.user, generation)
        finally:
            allowance.end()
        assert (view.row.status, view.row.cancel_at is None) == ("running", False)
        until(lambda: has_noticed(worker))
        os.kill(valkey.process.pid, signal.SIGCONT)
        row = stack.finished(generation)
        assert row.status == "cancelled"
        assert stack.transcript(generation).text == shown
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
        stack.stop()
        valkey.kill()


def test_a_takeover_says_whether_it_saw_the_log(module_stack: Stack) -> None:
    resources = module_stack.resources
    first = claim(resources, start(resources, module_stack.user).generation.id).speak(5)
    first.publish()
    first.release()
    second = claim(resources, first.id)
    url = module_stack.settings.redis_url
    with TcpProxy.before(url) as proxy:
        away = build(module_stack.settings.model_copy(update={"redis_url": proxy.url(url)}))
        proxy.refuse()
        frozen = Takeover(away.database, away.log).freeze(second.claimed, 0)
        assert (frozen.opened, frozen.read) == (False, False)
        proxy.pass_()
        frozen = Takeover(away.database, away.log).freeze(second.claimed, 5)
        away.close()
    assert (frozen.opened, frozen.read) == (True, True)


def test_a_lease_that_was_left_is_free_for_others_at_once(module_stack: Stack) -> None:
    resources = module_stack.resources
    generation_id = start(resources, module_stack.user).generation.id
    leases: Callable[[str], Leases] = lambda name: Leases(resources.database, name, 0.1, 600)  # noqa: E731
    claimed = leases("first").claim(generation_id)
    assert claimed
    time.sleep(0.3)
    leases("first").leave(claimed.lease)
    assert leases("first").claim(generation_id, takeover_delay=60) is None
    again = leases("second").claim(generation_id)
    assert again
    assert again.tries == 1
    leases("first").leave(claimed.lease)
    assert leases("second").holds(again.lease), "who was replaced has nothing to leave"


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey whose users the test changes."""
    server = Valkey(tmp_path / "own-valkey")
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
def test_a_worker_whose_redis_answers_but_hides_the_log_comes_last_once(
    tmp_path: Path, database_url: str, own_valkey: Valkey, upstream: FakeUpstream
) -> None:
    """The connection of this worker is sound. Only its failed read shows that others may read more of the log."""
    given: dict[str, Any] = {"OPENAI_BASE_URL": upstream.base_url, "LEASE_SECONDS": 12, "HEARTBEAT_SECONDS": 0.5}
    stack = Stack(tmp_path, database_url, own_valkey.url(), **given)
    try:
        with TcpProxy.before(database_url) as database:
            generation = ahead_of_postgresql(stack, database)
        with redis.Redis.from_url(own_valkey.url()) as client:
            client.acl_setuser(
                "blind", enabled=True, passwords=["+blind"], keys=["*"], channels=["*"], commands=["+@all", "-xrange"]
            )
        url = own_valkey.url().replace(f":{own_valkey.password}@", "blind:blind@")
        worker = stack.worker(REDIS_URL=url, CELERY_BROKER_URL=own_valkey.url())
        lease(stack, generation, -1)
        left = lambda: worker.log().count("out of reach")  # noqa: E731
        until(lambda: left() > 1 or stack.generation(generation).status == "completed", 60)
        assert left() == 1, worker.tail(60)
    finally:
        stack.stop()
