"""The interface of an HTTP transport: send a request, then read the body of the reply as it comes.

Two transports, one shape: ``direct`` for the token path, ``proxied`` for networks that need a proxy. Both
follow no redirect (``call`` does, without carrying the key elsewhere), know no cookies, and use a connection again
when its answer was read to the end. Both request no compression. A body that is compressed nevertheless is decompressed
in steps of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

# The most bytes of an answer that are not its body, one after the other: headers, trailers, framing.
HEADER_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0
# Below the five seconds after which uvicorn and Node close an idle connection: a POST must not meet a closing one.
KEEPALIVE_SECONDS = 4.0
# A discarded body has this long to end before its connection is closed.
RELEASE_SECONDS = 1.0


# Takes a part of a body; True when it needs no more.
Sink = Callable[[bytes], bool]


class HttpFailure(Exception):
    """The exchange did not take place, or broke."""


class CannotConnect(HttpFailure):
    """The server cannot be reached."""


class ConnectTimeout(HttpFailure):
    """The server did not accept a connection in time."""


class ConnectionBroken(HttpFailure):
    """The connection ended in the middle, or what came over it was not HTTP."""


class TooLarge(HttpFailure):
    """The headers, or what else frames the body, are larger than they may be."""


class UnreadableBody(HttpFailure):
    """The body has an encoding that cannot be read; the message is its name."""


class NoWay(HttpFailure):
    """No request can be sent; the message is the reason, for users too."""


class Answer(Protocol):
    """The response of an upstream, whose body may still be on its way."""

    @property
    def status(self) -> int:
        """The status code of HTTP."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by name; names in lower case find them."""
        ...

    async def read(self) -> bytes:
        """The bytes since the last read, at least one; empty at the end. Raises ConnectionBroken."""
        ...

    async def pour(self, sink: Sink) -> bool:
        """Hand the body over as it comes, until there is no more, or enough: then True. Raises ConnectionBroken."""
        ...

    def pause(self) -> None:
        """Hand nothing over, and leave the rest in the network, until ``resume``."""
        ...

    def resume(self) -> None:
        """Go on after ``pause``."""
        ...

    def release(self) -> None:
        """Discard the rest; the connection is kept if the body ends within RELEASE_SECONDS."""
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
