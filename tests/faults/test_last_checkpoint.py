"""A worker that leaves by SIGTERM has saved in PostgreSQL every event that readers saw: Redis may lose all of them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.valkey import Valkey
from tests.fakes.proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until

# No checkpoint is due during the test: only the last one can have the events.
NONE_BEFORE = {
    "LEASE_SECONDS": 90, "HEARTBEAT_SECONDS": 40, "CHECKPOINT_SECONDS": 60, "CHECKPOINT_EVENTS": 10_000,
    "SWEEP_SECONDS": 60,
}  # fmt: skip
# PostgreSQL is away for a part of LAST_CHECKPOINT_SECONDS, in which the last checkpoint is repeated.
AWAY_SECONDS = {"PostgreSQL answers": 0.0, "PostgreSQL is away at first": 0.7, "PostgreSQL is away for longer": 5.0}


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server that this test empties."""
    server = Valkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("seconds", AWAY_SECONDS.values(), ids=AWAY_SECONDS)
def test_what_a_worker_said_is_in_postgresql_when_it_has_left(
    tmp_path: Path, database_url: str, own_valkey: Valkey, seconds: float
) -> None:
    with FakeUpstream() as upstream, TcpProxy.before(database_url) as proxy:
        stack = Stack(tmp_path, database_url, own_valkey.url(), OPENAI_BASE_URL=upstream.base_url, **NONE_BEFORE)
        try:
            worker = stack.worker(DATABASE_URL=proxy.url(database_url))
            question = json.dumps({"fake": {"key": 1, "tokens": 500, "rate": 30}})
            generation = stack.start(question, model="fake").generation.id
            until(lambda: len(stack.log(generation)) >= 15, 60, "an answer in the middle")
            assert len(stack.chunks(generation)) < 15
            if seconds:
                proxy.refuse()
            worker.signal(signal.SIGTERM)
            if seconds:
                time.sleep(seconds)
                proxy.pass_()
            assert worker.wait(60) == 0, worker.tail()
            shown = stack.log(generation)
            stack.resources.redis.flushall()
            assert stack.chunks(generation)[: len(shown)] == shown
            assert stack.read(generation)[: len(shown)] == shown
        finally:
            stack.stop()


def test_a_worker_leaves_although_postgresql_stays_away_and_names_the_bound(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    with FakeUpstream() as upstream, TcpProxy.before(database_url) as proxy:
        stack = Stack(tmp_path, database_url, redis_url, OPENAI_BASE_URL=upstream.base_url, **NONE_BEFORE)
        try:
            worker = stack.worker(DATABASE_URL=proxy.url(database_url))
            question = json.dumps({"fake": {"key": 2, "tokens": 500, "rate": 30}})
            generation = stack.start(question, model="fake").generation.id
            until(lambda: len(stack.log(generation)) >= 15, 60, "an answer in the middle")
            proxy.refuse()
            worker.signal(signal.SIGTERM)
            assert worker.wait(60) == 0, worker.tail()
            assert '"limit":"LAST_CHECKPOINT_SECONDS"' in worker.log()
        finally:
            stack.stop()
