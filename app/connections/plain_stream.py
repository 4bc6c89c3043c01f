"""Streams of HTTP/1.0 clients: the hub writes chunks, these clients get the bytes without them. No thread is held."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from typing import Any

from app.connections.receiving import receive
from app.connections.watch import Watch

PIECE = 65_536


class Dechunker:
    """Removes the framing of chunks, as the hub writes it. Pure."""

    def __init__(self) -> None:
        self._buffer = b""
        # True when the last chunk has arrived.
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Add bytes. Returns the content of the chunks that are complete now."""
        buffer, pieces, at = self._buffer + data, [], 0
        while not self.complete and (line := buffer.find(b"\r\n", at)) >= 0:
            size = int(buffer[at:line], 16)
            stop = line + size + 4
            if len(buffer) < stop:
                break
            self.complete = not size
            pieces.append(buffer[line + 2 : stop - 2])
            at = stop
        self._buffer = buffer[at:]
        return b"".join(pieces)


class PlainStream:
    """One such stream. The hub writes to the other end of ``source``."""

    def __init__(
        self, watch: Watch, conn: Any, source: socket.socket, head: bytes, ended: Callable[[Any], None]
    ) -> None:
        self._watch = watch
        self._conn = conn
        self._source = source
        self._rest = head
        self._ended = ended
        self._chunks = Dechunker()

    def begin(self) -> None:
        """Send the head, then the stream."""
        self._conn.sock.setblocking(False)
        self._source.setblocking(False)
        self._watch.add(self._source, selectors.EVENT_READ, self._on_news, self._end)
        self._watch.add(self._conn.sock, selectors.EVENT_READ, self._on_client, self._end)
        self._flush()

    def _on_news(self) -> None:
        data = receive(self._source, PIECE)
        if data is None:
            return
        if not data:
            self._end()
            return
        self._rest += self._chunks.feed(data)
        self._flush()

    def _on_client(self) -> None:
        """Discard bytes of the client. Its end is the end of the stream."""
        if receive(self._conn.sock, PIECE) == b"":
            self._end()

    def _flush(self) -> None:
        try:
            sent = self._conn.sock.send(self._rest) if self._rest else 0
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._end()
            return
        self._rest = self._rest[sent:]
        if self._rest:
            # The hub waits while its bytes are not read, and closes the stream after a while.
            self._watch.remove(self._source)
            self._watch.remove(self._conn.sock)
            self._watch.add(self._conn.sock, selectors.EVENT_WRITE, self._go_on, self._end)
        elif self._chunks.complete:
            self._end()

    def _go_on(self) -> None:
        self._watch.remove(self._conn.sock)
        self._watch.add(self._source, selectors.EVENT_READ, self._on_news, self._end)
        self._watch.add(self._conn.sock, selectors.EVENT_READ, self._on_client, self._end)
        self._flush()

    def _end(self) -> None:
        """End the connection, which ends the body, whole or not: HTTP/1.0 has no other end."""
        self._watch.remove(self._source)
        self._watch.remove(self._conn.sock)
        self._source.close()
        self._ended(self._conn)
