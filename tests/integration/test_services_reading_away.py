"""Reading while Redis is a black hole: the first read waits for it, the next ones do not."""

from __future__ import annotations

import time
from pathlib import Path

from app.domain.cursor import START
from tests.fakes.proxy import TcpProxy
from tests.stack import Stack


def test_a_redis_that_hangs_is_waited_for_once_and_not_by_every_read(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    with TcpProxy.before(redis_url) as proxy:
        stack = Stack(tmp_path, database_url, proxy.url(redis_url))
        try:
            generation = stack.start().generation
            proxy.black_hole()
            stack.resources.reader.read(generation.id, START)
            began = time.monotonic()
            for _ in range(5):
                assert stack.resources.reader.read(generation.id, START) == []
            assert time.monotonic() - began < 1
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
            deadline = time.monotonic() + 5
            while not stack.resources.reader.read(generation.id, START):
                assert time.monotonic() < deadline, "Redis is back, and nobody asks it"
                time.sleep(0.05)
        finally:
            stack.stop()
