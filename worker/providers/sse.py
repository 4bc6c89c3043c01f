"""Server-sent events, read incrementally and pure: bytes in, events out, however the bytes are split.

Follows the WHATWG rules (CR, LF and CRLF end a line; comments; several ``data`` lines; a leading BOM), with two
additions for chat upstreams: the field ``error`` of old llama.cpp servers is kept as an event named ``error``, and
an event that the end of the body leaves without its blank line is still delivered by ``close``.
"""

from __future__ import annotations

from typing import NamedTuple

# Far above any real chunk (a whole answer fits), far below what would hurt a process.
MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """``name`` is empty unless the stream gave one. ``data`` is not yet decoded, lines joined with LF."""

    name: str
    data: bytes


class EventTooLarge(ValueError):
    """One event of the stream is larger than MAX_EVENT_BYTES."""


class SseParser:
    """One stream's parser. Feed it reads in order; close it at the end of the body.

    ``between_events`` tells whether the next byte begins a new event.
    """

    __slots__ = ("_after_cr", "_data", "_fresh", "_name", "_partial", "_size", "between_events")

    def __init__(self) -> None:
        self._partial: list[bytes] = []  # of a line whose end has not come; a list, so that drips stay linear
        self._data: list[bytes] = []
        self._name = ""
        self._size = 0
        self._after_cr = False
        self._fresh = True
        self.between_events = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events completed by this read. Raises EventTooLarge."""
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
            chunk = b"".join((*self._partial, chunk))
            self._partial.clear()
            self._size = sum(map(len, self._data))
        last = chunk[-1]
        lines = chunk.splitlines()
        if last == 13:
            self._after_cr = True
        elif last != 10:
            self._keep(lines.pop())
        events = self._dispatch(lines)
        self.between_events = last == 10 and not (self._data or self._name)
        return events

    def close(self) -> list[SseEvent]:
        """The event the body ended in, if there is one."""
        lines = [b"".join(self._partial), b""] if self._partial else [b""]
        self._partial.clear()
        return self._dispatch(lines)

    def _keep(self, part: bytes) -> None:
        self.between_events = False
        self._partial.append(part)
        self._grow(len(part))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of the upstream is larger than {MAX_EVENT_BYTES} bytes")

    def _dispatch(self, lines: list[bytes]) -> list[SseEvent]:
        if self._fresh and lines:
            self._fresh = False
            lines[0] = lines[0].removeprefix(_BOM)
        events: list[SseEvent] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data: "):
                data.append(line[6:])
                self._grow(len(line))
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
            self._grow(len(line))
        elif field == b"error":
            self._name = "error"
            self._data.append(value)
            self._grow(len(line))
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
