"""One response that follows a log. It has two doors: a socket handed to the hub, or an ordinary generator."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from math import inf
from threading import Lock

from app.domain import sse
from app.domain.cursor import Cursor
from app.relay.book import Book
from app.relay.follow import Render
from app.relay.hub import HEARTBEAT, LAST_CHUNK, Hub
from app.relay.places import Places
from app.relay.reader import Closed, OnClose
from app.relay.strands import Strands
from app.relay.tail import chunk

RECEIVE = 65_536


class StreamBroken(ConnectionResetError):
    """The stream ended before its log did. Servers treat it as a lost connection: no clean end, no error page."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the stream ended before its log did")


class Streams:
    """Opens streams, within the limits."""

    def __init__(self, hub: Hub, places: Places) -> None:
        self.hub = hub
        self._places = places

    def open(
        self,
        key: str,
        after: Cursor,
        *,
        user: str,
        opening: bytes = b"",
        expires_at: float = inf,
        render: Render | None = None,
        book: Book | None = None,
        on_close: OnClose | None = None,
    ) -> EventStream:
        """A response body that follows the log ``key`` past ``after``, as bytes of an event stream.

        ``opening`` comes first, at once. ``render`` gives each event the form of another protocol; it is called in
        the hub's thread, in order, and must not block. ``expires_at`` (seconds since 1970) breaks the stream.
        ``on_close`` is told once how the stream ended, also in the hub's thread.
        Raises Overloaded and TooManyStreams.
        """
        place = self._places.take(user)
        return EventStream(
            self.hub,
            key,
            after,
            opening=opening,
            expires_at=expires_at,
            render=render,
            book=book,
            on_close=on_close,
            release=lambda: self._places.leave(user, place),
        )

    def wait(self, key: str, after: Cursor, timeout: float) -> bool:
        """Block until the log has an event past ``after``; False after ``timeout`` seconds, or when it never will."""
        ours, theirs = socket.socketpair()
        with ours:
            self.hub.adopt(theirs, key, after, notices=False)
            ours.settimeout(timeout)
            try:
                while (data := ours.recv(RECEIVE)) == HEARTBEAT:
                    pass
            except TimeoutError:
                return False
            return data not in (b"", LAST_CHUNK)


class EventStream:
    """The body of a response. As an iterable it works under every WSGI server and holds a thread while it runs.

    A server that can part with a socket calls ``adopt`` instead (app.relay.worker). With Flask:
    ``Response(stream, headers=stream.headers, direct_passthrough=True)``.
    """

    headers = sse.HEADERS

    def __init__(
        self,
        hub: Hub,
        key: str,
        after: Cursor,
        *,
        opening: bytes = b"",
        expires_at: float = inf,
        render: Render | None = None,
        strands: Strands | None = None,
        book: Book | None = None,
        on_close: OnClose | None = None,
        heartbeat: bytes = sse.HEARTBEAT,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.hub = hub
        self._key = key
        self._after = after
        self._opening = opening
        self._expires_at = expires_at
        self._render = render
        self._strands = strands
        self._book = book
        self._on_close = on_close
        self._heartbeat = heartbeat
        self._release = release
        self._begun = False
        self._lock = Lock()

    def adopt(self, sock: socket.socket, head: bytes, on_close: OnClose | None = None) -> None:
        """Hand ``sock`` to the hub: ``head`` is sent first, then this body, chunked. ``sock`` is emptied."""
        self._begin()
        prefix = head + chunk(self._opening) if self._opening else head
        self._give(sock, prefix, on_close)

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces. Raises StreamBroken when the stream must end before its log has."""
        self._begin()
        ours, theirs = socket.socketpair()
        self._give(theirs, b"", None)
        return _flow(ours, self._opening)

    def close(self) -> None:
        """Give the place back when the stream was never begun; WSGI servers call this at the end of a response."""
        with self._lock:
            begun, self._begun = self._begun, True
        if not begun:
            self._release()

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self.close()

    def _begin(self) -> None:
        with self._lock:
            if self._begun:
                raise RuntimeError("a stream runs once")
            self._begun = True

    def _give(self, sock: socket.socket, prefix: bytes, extra: OnClose | None) -> None:
        self.hub.adopt(
            sock,
            self._key,
            self._after,
            prefix,
            book=self._book,
            expires_at=self._expires_at,
            render=self._render,
            strands=self._strands,
            heartbeat=self._heartbeat,
            on_close=_farewell(self._release, self._on_close, extra),
        )


def _farewell(release: Callable[[], None], *told: OnClose | None) -> OnClose:
    def farewell(closed: Closed) -> None:
        release()
        for tell in told:
            if tell is not None:
                tell(closed)

    return farewell


def _flow(ours: socket.socket, opening: bytes) -> Iterator[bytes]:
    with ours:
        if opening:
            yield opening
        yield from _dechunked(ours)


def _dechunked(ours: socket.socket) -> Iterator[bytes]:
    """What the hub sends, without the framing of HTTP."""
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
