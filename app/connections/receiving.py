"""One read from a socket that does not block."""

from __future__ import annotations

import socket


def receive(sock: socket.socket, size: int) -> bytes | None:
    """Up to ``size`` bytes; None when none are there; empty when the other side has ended or the connection is lost."""
    try:
        return sock.recv(size)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
