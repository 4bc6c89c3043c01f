"""HTTP by way of a proxy, on aiohttp: dearer per token than ``direct``, but it knows proxies of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from app.domain.decompression import DamagedBody, Decoder, UnreadableEncoding, decoder_for
from worker.providers.http.body import TURN_STEPS
from worker.providers.http.interface import (
    CONNECT_SECONDS,
    HEADER_BYTES,
    KEEPALIVE_SECONDS,
    RELEASE_SECONDS,
    Answer,
    CannotConnect,
    ConnectionBroken,
    ConnectTimeout,
    Sink,
    TooLarge,
    UnreadableBody,
)

# How aiohttp says that the headers are too large, or too many.
_TOO_MANY = ("Got more than", "Too many headers")


class ProxiedTransport:
    """A Transport. ``proxy`` is its URL; None goes there directly.

    ``header_bytes``: the size that a header may have.
    """

    def __init__(self, proxy: str | None, header_bytes: int = HEADER_BYTES) -> None:
        self._proxy = proxy
        self._header_bytes = header_bytes
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
            if isinstance(error, aiohttp.ClientResponseError) and error.message.startswith(_TOO_MANY):
                raise TooLarge from error
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
                auto_decompress=False,  # it knows no bound
                max_line_size=self._header_bytes,
                max_field_size=self._header_bytes,
                headers={"Accept-Encoding": "identity", "User-Agent": "unbroken"},
            )
        return self._session


class _Answer:
    def __init__(self, response: aiohttp.ClientResponse, releasing: set[asyncio.Task[None]]) -> None:
        self._response = response
        self._releasing = releasing
        self._decoder: Decoder | None = None
        self._going_on = asyncio.Event()
        self._going_on.set()
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        if self._decoder is None:
            first = await self._raw()
            try:
                self._decoder = decoder_for(self.headers.get("content-encoding", ""), first)
            except UnreadableEncoding as error:
                raise UnreadableBody(str(error)) from error
            self._decoder.feed(first)
        decoder = self._decoder
        steps = 0
        while True:
            while decoder.pending:
                steps += 1
                if steps % TURN_STEPS == 0:
                    await asyncio.sleep(0)
                if data := _step(decoder):
                    return data
            data = await self._raw()
            if not data:
                return decoder.close()
            decoder.feed(data)

    async def pour(self, sink: Sink) -> bool:
        steps = 0
        while data := await self.read():
            if sink(data):
                return True
            steps += 1
            if steps % TURN_STEPS == 0:
                await asyncio.sleep(0)
            await self._going_on.wait()
        return False

    def pause(self) -> None:
        self._going_on.clear()

    def resume(self) -> None:
        self._going_on.set()

    def release(self) -> None:
        task = asyncio.create_task(self._read_out())
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def close(self) -> None:
        self._response.close()

    async def _raw(self) -> bytes:
        """The body as it comes over the wire."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionBroken from error

    async def _read_out(self) -> None:
        with suppress(TimeoutError, ConnectionBroken):
            async with asyncio.timeout(RELEASE_SECONDS):
                while await self._raw():
                    pass
        self.close()


def _step(decoder: Decoder) -> bytes:
    try:
        return decoder.step()
    except DamagedBody as error:
        raise ConnectionBroken(str(error)) from error
