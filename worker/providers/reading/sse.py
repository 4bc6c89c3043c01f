"""Server-sent events, read incrementally and pure: bytes in, events out, however the bytes are split.

Follows the WHATWG rules (CR, LF and CRLF end a line; comments; several ``data`` lines; a leading BOM), with two
additions for chat upstreams: the field ``error`` of old llama.cpp servers is kept as an event named ``error``, and
an event that the end of the body leaves without its blank line is still delivered by ``close``.
"""

from __future__ import annotations

from typing import NamedTuple

# Far above any real chunk, far below what would hurt a process.
EVENT_BYTES = 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """``name`` is empty unless the stream gave one. ``data`` is not yet decoded, lines joined with LF."""

    name: str
    data: bytes


class SseParser:
    """One stream's parser. Feed it reads in order; close it at the end of the body.

    ``between_events`` tells whether the next byte begins a new event. ``overflown`` is set by an event, or a single
    line, of more than ``most`` bytes; what came before it has been given out, and nothing more will be.
    """

    __slots__ = ("_after_cr", "_data", "_fresh", "_most", "_name", "_partial", "_size", "between_events", "overflown")

    def __init__(self, most: int = EVENT_BYTES) -> None:
        self._most = most
        self.overflown = False
        self._partial = bytearray()  # a line whose end has not come
        self._data: list[bytes] = []
        self._name = ""
        self._size = 0
        self._after_cr = False
        self._fresh = True
        self.between_events = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events completed by this read."""
        if self.overflown:
            return []
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 10:
                chunk = chunk[1:]
        if not chunk:
            return []
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        if self._partial:
            chunk = bytes(self._partial) + chunk
            self._partial.clear()
        last = chunk[-1]
        lines = chunk.splitlines()
        rest = b""
        if last == 13:
            self._after_cr = True
        elif last != 10:
            rest = lines.pop()
        events = self._dispatch(lines)
        if rest and not self.overflown:
            self._keep(rest)
        self.between_events = last == 10 and not (self._data or self._name)
        return events

    def close(self) -> list[SseEvent]:
        """The event that the end of the body left without its blank line, if there is one."""
        if self.overflown:
            return []
        lines = [bytes(self._partial), b""] if self._partial else [b""]
        self._partial.clear()
        return self._dispatch(lines)

    def _keep(self, part: bytes) -> None:
        self.between_events = False
        self._partial += part
        if self._size + len(self._partial) > self._most:
            self._overflow()

    def _overflow(self) -> None:
        self.overflown = True
        self._partial.clear()
        self._data.clear()

    def _dispatch(self, lines: list[bytes]) -> list[SseEvent]:
        events: list[SseEvent] = []
        data = self._data
        for line in lines:
            if self._size + len(line) > self._most:
                self._overflow()
                break
            if self._fresh:
                self._fresh = False
                line = line.removeprefix(_BOM)
            if line.startswith(b"data: "):
                data.append(line[6:])
                self._size += len(line)
            elif line:
                self._field(line)
            elif data:
                events.append(SseEvent(self._name, data[0] if len(data) == 1 else b"\n".join(data)))
                data.clear()
                self._name = ""
                self._size = 0
            else:
                self._name = ""
        return events

    def _field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(line)
        elif field == b"error":
            self._name = "error"
            self._data.append(value)
            self._size += len(line)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
