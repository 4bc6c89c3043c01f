"""Raw HTTP over one socket: the bytes of a request as they are, and what comes back."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE_SECONDS = 20.0
_PIECE = 65_536


@dataclass(frozen=True)
class Reply:
    """One response: its status, its body, and whether the server closes the connection behind it."""

    status: int
    body: bytes
    closes: bool


class Wire:
    """A connection that is opened again when the server has closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._socket: socket.socket | None = None
        self._rest = b""

    def ask(self, request: bytes) -> Reply:
        """Send a request and read its response."""
        fresh = self._socket is None
        try:
            return self._ask(request)
        except (ConnectionError, EOFError):
            self.close()
            if fresh:
                raise
            # The server has closed the connection since the last request.
            return self._ask(request)

    def ask_to_the_end(self, request: bytes) -> list[Reply]:
        """Send bytes on a connection of their own, and read every response until the server closes it."""
        self.close()
        try:
            self._send(request)
            assert self._socket is not None
            self._socket.shutdown(socket.SHUT_WR)
            replies = []
            while not replies or not replies[-1].closes:
                try:
                    replies.append(self._read())
                except (ConnectionError, EOFError):
                    break
            return replies
        finally:
            self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def _ask(self, request: bytes) -> Reply:
        self._send(request)
        reply = self._read()
        if reply.closes:
            self.close()
        return reply

    def _send(self, request: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, PATIENCE_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(request)
        except ConnectionError:
            # A refusal may have come before the end of the request.
            if self._socket is None:
                raise

    def _read(self) -> Reply:
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, size = int(first.split()[1]), int(fields.get("content-length", "0"))
        while len(self._rest) < size:
            self._more()
        body, self._rest = self._rest[:size], self._rest[size:]
        return Reply(status, body, fields.get("connection", "").lower() == "close")

    def _more(self) -> None:
        assert self._socket is not None
        piece = self._socket.recv(_PIECE)
        if not piece:
            raise EOFError("the server has closed the connection")
        self._rest += piece
