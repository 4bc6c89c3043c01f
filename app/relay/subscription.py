"""One raw connection to Redis that only listens. RESP2, parsed by hiredis; no client library in between."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import hiredis
from redis.connection import parse_url

from app.eventlog.encryption import encryption

# Dialling happens in the pool; a server that accepts but does not answer must not hold a thread for long.
DIAL_SECONDS = 2.0
RECEIVE = 262_144
# A SUBSCRIBE of all channels at once would be one very long command.
BATCH = 500
_NOTHING = object()


class ConnectionLost(Exception):
    """The connection to Redis has ended, or says something that was not expected."""


class Subscription:
    """A connected, authenticated socket. Not thread-safe; after ``dial`` nothing blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._encrypted = isinstance(sock, ssl.SSLSocket)
        self._parser = hiredis.Reader(notEnoughData=_NOTHING)
        self._unsent = b""
        # One for all: a fresh buffer of this size for each read would be mapped and unmapped by the allocator.
        self._buffer = bytearray(RECEIVE)

    @classmethod
    def dial(cls, url: str, timeout: float = DIAL_SECONDS) -> Subscription:
        """Connect, and see the server answer. Blocks up to ``timeout`` for each step; raises ConnectionLost."""
        where: dict[str, Any] = parse_url(url)
        try:
            sock = _connect(where, timeout)
        except (OSError, ssl.SSLError) as error:
            raise ConnectionLost(str(error)) from error
        subscription = cls(sock)
        try:
            subscription._greet(where)
            sock.setblocking(False)
        except (OSError, ConnectionLost) as error:
            sock.close()
            raise ConnectionLost(str(error)) from error
        return subscription

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._sock.fileno()

    @property
    def unsent(self) -> bool:
        """Whether commands wait for the socket to take them."""
        return bool(self._unsent)

    def subscribe(self, channels: Iterable[bytes]) -> None:
        """Ask for ``channels``; each will be confirmed."""
        self._command(b"SUBSCRIBE", list(channels))

    def unsubscribe(self, channels: Iterable[bytes]) -> None:
        """Ask for them no more."""
        self._command(b"UNSUBSCRIBE", list(channels))

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it. Raises ConnectionLost."""
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def receive(self) -> list[list[bytes]]:
        """All replies that can be read at once: ``[kind, channel, what]``. Raises ConnectionLost."""
        self._feed()
        gets = self._parser.gets
        replies = []
        while (reply := gets()) is not _NOTHING:
            if type(reply) is not list:
                raise ConnectionLost(f"Redis said {reply!r}")
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
        # The stub has it wrong: any buffer will do.
        self._parser.feed(self._buffer, 0, size)  # type: ignore[arg-type]
        return size

    def _greet(self, where: dict[str, Any]) -> None:
        if where.get("password"):
            self._ask(b"AUTH", *(part.encode() for part in (where.get("username"), where["password"]) if part))
        self._ask(b"PING")

    def _ask(self, *words: bytes) -> None:
        self._sock.sendall(_packed(*words))
        while (reply := self._parser.gets()) is _NOTHING:
            self._feed()
        if isinstance(reply, Exception):
            raise ConnectionLost(str(reply))


def _packed(*words: bytes) -> bytes:
    # The stub knows only tuples of one.
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
    context = encryption(where)
    return context.wrap_socket(sock, server_hostname=host) if context else sock
