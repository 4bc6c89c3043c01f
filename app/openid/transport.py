"""HTTP requests to the identity provider; each has a bound on its time, its bytes and the number at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from app.domain.errors import ProviderDown, SignInFailed

# The whole of a request: name, connection, head and body.
TOTAL_SECONDS = 5.0
MOST_AT_ONCE = 4
MOST_BYTES = 262_144
# Seconds that a thread waits for the loop beyond the end of its request.
_SLACK_SECONDS = 1.0
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "unbroken"}


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a request: a status below 500, and the whole body."""

    status: int
    body: bytes = field(repr=False)

    def object(self) -> dict[str, Any]:
        """The JSON object of the body. Raises SignInFailed for anything else."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise SignInFailed(f"the identity provider's response (HTTP {self.status}) is not a JSON object")
        return found


class Transport:
    """Requests from any thread; an event loop in a thread of its own sends them. Made after the fork."""

    def __init__(self, seconds: float = TOTAL_SECONDS, most_at_once: int = MOST_AT_ONCE) -> None:
        self._seconds = seconds
        self._places = threading.BoundedSemaphore(most_at_once)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a GET. Raises ProviderDown, and SignInFailed for a redirect or a body that is too large."""
        return self._run(self._send("GET", url, {**_HEADERS, **(headers or {})}, None))

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a POST. Raises like ``get``."""
        return self._run(self._send("POST", url, {**_HEADERS, **headers}, body))

    def close(self) -> None:
        """End the loop; a request that is under way fails."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _run(self, request: Coroutine[Any, Any, Reply]) -> Reply:
        if not self._places.acquire(blocking=False):
            request.close()
            raise ProviderDown("as many requests as are allowed at once wait for it")
        try:
            running = asyncio.run_coroutine_threadsafe(request, self._started())
            try:
                return running.result(self._seconds + _SLACK_SECONDS)
            except TookTooLong:
                running.cancel()
                raise ProviderDown(f"no whole response within {self._seconds:g} s") from None
        finally:
            self._places.release()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="identity-provider", daemon=True).start()
            return self._loop

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        limits = aiohttp.ClientTimeout(total=self._seconds)
        try:
            # Sign-ins are rare: a connection of its own for each needs no care for closed ones.
            async with (
                aiohttp.ClientSession(timeout=limits, trust_env=True, auto_decompress=False) as session,
                session.request(method, url, headers=headers, data=body, allow_redirects=False) as response,
            ):
                return await _reply(response)
        except TimeoutError:
            raise ProviderDown(f"no whole response within {self._seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderDown(f"no connection or no response: {type(error).__name__}") from None


async def _reply(response: aiohttp.ClientResponse) -> Reply:
    if response.status >= 500 or response.status == 429:
        raise ProviderDown(f"it answers with HTTP {response.status}")
    if response.status >= 300 and response.status < 400:
        raise SignInFailed(f"the identity provider redirects (HTTP {response.status}), which is not followed")
    body = bytearray()
    async for part in response.content.iter_chunked(16_384):
        body += part
        if len(body) > MOST_BYTES:
            raise SignInFailed(f"a document of the identity provider has more than {MOST_BYTES} bytes")
    return Reply(response.status, bytes(body))
