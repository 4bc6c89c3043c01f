"""Redis accepts a connection and refuses its first command: wrong password, no permission, still loading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from app.domain.errors import LogDown
from app.domain.lease import Claimed
from app.eventlog.client import redis_client
from app.eventlog.log import RedisLog
from app.eventlog.redis_wire import RedisWire
from tests.fakes.proxy import TcpProxy
from worker.outbox import Outbox


@pytest.fixture
def proxy(redis_url: str) -> Iterator[TcpProxy]:
    with TcpProxy.before(redis_url) as proxy:
        yield proxy


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def as_user(url: str, credentials: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{credentials}@{parts.netloc.rpartition('@')[2]}").geturl()


def test_a_wrong_password_leaves_no_connection_behind(redis_url: str, proxy: TcpProxy) -> None:
    async def work() -> None:
        for _ in range(3):
            with suppress(LogDown):
                await RedisWire.connect(as_user(proxy.url(redis_url), ":wrong"), lambda: None)
        assert proxy.connections == 3
        await until(lambda: proxy.open == 0)

    asyncio.run(work())


def test_a_writer_that_may_not_load_its_script_leaves_no_connection_behind(redis_url: str, proxy: TcpProxy) -> None:
    async def reopen(_: Claimed) -> None: ...

    async def work() -> None:
        client = redis_client(redis_url)
        client.execute_command("ACL", "SETUSER", "reader", "on", ">word", "+select")
        outbox = Outbox(as_user(proxy.url(redis_url), "reader:word"), RedisLog(client, "refused"), 0.02, 25, reopen)
        await outbox.start()
        await until(lambda: proxy.connections >= 4)
        await outbox.close()
        await until(lambda: proxy.open == 0)
        client.execute_command("ACL", "DELUSER", "reader")
        client.close()

    asyncio.run(work())
