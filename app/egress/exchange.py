"""One request on one connection, and the beginning of its response. Nothing is decompressed, stored or followed."""

from __future__ import annotations

import asyncio
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

# Bytes of a response before its body, responses 1xx included.
MOST_HEAD_BYTES = 16_384
# Bytes that are kept of a body, and bytes that are read for them: a body in chunks has more.
EXCERPT_BYTES = 1024
MOST_BODY_BYTES = 16_384


class NoReply(Exception):
    """No response came. The text is a sentence without an address of this network."""


class Exchange(asyncio.Protocol):
    """Sends ``request`` when it is connected.

    ``head`` is done when the head of the response has come: it has the status, or raises NoReply. ``over`` is done
    when nothing more is wanted or comes.
    """

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[int] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self.headers: dict[str, str] = {}
        self.excerpt = bytearray()
        self._request = request
        self._parser = HttpResponseParser(self)
        self._room = MOST_HEAD_BYTES
        self._transport: asyncio.Transport | None = None

    def close(self) -> None:
        """Close the connection at once; what is left of the response is dropped."""
        self._end(None)

    # --- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        if self.over.done():
            self._transport.abort()
        else:
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.over.done():
            return
        part = data[: self._room]
        self._room -= len(part)
        try:
            self._parser.feed_data(part)
        except HttpParserUpgrade:
            self._end("the receiver has changed the protocol")
        except HttpParserError:
            self._end("the response is not HTTP/1.1")
        if self._room <= 0:
            self._end(f"the head of the response has more than {MOST_HEAD_BYTES} bytes")

    def connection_lost(self, error: Exception | None) -> None:
        self._end("the connection ended before the response")

    # --- the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head.done():
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # the response is still to come
            self.headers.clear()
        elif not self.head.done():
            self._room = MOST_BODY_BYTES
            self.head.set_result(status)

    def on_body(self, body: bytes) -> None:
        self.excerpt += body[: EXCERPT_BYTES - len(self.excerpt)]
        if len(self.excerpt) >= EXCERPT_BYTES:
            self._end(None)

    def on_message_complete(self) -> None:
        if self.head.done():
            self._end(None)

    def _end(self, reason: str | None) -> None:
        """End the exchange; ``reason`` counts where no head has come."""
        if not self.over.done():
            self.over.set_result(None)
        if not self.head.done():
            self.head.set_exception(NoReply(reason or "the exchange was closed"))
            self.head.exception()  # it may have no reader any more
        if self._transport is not None:
            self._transport.abort()
