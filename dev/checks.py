"""The checks of `make run` before it starts anything: each refusal is one sentence that names the place."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg2
import redis

from app.domain.upstreams import Upstream
from app.store.schema import too_old
from dev.addresses import name_driver
from dev.process import CannotRun

T = TypeVar("T")

# Seconds to wait for a connection, and for a whole check with the look-up of the server's name.
CONNECT_SECONDS = 3
GIVE_UP_SECONDS = 8.0
# Seconds to wait for a server that reports that it is starting.
STARTING_SECONDS = 60.0
MOST_LIST_BYTES = 4_000_000
# A new cluster takes some 60 MB, and a running one writes.
NEEDED_BYTES = 150_000_000


def check_database(variable: str, url: str) -> None:
    """Connect to the database. Raises CannotRun unless a PostgreSQL that is new enough accepts the login."""
    where, until = _place(url, 5432), time.monotonic() + STARTING_SECONDS
    while True:
        try:
            version = _within(GIVE_UP_SECONDS, lambda: _version(url), f"{variable}: {where} does not answer.")
            break
        except psycopg2.OperationalError as error:
            if "starting up" not in str(error) or time.monotonic() > until:
                raise CannotRun(f"{variable}: the database at {where} cannot be used: {_last_line(error)}") from None
            time.sleep(0.5)
        except psycopg2.Error as error:
            raise CannotRun(f"{variable}: the database at {where} cannot be used: {_last_line(error)}") from None
    if reason := too_old(version, variable, where):
        raise CannotRun(reason)


def check_redis(url: str) -> None:
    """Connect to Redis. Raises CannotRun unless a server with usable settings accepts the login."""
    from app.eventlog.client import redis_client
    from app.ops.startup import redis_refusal

    where = urlsplit(url).path if url.startswith("unix:") else _place(url, 6379)

    def ping() -> None:
        with closing(redis_client(url)) as client:
            client.ping()

    try:
        _within(GIVE_UP_SECONDS, ping, f"REDIS_URL: {where} does not answer.")
    except redis.RedisError as error:
        raise CannotRun(f"REDIS_URL: the server at {where} cannot be used: {_last_line(error)}") from None
    if reason := redis_refusal(url):
        raise CannotRun(reason)


def check_disk(directory: Path) -> None:
    """Measure the free space. Raises CannotRun where there is no room for a database."""
    free = shutil.disk_usage(directory).free
    if free < NEEDED_BYTES:
        raise CannotRun(
            f"the disk of DATA_DIR ({directory}) is full: {free // 1_000_000} MB are free, "
            f"{NEEDED_BYTES // 1_000_000} MB are needed."
        )


def doubts_about_upstreams(upstreams: Sequence[Upstream]) -> list[str]:
    """One sentence for each upstream that does not list its models."""
    from worker.listing import look
    from worker.providers.registry import Providers

    async def ask() -> list[str]:
        providers = Providers(upstreams)
        try:
            looks = [look(upstream, providers.get(upstream.name), MOST_LIST_BYTES) for upstream in upstreams]
            return [doubt for doubt in await asyncio.gather(*looks) if doubt is not None]
        finally:
            await providers.close()

    return asyncio.run(ask())


def _version(url: str) -> int:
    plain = name_driver(url).replace("+psycopg2", "", 1)
    with closing(psycopg2.connect(plain, connect_timeout=CONNECT_SECONDS)) as connection:
        return int(connection.server_version)


def _within(seconds: float, look: Callable[[], T], otherwise: str) -> T:
    """The result of ``look``, or its exception. Raises CannotRun after ``seconds``: name look-ups have no bound."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(look())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not found:
        raise CannotRun(otherwise)
    return found[0]


def _place(url: str, port: int) -> str:
    """Host and port of an address: never its password."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or port}"


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
