"""The lingering close: a close at once could take the last response from a client that is still sending."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from app.connections.receiving import receive
from app.connections.watch import Timer, Watch

# A side that closes reads on for a while (RFC 9112, 9.6): seconds, and bytes.
LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024 * 1024


class LingeringClose:
    """Ends connections: shuts down the sending side, and waits a little for the client's end."""

    def __init__(self, watch: Watch, closed: Callable[[Any], None]) -> None:
        self._watch = watch
        self._closed = closed

    def begin(self, conn: Any) -> None:
        """End a connection."""
        sock = conn.sock
        try:
            sock.setblocking(False)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._closed(conn)
            return
        _Lingering(self._watch, conn, self._closed).begin()


class _Lingering:
    """One connection that this side has ended."""

    __slots__ = ("_closed", "_conn", "_left", "_timer", "_watch")

    def __init__(self, watch: Watch, conn: Any, closed: Callable[[Any], None]) -> None:
        self._watch = watch
        self._conn = conn
        self._closed = closed
        self._left = LINGER_BYTES
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Read and discard until the client ends."""
        if self._is_over():
            self._closed(self._conn)
            return
        self._watch.add(self._conn.sock, selectors.EVENT_READ, self._on_readable, self._close)
        self._timer = self._watch.at(monotonic() + LINGER_SECONDS, self._close, self._close)

    def _on_readable(self) -> None:
        if self._is_over():
            self._close()

    def _is_over(self) -> bool:
        data = receive(self._conn.sock, 262_144)
        if data is None:
            return False
        self._left -= len(data)
        return not data or self._left <= 0

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._watch.remove(self._conn.sock)
        self._closed(self._conn)
