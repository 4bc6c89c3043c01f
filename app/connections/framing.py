"""The framing of a body, parsed piece by piece as it arrives. Pure: no input or output but the sink."""

from __future__ import annotations

import re
from collections.abc import Callable

from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkExtension, InvalidChunkSize, LimitRequestHeaders

END_OF_HEAD = b"\r\n\r\n"
# A size line has a few digits, and extensions that are not used.
MAX_SIZE_LINE = 4096
# Sixteen digits are more bytes than any disk has.
MAX_SIZE_DIGITS = 16
MAX_TRAILER_BYTES = 16_384

_DIGITS = re.compile(rb"[0-9a-fA-F]+")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
# RFC 9112, 7.1.1.
_EXTENSIONS = re.compile(rb"(?:[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*")

Sink = Callable[[bytes], None]


class SizedBody:
    """A body whose length the header gives."""

    def __init__(self, length: int, sink: Sink) -> None:
        self._left = length
        self._sink = sink
        self.received = 0

    @property
    def complete(self) -> bool:
        """True when the whole body has arrived."""
        return not self._left

    def feed(self, data: bytes) -> bytes:
        """Take the bytes that belong to the body. Returns the bytes behind its end."""
        mine, rest = data[: self._left], data[self._left :]
        if mine:
            self._left -= len(mine)
            self.received += len(mine)
            self._sink(mine)
        return rest


class ChunkedBody:
    """A body in chunks (RFC 9112, 7.1). ``trailers`` is called with the trailers, without the line that ends them."""

    def __init__(self, sink: Sink, trailers: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._trailers = trailers
        self._pending = bytearray()
        self._left = 0
        # The reader of the next bytes.
        self._read: Callable[[], bool] = self._read_size
        self.received = 0
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Take the bytes that belong to the body. Returns the bytes behind its end. Raises gunicorn's chunk errors."""
        self._pending += data
        while not self.complete and self._read():
            pass
        if not self.complete:
            return b""
        rest, self._pending = bytes(self._pending), bytearray()
        return rest

    def _read_size(self) -> bool:
        line = self._line(MAX_SIZE_LINE)
        if line is None:
            return False
        digits, semicolon, extensions = line.partition(b";")
        digits = digits.rstrip(b" \t") if semicolon else digits
        if not _DIGITS.fullmatch(digits) or len(digits) > MAX_SIZE_DIGITS:
            raise InvalidChunkSize(digits[:32])
        if semicolon and not _EXTENSIONS.fullmatch(b";" + extensions):
            raise InvalidChunkExtension("invalid chunk extension")
        self._left = int(digits, 16)
        self._read = self._read_data if self._left else self._read_trailers
        return True

    def _read_data(self) -> bool:
        if not self._pending:
            return False
        mine = bytes(self._pending[: self._left])
        del self._pending[: len(mine)]
        self._left -= len(mine)
        self.received += len(mine)
        self._sink(mine)
        if not self._left:
            self._read = self._read_end
        return True

    def _read_end(self) -> bool:
        """The line feed behind the data of a chunk."""
        end = bytes(self._pending[:2])
        if not b"\r\n".startswith(end):
            raise ChunkMissingTerminator(end)
        if len(end) < 2:
            return False
        del self._pending[:2]
        self._read = self._read_size
        return True

    def _read_trailers(self) -> bool:
        if self._pending.startswith(b"\r\n"):
            del self._pending[:2]
            self.complete = True
            return False
        end = self._pending.find(END_OF_HEAD)
        if end < 0:
            if len(self._pending) > MAX_TRAILER_BYTES:
                raise LimitRequestHeaders("limit request trailer section size")
            return False
        if end > MAX_TRAILER_BYTES:
            raise LimitRequestHeaders("limit request trailer section size")
        self._trailers(bytes(self._pending[:end]))
        del self._pending[: end + 4]
        self.complete = True
        return False

    def _line(self, longest: int) -> bytes | None:
        """The next line without its end; None while the end is missing. Raises InvalidChunkSize for a long line."""
        end = self._pending.find(b"\r\n", 0, longest + 2)
        if end >= 0:
            line = bytes(self._pending[:end])
            del self._pending[: end + 2]
            return line
        if len(self._pending) > longest + 1 or self._pending.count(b"\n"):
            raise InvalidChunkSize(bytes(self._pending[:32]))
        return None
