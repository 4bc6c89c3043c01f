"""A conversation is deleted while Redis does not answer. A worker removes it from Redis when Redis is back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from redis import Redis

from dev.valkey import Valkey
from tests.fakes.proxy import TcpProxy
from tests.stack import Stack, until
from tests.traces import keys_with, tables_with

# SWEEP_SECONDS is 0.3 here. A sweep that meets a frozen Redis may wait for its timeout of 2 s.
WITHIN_SECONDS = 8


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey")
    server.start()
    yield server
    assert server.process
    os.kill(server.process.pid, signal.SIGCONT)
    server.stop()


@pytest.mark.parametrize("trouble", ["frozen", "out of reach"])
def test_what_was_deleted_without_redis_is_gone_seconds_after_it_is_back(
    tmp_path: Path, database_url: str, freezable: Valkey, trouble: str
) -> None:
    """A frozen server reads the command from its socket when it resumes. A server out of reach never receives it."""
    assert freezable.process
    pid = freezable.process.pid
    with TcpProxy.before(freezable.url()) as proxy:
        stack = Stack(tmp_path, database_url, proxy.url(freezable.url()))
        redis = Redis.from_url(freezable.url(), socket_timeout=30)
        try:
            stack.worker()
            marker = f"marker{uuid4().hex}"
            # The offline model repeats the question.
            generation = stack.start(marker, model="offline-fast").generation
            stack.finished(generation.id)
            until(lambda: len(keys_with(redis, marker)) >= 2, what="the log and the history")
            if trouble == "frozen":
                os.kill(pid, signal.SIGSTOP)
            else:
                proxy.refuse()
            began = monotonic()
            stack.resources.conversations.delete(stack.user, generation.conversation_id)
            assert monotonic() - began < 4  # no request bounds this client's waiting: its timeout is 2 s
            if trouble == "out of reach":
                assert keys_with(redis, marker)
                proxy.pass_()
            else:
                os.kill(pid, signal.SIGCONT)
            until(lambda: not keys_with(redis, marker), WITHIN_SECONDS, "that nothing is left")
            assert tables_with(database_url, marker) == set()
        finally:
            redis.close()
            stack.stop()
