"""The asynchronous client, for asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import httpx2

from unbroken_client import reading
from unbroken_client.attempts import PATIENCE, Attempts, Notice, Patience
from unbroken_client.errors import ConnectionLost, UnbrokenError, problem_of
from unbroken_client.events import Event
from unbroken_client.frames import FrameParser
from unbroken_client.reading import Body, Reading, Request
from unbroken_client.resources import Generation, Started, StartFields
from unbroken_client.transcript import START, Transcript


class AsyncClient:
    """A client of the service at ``url``, with the credentials of one user.

    ``token``: a bearer token or an API key, or a function that returns one and is called before each request.
    ``on_notice``: called before each pause. ``transport``: an httpx2 transport in the place of the usual one. Each
    method raises a Problem for a refusal, and ConnectionLost when its attempts were in vain.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str | Awaitable[str]],
        *,
        patience: Patience = PATIENCE,
        on_notice: Callable[[Notice], object] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.patience = patience
        self._token = token
        self._on_notice = on_notice
        self._http = httpx2.AsyncClient(base_url=reading.check_url(url), transport=transport)

    async def start(self, message: str, *, key: str | None = None, **fields: Unpack[StartFields]) -> Started:
        """Send a message and have it answered.

        ``key``: your name for this request. A repeat with it returns the objects of the first request, also from
        another process. Without it, only the repeats of this call have a common one.
        """
        started: Started = await self._send(reading.start(message, key, fields))
        return started

    def follow(self, generation_id: str, *, after: str = START, transcript: Transcript | None = None) -> AsyncFollower:
        """The events behind ``after``, until the end. ``transcript``: of the events up to ``after``."""
        attempts = Attempts(self.patience, self._on_notice)
        return AsyncFollower(self, Reading(generation_id, after, transcript, attempts))

    async def poll(self, generation_id: str, *, after: str | None = None, wait: float = 0.0) -> Generation:
        """The answer as it is. ``after`` adds the events behind it; ``wait``: seconds, up to 30, to wait for one."""
        generation: Generation = await self._send(reading.poll(generation_id, after, wait))
        return generation

    async def cancel(self, generation_id: str) -> Generation:
        """Cancel an answer, and keep its text. One that has ended is returned as it is."""
        generation: Generation = await self._send(reading.cancel(generation_id))
        return generation

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, request: Request) -> Any:
        attempts = Attempts(self.patience, self._on_notice)
        while True:
            try:
                return await self._send_once(request)
            except UnbrokenError as cause:
                await asyncio.sleep(attempts.pause(cause))

    async def _send_once(self, request: Request) -> Any:
        async with self._open(request, self.patience.reply + request.wait) as response:
            return (await self._read(response)).json()

    @asynccontextmanager
    async def _open(self, request: Request, silence: float) -> AsyncIterator[httpx2.Response]:
        """A response that is a success. Raises UnbrokenError for each other one, and for one that breaks."""
        token = self._token if isinstance(self._token, str) else self._token()
        if inspect.isawaitable(token):
            token = await token
        try:
            async with self._http.stream(
                request.method,
                request.path,
                params=request.params,
                headers={"Authorization": f"Bearer {token}", **request.headers},
                json=request.body,
                timeout=httpx2.Timeout(self.patience.reply, connect=self.patience.connecting, read=silence),
            ) as response:
                if not response.is_success:
                    raise problem_of(response.status_code, response.headers, (await self._read(response)).content)
                yield response
        except httpx2.HTTPError as error:
            raise ConnectionLost(f"{type(error).__name__}: {error}") from error

    async def _read(self, response: httpx2.Response) -> Body:
        body = Body(self.patience.largest)
        async for chunk in response.aiter_bytes():
            body.add(chunk)
        return body

    async def _events(self, reader: Reading) -> AsyncGenerator[Event, None]:
        """The events of one connection. Raises UnbrokenError unless the reader is finished."""
        if not reader.is_over:
            async with self._open(reader.request(), self.patience.silence) as response:
                reader.is_over = response.status_code == 204
                parser = FrameParser(self.patience.largest)
                async for chunk in response.aiter_bytes():
                    for frame in parser.push(chunk):
                        if event := reader.receive(frame):
                            yield event
                    if reader.is_over:
                        break
        if not reader.is_over:
            raise ConnectionLost("the stream ended without its last event")
        if not reader.is_right:
            yield reader.replace(await self._send_once(reading.poll(reader.generation_id)))
        reader.is_finished = True


class AsyncFollower:
    """The events of an answer, each once and in order, over as many connections as it takes.

    Iterate over it once, with ``async for``. A loop that ends early can go on with another one at ``cursor`` and
    ``transcript``.
    """

    def __init__(self, client: AsyncClient, reader: Reading) -> None:
        self._client = client
        self._reader = reader

    @property
    def cursor(self) -> str:
        """The id of the last event."""
        return self._reader.cursor

    @property
    def transcript(self) -> Transcript:
        """The sum of the events so far."""
        return self._reader.transcript

    async def read(self) -> Transcript:
        """Receive all events. Returns their sum."""
        async for _ in self:
            pass
        return self.transcript

    async def __aiter__(self) -> AsyncIterator[Event]:
        while not self._reader.is_finished:
            try:
                async with aclosing(self._client._events(self._reader)) as events:
                    async for event in events:
                        yield event
            except UnbrokenError as cause:
                await asyncio.sleep(self._reader.attempts.pause(cause))
