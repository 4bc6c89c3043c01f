"""HTTP by way of a proxy, on aiohttp: dearer per token than ``http_direct``, but it knows proxies of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from worker.providers.http import (
    CONNECT_SECONDS,
    KEEPALIVE_SECONDS,
    RELEASE_SECONDS,
    Answer,
    CannotConnect,
    ConnectionBroken,
    ConnectTimeout,
    Sink,
)


class ProxiedTransport:
    """A Transport. ``proxy`` is its URL; None goes there directly."""

    def __init__(self, proxy: str | None) -> None:
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._releasing: set[asyncio.Task[None]] = set()  # a loop holds its tasks only weakly

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Transport.open."""
        try:
            response = await self._get_session().request(
                method, url, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
            )
        except aiohttp.ServerTimeoutError as error:
            raise ConnectTimeout from error
        except aiohttp.ClientConnectorError as error:
            raise CannotConnect from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionBroken from error
        return _Answer(response, self._releasing)

    async def close(self) -> None:
        """See Transport.close."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _get_session(self) -> aiohttp.ClientSession:
        """Opened with the first request, inside the loop that makes it; again when the loop is another one."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=KEEPALIVE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", "User-Agent": "unbroken"},
            )
        return self._session


class _Answer:
    def __init__(self, response: aiohttp.ClientResponse, releasing: set[asyncio.Task[None]]) -> None:
        self._response = response
        self._releasing = releasing
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionBroken from error

    async def pour(self, sink: Sink) -> bool:
        while data := await self.read():
            if sink(data):
                return True
        return False

    def release(self) -> None:
        task = asyncio.create_task(self._read_out())
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def close(self) -> None:
        self._response.close()

    async def _read_out(self) -> None:
        with suppress(TimeoutError, ConnectionBroken):
            async with asyncio.timeout(RELEASE_SECONDS):
                while await self.read():
                    pass
        self.close()
