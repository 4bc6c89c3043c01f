"""Whose own way to Redis is cut leaves a takeover to those who can read the log: it would take text back."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.events import Snapshot, decode
from app.domain.transcript import Transcript
from app.services.leases import Leases
from app.services.takeover import Takeover
from app.store.database import execute
from app.wiring import build
from tests.actors import claim, start
from tests.fakes.proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until


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
    """The lease ends so many seconds from now, whoever has it: no takeover before the test wants one."""
    with stack.resources.database.system() as tx:
        sql = "UPDATE generations SET lease_until = now() + make_interval(secs => :seconds) WHERE id = :id"
        execute(tx, sql, seconds=seconds, id=generation_id)


def ahead_of_postgresql(stack: Stack, database: TcpProxy) -> str:
    """An answer whose worker cannot save: readers have seen more than the checkpoints say. Its worker is gone."""
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


def revisions(stack: Stack, generation_id: str) -> Iterator[tuple[str, str]]:
    """For each later revision: the text before it, and the text it opens with."""
    said = Transcript()
    for cursor, payload in stack.read(generation_id):
        event = decode(payload)
        if isinstance(event, Snapshot) and cursor.epoch > 1:
            yield said.text, event.text
        said.add(cursor, event)


def test_a_worker_cut_off_from_redis_leaves_the_answer_to_one_that_is_not(stack: Stack) -> None:
    with TcpProxy.before(stack.settings.database_url) as database, TcpProxy.before(stack.settings.redis_url) as redis:
        generation = ahead_of_postgresql(stack, database)
        shown = Transcript.of(stack.log(generation)).text
        other = stack.worker()
        other.signal(signal.SIGSTOP)
        cut_off = stack.worker(REDIS_URL=redis.url(stack.settings.redis_url))
        redis.black_hole()
        lease(stack, generation, -1)
        until(lambda: "out of reach" in cut_off.log())
        other.signal(signal.SIGCONT)
        row = stack.finished(generation)
    assert (row.status, row.tries) == ("completed", 2), "what was left was not tried"
    openings = list(revisions(stack, generation))
    assert all(after.startswith(before) for before, after in openings)
    assert openings[0][1].startswith(shown)


def test_an_answer_nobody_can_read_goes_on_from_the_checkpoints(stack: Stack) -> None:
    with TcpProxy.before(stack.settings.database_url) as database, TcpProxy.before(stack.settings.redis_url) as redis:
        generation = ahead_of_postgresql(stack, database)
        worker = stack.worker(REDIS_URL=redis.url(stack.settings.redis_url))
        redis.black_hole()
        lease(stack, generation, -1)
        row = stack.finished(generation)
        redis.pass_()
    assert row.status == "completed"
    assert worker.log().count("out of reach") == 1, "it comes last, and then it goes on"


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
    assert leases("first").claim(generation_id, late=60) is None
    again = leases("second").claim(generation_id)
    assert again
    assert again.tries == 1
    leases("first").leave(claimed.lease)
    assert leases("second").holds(again.lease), "who was replaced has nothing to leave"
