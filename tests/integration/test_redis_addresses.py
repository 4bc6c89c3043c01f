"""Redis behind TLS, and at a path of the file system: every client of the service reaches it by one variable."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from app.broker.application import producer
from app.domain.errors import LogDown
from app.eventlog.client import redis_client
from app.eventlog.redis_wire import RedisWire
from app.relay.pubsub_connection import ConnectionLost, PubSubConnection
from tests.chaos.proxy import Proxies
from tests.fakes.front import Front
from tests.stack import Stack, until


@contextmanager
def reached(kind: str, url: str, directory: Path) -> Iterator[str]:
    """An address that leads to the Redis at ``url`` by TLS or by a path, as ``kind`` has it."""
    parts = urlsplit(url)
    assert parts.port
    if kind == "encrypted":
        with Front.encrypted(parts.port, directory) as front:
            yield f"rediss://:{parts.password}@127.0.0.1:{front.port}/0?ssl_ca_certs={front.certificate}"
    else:
        # The path of a socket has at most some 100 characters.
        path = directory / "r"
        with Front.by_path(parts.port, path):
            yield f"unix://:{parts.password}@{path}?db=0"


async def connect(url: str) -> None:
    """Connect with the worker's own client, and close the connection."""
    (await RedisWire.connect(url, lambda: None)).close()


@pytest.mark.parametrize("kind", ["encrypted", "by path"])
def test_a_whole_answer_goes_through(kind: str, database_url: str, redis_url: str, tmp_path: Path):
    with reached(kind, redis_url, tmp_path) as url:
        # No sweep comes: only Celery's message starts the answer.
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
            PubSubConnection.dial(unknown)
        with pytest.raises(LogDown):
            asyncio.run(connect(unknown))
        with producer(unknown, "x") as celery, pytest.raises(Exception, match="certificate"):
            celery.connection_for_write().ensure_connection(max_retries=0, timeout=5)


def test_a_server_that_need_not_prove_itself_is_believed(redis_url: str, tmp_path: Path):
    with reached("encrypted", redis_url, tmp_path) as url:
        careless = url.partition("?")[0] + "?ssl_cert_reqs=none"
        PubSubConnection.dial(careless).close()
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


def test_a_command_whose_reply_was_lost_is_never_sent_again(redis_url: str) -> None:
    """Redis has executed a command whose reply is lost. A client that repeats it would execute it twice."""
    port = urlsplit(redis_url).port
    assert port
    with Proxies() as proxies, redis_client(redis_url) as direct:
        hop = proxies.add("redis", port)
        with redis_client(redis_url.replace(f":{port}", f":{hop.port}")) as client:
            client.ping()
            # A reply to INCR is a number; the replies at the start of a connection are not.
            hop.on_reply = lambda link, data: not data.startswith(b":")
            with pytest.raises(redis.RedisError):
                client.incr("done")
        assert direct.get("done") == b"1"
