"""Redis behind TLS, and at a path of the file system: every client that we have finds it by the same variable."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.domain.errors import LogDown
from app.eventlog.pipe import Pipe
from app.queue import producer
from app.relay.subscription import ConnectionLost, Subscription
from tests.fakes.front import Front
from tests.stack import Stack, until


@contextmanager
def reached(kind: str, url: str, directory: Path) -> Iterator[str]:
    """The address of the Redis at ``url`` when it is reached so."""
    parts = urlsplit(url)
    assert parts.port
    if kind == "encrypted":
        with Front.encrypted(parts.port, directory) as front:
            yield f"rediss://:{parts.password}@127.0.0.1:{front.port}/0?ssl_ca_certs={front.certificate}"
    else:
        # A path of a socket has at most a hundred signs or so.
        path = directory / "r"
        with Front.by_path(parts.port, path):
            yield f"unix://:{parts.password}@{path}?db=0"


async def connect(url: str) -> None:
    """As a worker does."""
    (await Pipe.connect(url, lambda: None)).close()


@pytest.mark.parametrize("kind", ["encrypted", "by path"])
def test_a_whole_answer_goes_through(kind: str, database_url: str, redis_url: str, tmp_path: Path):
    with reached(kind, redis_url, tmp_path) as url:
        # Nobody sweeps: only Celery's message brings it to the worker.
        stack = Stack(tmp_path, database_url, url, SWEEP_SECONDS=3600)
        try:
            stack.worker()
            web = stack.web()
            started = stack.start("The sea", model="offline")
            request = urllib.request.Request(
                f"{web.url}/api/v1/generations/{started.generation.id}/stream",
                headers={"Authorization": f"Bearer {stack.token()}"},
            )
            with urllib.request.urlopen(request, timeout=90) as response:
                seen = response.read()
            log = stack.log(started.generation.id)
            assert len(log) > 10, "the worker has written to Redis"
            assert [b"\nid: %b\n" % str(entry.cursor).encode() in seen for entry in log] == [True] * len(log)
            known = stack.resources.redis
            until(lambda: known.pubsub_channels(f"{stack.namespace}:canary:*"), what="the relay's subscription")

            def counted() -> list[bytes]:
                urllib.request.urlopen(request, timeout=90).close()
                return known.keys(f"*{stack.namespace}:limits*")

            until(counted, what="the limits' count")
        finally:
            stack.stop()


def test_nobody_tells_a_server_that_cannot_prove_itself_the_password(redis_url: str, tmp_path: Path):
    with reached("encrypted", redis_url, tmp_path) as url:
        unknown = url.partition("?")[0]
        with pytest.raises(ConnectionLost, match="certificate"):
            Subscription.dial(unknown)
        with pytest.raises(LogDown):
            asyncio.run(connect(unknown))
        with producer(unknown, "x") as celery, pytest.raises(Exception, match="certificate"):
            celery.connection_for_write().ensure_connection(max_retries=0, timeout=5)


def test_a_server_that_need_not_prove_itself_is_believed(redis_url: str, tmp_path: Path):
    with reached("encrypted", redis_url, tmp_path) as url:
        careless = url.partition("?")[0] + "?ssl_cert_reqs=none"
        Subscription.dial(careless).close()
        asyncio.run(connect(careless))
        with producer(careless, "x") as celery:
            celery.connection_for_write().ensure_connection(max_retries=0, timeout=5)


def test_a_worker_that_cannot_begin_says_so_and_ends(database_url: str, redis_url: str, tmp_path: Path):
    unreadable = redis_url.replace("redis://", "rediss://") + "?ssl_min_version=new"
    stack = Stack(tmp_path, database_url, redis_url)
    try:
        with pytest.raises(AssertionError, match=r"(?s)it has ended.*Unbroken cannot start.*ssl_min_version"):
            stack.worker(REDIS_URL=unreadable, CELERY_BROKER_URL=redis_url)
    finally:
        stack.stop()
