"""A wait for a log, until its next event or until its end, without a thread."""

from __future__ import annotations

import socket
from math import inf
from typing import Literal

from app.connections.plain_stream import Dechunker
from app.connections.receiving import receive
from app.domain.cursor import Cursor
from app.relay.event_stream import EventStream

RECEIVE = 65_536
# The byte that the hub writes for each event, and the byte it writes as a heartbeat.
EVENT = b"!"
SILENCE = b"\n"


def mark(cursor: Cursor, payload: bytes) -> bytes:
    """Render an event as one byte, whatever it is."""
    return EVENT


class StreamWait:
    """A wait for one stream. It is a Wait (app.connections.parking)."""

    def __init__(self, stream: EventStream, until: Literal["event", "end"], deadline: float = inf) -> None:
        """Begin ``stream``, whose heartbeat must be SILENCE. ``deadline`` is a time of the monotonic clock."""
        self._source: socket.socket = stream.carry()
        self._source.setblocking(False)
        self._until = until
        self._chunks = Dechunker()
        self.deadline = deadline
        self.has_event = False

    @property
    def complete(self) -> bool:
        """True when the log has ended and its end was received."""
        return self._chunks.complete

    def fileno(self) -> int:
        """The descriptor that becomes readable when the hub has written."""
        return self._source.fileno()

    def take(self) -> bool:
        """Read the bytes that the hub has written. True when the wait is over."""
        data = receive(self._source, RECEIVE)
        if data is None:
            return False
        self.has_event = EVENT in self._chunks.feed(data) or self.has_event
        return not data or self.complete or (self.has_event and self._until == "event")

    def close(self) -> None:
        """End the stream and release its place."""
        self._source.close()
