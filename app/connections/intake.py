"""Connections whose next request is arriving: read within deadlines, and handed over when the request is complete."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from app.connections.bounds import SLOWEST_BYTES_PER_SECOND, ConnectionBounds
from app.connections.ready_request import ReadyRequest
from app.connections.receiving import receive
from app.connections.refusals import Refusal, RequestLine, refusal_of
from app.connections.request_assembly import RequestAssembly
from app.connections.watch import Timer, Watch

RECEIVE_BYTES = 65_536
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class IncomingRequest:
    """One connection whose next request is arriving, with its deadline."""

    __slots__ = ("_assembly", "_intake", "_started", "_timer", "conn")

    def __init__(self, intake: Intake, conn: Any) -> None:
        self._intake = intake
        self.conn = conn
        self._assembly = RequestAssembly(conn.parser, intake.bounds, intake.longest_line, self._send_continue)
        self._started = monotonic()
        self._timer: Timer | None = None

    def begin(self, held: bytes) -> None:
        """Read the bytes that are there already, and wait for the rest."""
        if (held and self._feed(held)) or self._receive():
            return
        intake = self._intake
        intake.watch.add(self.conn.sock, selectors.EVENT_READ, self._on_readable, self.drop)
        self._wait_until(self._started + intake.bounds.request_header_seconds)

    def give_up_at(self, when: float) -> None:
        """Move the deadline to ``when``, unless it is earlier: the process ends."""
        if self._timer is not None and self._timer.when > when:
            self._wait_until(when, final=True)

    def drop(self) -> None:
        """End the connection without an answer."""
        self._leave()
        self._assembly.close()
        self._intake.dropped(self.conn)

    def refuse(self, refusal: Refusal) -> None:
        """End the connection with an answer."""
        self._leave()
        self._assembly.close()
        self._intake.refused(self.conn, refusal, self._assembly.line)

    def _on_readable(self) -> None:
        self._receive()

    def _receive(self) -> bool:
        """Take one piece from the socket. True when the connection has left the intake."""
        data = receive(self.conn.sock, RECEIVE_BYTES)
        if data is None:
            return False
        if data:
            return self._feed(data)
        # The client has ended its half. A request that has begun gets an answer.
        if self._assembly.is_begun:
            self.refuse(Refusal(400, "The request ended before it was complete."))
        else:
            self.drop()
        return True

    def _feed(self, data: bytes) -> bool:
        """Add bytes to the request. True when the connection has left the intake."""
        try:
            if not self._assembly.feed(data):
                return False
        except Exception as error:
            self.refuse(refusal_of(error))
            return True
        self._leave()
        self._assembly.finish()
        self._intake.complete(self.conn)
        return True

    def _send_continue(self) -> None:
        with suppress(OSError):
            self.conn.sock.send(CONTINUE, socket.MSG_DONTWAIT)

    def _on_deadline(self) -> None:
        until = self._started + self._allowed_seconds()
        if monotonic() < until:
            self._wait_until(until)
        elif not self._assembly.is_begun:
            self.drop()
        else:
            self.refuse(self._too_slow())

    def _allowed_seconds(self) -> float:
        """Seconds that head or body may take. A body that keeps the slowest pace has more."""
        bounds = self._intake.bounds
        if not self._assembly.has_head:
            return bounds.request_header_seconds
        return bounds.request_body_seconds + self._assembly.body_bytes / SLOWEST_BYTES_PER_SECOND

    def _too_slow(self) -> Refusal:
        bounds = self._intake.bounds
        if self._assembly.has_head:
            name, part, seconds = "REQUEST_BODY_SECONDS", "body", bounds.request_body_seconds
        else:
            name, part, seconds = "REQUEST_HEADER_SECONDS", "header", bounds.request_header_seconds
        return Refusal(408, f"The {part} of the request did not arrive within {seconds:g} seconds ({name}).", name)

    def _wait_until(self, when: float, *, final: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._intake.watch.at(when, self.drop if final else self._on_deadline, self.drop)

    def _leave(self) -> None:
        """Read no more from the socket."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._intake.watch.remove(self.conn.sock)
        self._intake.incoming.pop(self.conn, None)


class Intake:
    """All connections whose next request is arriving, the oldest first.

    ``complete``, ``refused`` and ``dropped`` are called with a connection when it leaves the intake.
    """

    def __init__(
        self,
        watch: Watch,
        cfg: Any,
        complete: Callable[[Any], None],
        refused: Callable[[Any, Refusal, RequestLine], None],
        dropped: Callable[[Any], None],
    ) -> None:
        self.watch = watch
        self.bounds = ConnectionBounds()
        self.longest_line: int = cfg.limit_request_line
        self.incoming: dict[Any, IncomingRequest] = {}
        self.complete = complete
        self.refused = refused
        self.dropped = dropped
        self._cfg = cfg

    def begin(self, conn: Any) -> None:
        """Read the next request of a connection."""
        conn.sock.setblocking(False)
        if conn.parser is None:
            conn.initialized = conn.data_ready = True
            conn.parser = ReadyRequest(self._cfg, conn.client)
        incoming = self.incoming[conn] = IncomingRequest(self, conn)
        incoming.begin(conn.parser.unreader.take_buffered())

    def drop_oldest(self) -> bool:
        """End the connection that has been here longest. False when there is none."""
        for incoming in self.incoming.values():
            incoming.drop()
            return True
        return False

    def give_up_within(self, seconds: float) -> None:
        """End what has not arrived within so many seconds: the process ends."""
        for incoming in list(self.incoming.values()):
            incoming.give_up_at(monotonic() + seconds)
