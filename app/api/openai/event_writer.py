"""Events of the Responses stream as frames, numbered from the beginning of the log. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

# A reader that has no event yet is behind this number.
NOTHING = -1


@dataclass(frozen=True, slots=True)
class DeltaFrame:
    """The fixed bytes of a delta event: before its number, between number and text, and behind the text."""

    head: bytes
    middle: bytes
    tail: bytes

    @classmethod
    def of(cls, name: str, fields: dict[str, Any], *, logprobs: bool) -> DeltaFrame:
        """The frame of the event ``name`` with these fields; ``logprobs``: with an empty list of them."""
        head = b'event: %b\ndata: {"type":"%b","sequence_number":' % ((name.encode(),) * 2)
        middle = b"," + orjson.dumps(fields)[1:-1] + b',"delta":"'
        return cls(head, middle, b'","logprobs":[]}\nid: ' if logprobs else b'"}\nid: ')


class EventWriter:
    """Numbers each event and writes those past ``after``. ``retry`` stands in front of the first that is written."""

    __slots__ = ("_after", "_out", "_retry", "number")

    def __init__(self, after: int, retry: bytes) -> None:
        self._after = after
        self._retry = retry
        self._out: list[bytes] = []
        # The number of the next event.
        self.number = 0

    @property
    def writes(self) -> bool:
        """True when the next event is past ``after``."""
        return self.number > self._after

    def emit(self, kind: str, **fields: Any) -> None:
        """Append an event of this kind."""
        n = self.number
        self.number = n + 1
        if n > self._after:
            data = orjson.dumps({"type": kind, "sequence_number": n, **fields})
            self._out.append(self._first(b"event: %b\ndata: %b\nid: %d\n\n" % (kind.encode(), data, n)))

    def delta(self, frame: DeltaFrame, escaped: bytes) -> bytes:
        """The next event as a delta, not appended yet. ``escaped`` is its text as JSON writes it between the quotes."""
        n = self.number
        self.number = n + 1
        if n <= self._after:
            return b""
        event = b"%b%d%b%b%b%d\n\n" % (frame.head, n, frame.middle, escaped, frame.tail, n)
        return self._first(event) if self._retry else event

    def append(self, event: bytes) -> None:
        """Append an event from ``delta``."""
        self._out.append(event)

    def take(self) -> bytes:
        """The frames since the last call."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _first(self, event: bytes) -> bytes:
        retry, self._retry = self._retry, b""
        return retry + event
