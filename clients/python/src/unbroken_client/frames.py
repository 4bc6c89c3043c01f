"""The frames of text/event-stream, out of bytes that are cut anywhere."""

from __future__ import annotations

import re
from typing import NamedTuple

from unbroken_client.errors import TooLarge

_LINE_END = re.compile(rb"\r\n|\r|\n")


class Frame(NamedTuple):
    """One event: its data, and its id where it has one."""

    data: bytes
    id: str | None


class FrameParser:
    """Parses a stream. Comments, which are the heartbeats, and other fields than data and id are left out."""

    def __init__(self, largest: int) -> None:
        """``largest``: bytes of an event, beyond which TooLarge is raised."""
        self._largest = largest
        self._line = bytearray()
        self._after_cr = False
        self._data: list[bytes] = []
        self._size = 0
        self._id: str | None = None

    def push(self, chunk: bytes) -> list[Frame]:
        """The frames that end in the next piece of the stream."""
        # A CR ends a line; the LF of a CRLF may come with the next piece.
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        frames = []
        *ends, rest = _LINE_END.split(chunk)
        for end in ends:
            self._line += end
            line = bytes(self._line)
            self._line.clear()
            if line:
                self._field(line)
            elif self._data:
                frames.append(self._frame())
        self._line += rest
        if self._size + len(self._line) > self._largest:
            raise TooLarge(f"an event has more than {self._largest} bytes")
        return frames

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == b"id":
            self._id = value.decode(errors="replace")

    def _frame(self) -> Frame:
        frame = Frame(b"\n".join(self._data), self._id)
        self._data, self._size, self._id = [], 0, None
        return frame
