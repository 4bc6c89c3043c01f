"""One raw connection to Redis for subscriptions. RESP2, parsed by hiredis, without a client library."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import hiredis
from redis.connection import parse_url

from app.eventlog.tls import tls_context

# Dialling happens in the pool; a server that accepts but does not answer must not hold a thread for long.
DIAL_SECONDS = 2.0
RECEIVE = 262_144
# A SUBSCRIBE of all channels at once would be one very long command.
BATCH = 500
_NOTHING = object()


class ConnectionLost(Exception):
    """The connection to Redis has ended, or carried an unexpected reply."""


class PubSubConnection:
    """A connected, authenticated socket. Not thread-safe; after ``dial`` nothing blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._encrypted = isinstance(sock, ssl.SSLSocket)
        self._parser = hiredis.Reader(notEnoughData=_NOTHING)
        self._unsent = b""
        # One buffer for all reads: the allocator would map and unmap a new one of this size each time.
        self._buffer = bytearray(RECEIVE)

    @classmethod
    def dial(cls, url: str, timeout: float = DIAL_SECONDS) -> PubSubConnection:
        """Connect, and wait for the reply to PING. Blocks ``timeout`` seconds a step. Raises ConnectionLost."""
        where: dict[str, Any] = parse_url(url)
        try:
            sock = _connect(where, timeout)
        except (OSError, ssl.SSLError) as error:
            raise ConnectionLost(str(error)) from error
        connection = cls(sock)
        try:
            connection._greet(where)
            sock.setblocking(False)
        except (OSError, ConnectionLost) as error:
            sock.close()
            raise ConnectionLost(str(error)) from error
        return connection

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._sock.fileno()

    @property
    def unsent(self) -> bool:
        """True while commands wait for room in the socket."""
        return bool(self._unsent)

    def subscribe(self, channels: Iterable[bytes]) -> None:
        """Send SUBSCRIBE for ``channels``. Redis confirms each of them."""
        self._command(b"SUBSCRIBE", list(channels))

    def unsubscribe(self, channels: Iterable[bytes]) -> None:
        """Send UNSUBSCRIBE for ``channels``."""
        self._command(b"UNSUBSCRIBE", list(channels))

    def flush(self) -> None:
        """Send the commands that wait, as far as the socket takes them. Raises ConnectionLost."""
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def receive(self) -> list[list[bytes]]:
        """All replies that can be read without a wait, each ``[kind, channel, value]``. Raises ConnectionLost."""
        self._feed()
        gets = self._parser.gets
        replies = []
        while (reply := gets()) is not _NOTHING:
            if type(reply) is not list:
                raise ConnectionLost(f"Redis sent {reply!r}")
            replies.append(reply)
        return replies

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _command(self, name: bytes, channels: list[bytes]) -> None:
        for first in range(0, len(channels), BATCH):
            self._unsent += _packed(name, *channels[first : first + BATCH])
        self.flush()

    def _feed(self) -> None:
        try:
            size = self._receive()
            # TLS may hold more than the socket shows.
            while self._encrypted and size and self._sock.pending():  # type: ignore[attr-defined]
                size = self._receive()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        if not size:
            raise ConnectionLost("Redis closed the connection")

    def _receive(self) -> int:
        size = self._sock.recv_into(self._buffer)
        # The stub is too narrow: any buffer is accepted.
        self._parser.feed(self._buffer, 0, size)  # type: ignore[arg-type]
        return size

    def _greet(self, where: dict[str, Any]) -> None:
        if where.get("password"):
            self._call(b"AUTH", *(part.encode() for part in (where.get("username"), where["password"]) if part))
        self._call(b"PING")

    def _call(self, *words: bytes) -> None:
        self._sock.sendall(_packed(*words))
        while (reply := self._parser.gets()) is _NOTHING:
            self._feed()
        if isinstance(reply, Exception):
            raise ConnectionLost(str(reply))


def _packed(*words: bytes) -> bytes:
    # The stub allows only tuples of one element.
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return command


def _connect(where: dict[str, Any], timeout: float) -> socket.socket:
    if path := where.get("path"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(path)
        return sock
    host = where.get("host") or "localhost"
    sock = socket.create_connection((host, where.get("port") or 6379), timeout)
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    context = tls_context(where)
    return context.wrap_socket(sock, server_hostname=host) if context else sock
