"""One response that follows a log. It leaves by a socket that is handed to the hub, or as an ordinary generator."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Lock

from app.domain import sse
from app.relay.encoded_log import chunk
from app.relay.hub import Hub
from app.relay.stream_connection import Closed, OnClose, StreamRequest
from app.relay.stream_quota import StreamQuota

RECEIVE = 65_536


class StreamBroken(ConnectionResetError):
    """The stream ended before its log did. Servers treat it as a lost connection: no clean end, no error page."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the stream ended before its log did")


class Streams:
    """Opens streams, within the limits."""

    def __init__(self, hub: Hub, quota: StreamQuota) -> None:
        self.hub = hub
        self._quota = quota

    def open(self, request: StreamRequest, *, user: str, opening: bytes = b"") -> EventStream:
        """A response body that sends the requested log as an event stream, and ``opening`` before it.

        Raises Overloaded and TooManyStreams.
        """
        place = self._quota.acquire(user)
        return EventStream(self.hub, request, opening, lambda: self._quota.release(user, place))


class EventStream:
    """The body of a response. As an iterable it works under every WSGI server and holds a thread while it runs.

    A server that can hand a socket over calls ``adopt`` instead (app.relay.gunicorn_worker). With Flask:
    ``Response(stream, headers=stream.headers, direct_passthrough=True)``. ``release`` is called exactly once: when the
    stream has ended, when it could not begin, or when it was closed before it began.
    """

    __slots__ = ("__weakref__", "_begun", "_lock", "_on_close", "_opening", "_release", "_request", "hub")

    headers = sse.HEADERS

    def __init__(
        self, hub: Hub, request: StreamRequest, opening: bytes = b"", release: Callable[[], None] = lambda: None
    ) -> None:
        self.hub = hub
        # None when it has been handed over: an open stream costs no more than what its end needs.
        self._request: StreamRequest | None = request
        self._opening = opening
        self._release: Callable[[], None] | None = release
        self._on_close = request.on_close
        self._begun = False
        self._lock = Lock()

    def adopt(self, sock: socket.socket, head: bytes, report: OnClose | None = None, *, later: bool = False) -> None:
        """Hand ``sock`` to the hub, which sends ``head`` and then this body in chunks; ``sock`` is detached.

        With ``later``, this thread sends nothing itself.
        """
        self._begin()
        prefix = head + chunk(self._opening) if self._opening else head
        self._opening = b""
        self._hand_over(sock, prefix, report, later=later)

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces. Raises StreamBroken when the stream must end before its log has."""
        return _flow(self.carry(), self._opening)

    def carry(self, report: OnClose | None = None) -> socket.socket:
        """A socket on which this body arrives in chunks and without its opening, for readers without a thread."""
        self._begin()
        try:
            ours, theirs = socket.socketpair()
        except BaseException:
            self._release_once()
            raise
        self._hand_over(theirs, b"", report)
        return ours

    @property
    def opening(self) -> bytes:
        """The bytes that come first."""
        return self._opening

    def close(self) -> None:
        """Release the place when the stream was never begun; WSGI servers call this at the end of a response."""
        with self._lock:
            begun, self._begun = self._begun, True
        if not begun:
            self._release_once()

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self.close()

    def _begin(self) -> None:
        with self._lock:
            if self._begun:
                raise RuntimeError("a stream runs once")
            self._begun = True

    def _hand_over(self, sock: socket.socket, prefix: bytes, report: OnClose | None, *, later: bool = False) -> None:
        request, self._request = self._request, None
        assert request is not None, "a stream is handed over once"
        try:
            followed = replace(request, on_close=self._end, report=_both(request.report, report))
            self.hub.adopt(sock, followed, prefix, later=later)
        except BaseException:
            sock.close()
            self._release_once()
            raise

    def _end(self, closed: Closed) -> None:
        try:
            self._release_once()
        finally:
            if self._on_close is not None:
                self._on_close(closed)

    def _release_once(self) -> None:
        with self._lock:
            release, self._release = self._release, None
        if release is not None:
            release()


def _both(first: OnClose | None, second: OnClose | None) -> OnClose | None:
    if first is None or second is None:
        return first or second

    def call(closed: Closed) -> None:
        try:
            first(closed)
        finally:
            second(closed)

    return call


def _flow(ours: socket.socket, opening: bytes) -> Iterator[bytes]:
    with ours:
        if opening:
            yield opening
        yield from _dechunked(ours)


def _dechunked(ours: socket.socket) -> Iterator[bytes]:
    """The bytes that the hub sends, without the framing of HTTP."""
    buffer = b""
    while data := ours.recv(RECEIVE):
        buffer += data
        pieces, at, ended = _pieces(buffer)
        buffer = buffer[at:]
        if pieces:
            yield b"".join(pieces)
        if ended:
            return
    raise StreamBroken


def _pieces(buffer: bytes) -> tuple[list[bytes], int, bool]:
    """The whole chunks in ``buffer``, where the rest begins, and whether the last one was the end."""
    pieces: list[bytes] = []
    at = 0
    while (line := buffer.find(b"\r\n", at)) >= 0:
        size = int(buffer[at:line], 16)
        stop = line + size + 4
        if len(buffer) < stop:
            break
        if not size:
            return pieces, stop, True
        pieces.append(buffer[line + 2 : stop - 2])
        at = stop
    return pieces, at, False
