"""HTTP as the providers need it: ask, then read the answer's body as it comes.

Two transports, one shape: ``http_direct`` for the token path, ``http_proxied`` for networks that need a proxy. Both
follow no redirect (it would carry the key elsewhere), know no cookies, and use a connection again when its answer was
read to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_SECONDS = 10.0
# Below the five seconds after which uvicorn and Node close an idle connection: a POST must not meet a closing one.
KEEPALIVE_SECONDS = 4.0
# How long the end of an answer that nobody reads any more may take.
RELEASE_SECONDS = 1.0


# Takes a part of a body; whether it has enough.
Sink = Callable[[bytes], bool]


class HttpFailure(Exception):
    """The exchange did not take place, or broke."""


class CannotConnect(HttpFailure):
    """The server cannot be reached."""


class ConnectTimeout(HttpFailure):
    """The server did not accept a connection in time."""


class ConnectionBroken(HttpFailure):
    """The connection ended in the middle, or what came over it was not HTTP."""


class Answer(Protocol):
    """A status, headers (names in lower case find them), and a body that may still be on its way."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self) -> bytes:
        """What has come since the last read, at least one byte; empty at the end. Raises ConnectionBroken."""
        ...

    async def pour(self, sink: Sink) -> bool:
        """Hand the body over as it comes, until there is no more, or enough: then True. Raises ConnectionBroken."""
        ...

    def release(self) -> None:
        """The rest is not wanted: keep the connection if it ends in a moment."""
        ...

    def close(self) -> None:
        """Leave now: an answer that is not at its end loses its connection. May be called at any time."""
        ...


class Transport(Protocol):
    """Connections of one process, used from one event loop at a time."""

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send a request and wait for the answer's headers, however long that takes. Raises HttpFailure."""
        ...

    async def close(self) -> None:
        """Drop all connections."""
        ...


def content_type(answer: Answer) -> str:
    """Without its parameters, in lower case; empty when there is none."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY ask for."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
