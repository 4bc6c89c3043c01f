"""One request, put together from the pieces in which it arrives. No socket and no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import LimitRequestLine

from app.connections.bounds import ConnectionBounds
from app.connections.framing import END_OF_HEAD, ChunkedBody, SizedBody
from app.connections.ready_request import ReadyRequest
from app.connections.refusals import Refusal, RequestLine
from app.connections.spool import Spool


class RequestAssembly:
    """Head and body of one request as far as they have arrived.

    ``send_continue`` is called where the client waits for ``100 Continue`` before it sends the body.
    """

    __slots__ = ("_body", "_bounds", "_buffer", "_longest_line", "_parser", "_request", "_send_continue", "_spool")

    def __init__(
        self, parser: ReadyRequest, bounds: ConnectionBounds, longest_line: int, send_continue: Callable[[], None]
    ) -> None:
        self._parser = parser
        self._bounds = bounds
        self._longest_line = longest_line
        self._send_continue = send_continue
        self._buffer = bytearray()
        self._request: Any = None
        self._body: SizedBody | ChunkedBody | None = None
        self._spool: Spool | None = None

    @property
    def is_begun(self) -> bool:
        """True when the first byte of the request has arrived."""
        return self.has_head or bool(self._buffer)

    @property
    def has_head(self) -> bool:
        """True when the head is complete."""
        return self._request is not None

    @property
    def body_bytes(self) -> int:
        """Bytes of the body that have arrived, without their framing."""
        return self._body.received if self._body is not None else 0

    @property
    def line(self) -> RequestLine:
        """Method and path, as far as they have arrived."""
        if self._request is not None:
            return RequestLine(str(self._request.method), str(self._request.path))
        words = bytes(self._buffer[:200]).decode("latin-1").split(" ", 2)
        return RequestLine(words[0], words[1]) if len(words) > 1 else RequestLine()

    def feed(self, data: bytes) -> bool:
        """Add bytes. True when a thread can answer the request.

        Raises Refusal, and the errors of gunicorn's parser.
        """
        if self._request is None:
            rest = self._feed_head(data)
            if rest is None:
                return False
            data = rest
        self._feed_body(data)
        return self._body is None or self._body.complete or self._is_too_large()

    def finish(self) -> None:
        """Give the body to the parsed request. A body that was not read to its end ends the connection."""
        request, body = self._request, self._body
        if body is not None and not body.complete:
            self._parser.is_whole = False
            request.force_close()
        request.spool = self._spool or Spool()
        request.spool.rewind()
        request.body = Body(request.spool)

    def close(self) -> None:
        """Free the body of a request that is given up."""
        if self._spool is not None:
            self._spool.close()

    def _feed_head(self, data: bytes) -> bytes | None:
        """Add bytes to the head. Returns the bytes behind it; None while it is not complete."""
        buffer = self._buffer
        searched = max(len(buffer) - 3, 0)
        buffer += data
        end = buffer.find(END_OF_HEAD, searched)
        most = self._bounds.max_header_bytes
        if end < 0 and len(buffer) <= most:
            if _has_bare_line_feed(buffer, searched):
                raise Refusal(400, "Each line of the header must end with CR LF.")
            return None
        if b"\r\n" not in buffer[: self._longest_line + 4]:
            raise LimitRequestLine(len(buffer), self._longest_line)
        if end < 0 or end > most:
            raise Refusal(
                431, f"The header of the request has more than {most} bytes (MAX_HEADER_BYTES).", "MAX_HEADER_BYTES"
            )
        self._parse(bytes(buffer[: end + 4]))
        rest = bytes(buffer[end + 4 :])
        buffer.clear()
        return rest

    def _parse(self, head: bytes) -> None:
        request = self._parser.parse(head)
        reader = request.body.reader
        if isinstance(reader, ChunkedReader):
            self._body = ChunkedBody(self._store, lambda trailers: _check_trailers(request, trailers))
        elif isinstance(reader, LengthReader) and reader.length:
            self._body = SizedBody(reader.length, self._store)
        self._request = request
        if request._expected_100_continue:
            request._expected_100_continue = False
            if not self._announces_too_much():
                self._send_continue()

    def _feed_body(self, data: bytes) -> None:
        unreader = self._parser.unreader
        if self._body is None:
            unreader.unread(data)
        elif not self._announces_too_much():
            # Otherwise the application refuses by the length alone, and the connection ends.
            rest = self._body.feed(data)
            if self._body.complete:
                unreader.unread(rest)

    def _announces_too_much(self) -> bool:
        reader = self._request.body.reader
        return self._exceeds(reader.length if isinstance(reader, LengthReader) else 0)

    def _is_too_large(self) -> bool:
        return self._announces_too_much() or self._exceeds(self.body_bytes)

    def _exceeds(self, size: int) -> bool:
        bounds, request = self._bounds, self._request
        return size > bounds.max_body_bytes and size > bounds.largest_body(request.method, request.path)

    def _store(self, data: bytes) -> None:
        if self._spool is None:
            self._spool = Spool()
        try:
            self._spool.write(data)
        except OSError:
            raise Refusal(
                503, "There is no room for the body of the request just now.", headers={"Retry-After": "5"}
            ) from None


def _has_bare_line_feed(buffer: bytearray, start: int) -> bool:
    """True when a line behind ``start`` ends without CR. Such a head would never end."""
    at = buffer.find(b"\n", start)
    while at >= 0:
        if at == 0 or buffer[at - 1] != 13:
            return True
        at = buffer.find(b"\n", at + 1)
    return False


def _check_trailers(request: Any, trailers: bytes) -> None:
    """Parse the trailers, which are not used. Raises the errors of gunicorn's parser."""
    if trailers:
        request.trailers = request.parse_headers(trailers, from_trailer=True)
