"""Reads of a log while Redis is a black hole: the first read waits for its timeout, the next ones do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.cursor import START
from app.services import log_reader
from tests.fakes.proxy import TcpProxy
from tests.stack import Stack, until


def test_a_redis_that_hangs_is_waited_for_once_and_not_by_every_read(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TcpProxy.before(redis_url) as proxy:
        stack = Stack(tmp_path, database_url, proxy.url(redis_url))
        try:
            generation = stack.start().generation
            proxy.black_hole()
            # The reader does not try Redis again during this test.
            monkeypatch.setattr(log_reader, "REDIS_PAUSE_SECONDS", 1000.0)
            stack.resources.reader.read(generation.id, START)
            connections = proxy.connections
            for _ in range(5):
                assert stack.resources.reader.read(generation.id, START) == []
            assert proxy.connections == connections, "nobody asked it again"
        finally:
            stack.stop()


def test_redis_is_read_again_when_it_is_back(tmp_path: Path, database_url: str, redis_url: str) -> None:
    with TcpProxy.before(redis_url) as proxy:
        stack = Stack(tmp_path, database_url, proxy.url(redis_url))
        try:
            generation = stack.start().generation
            stack.resources.log.open(generation.id, 1)
            stack.resources.log.append(generation.id, 1, 0, [b'{"type":"token","content":"x"}'])
            proxy.black_hole()
            assert stack.resources.reader.read(generation.id, START) == []
            proxy.cut()
            proxy.pass_()
            until(lambda: stack.resources.reader.read(generation.id, START), what="Redis being asked again", step=0.05)
        finally:
            stack.stop()
