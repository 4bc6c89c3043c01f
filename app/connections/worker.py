"""gunicorn's thread worker, with threads for work only: a connection that waits for a client or an answer has none.

A connection is in one of the modules of this package, which all run in the main thread, or in a thread, or gunicorn
keeps it alive between two requests. Written against gunicorn 27.0.1. TLS and HTTP/2 in this process are not
supported: they belong to a proxy.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from socket import MSG_DONTWAIT
from threading import local
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from app.connections.bounds import ConnectionBounds
from app.connections.intake import Intake
from app.connections.lingering_close import LingeringClose
from app.connections.outbox import Outbox, Outgoing
from app.connections.parking import CAN_PARK, ParkedBody, Parking, Resume
from app.connections.plain_stream import PlainStream
from app.connections.refusals import Refusal, RequestLine, refusal_of
from app.connections.watch import Watch

# Seconds that a stopping process waits for the rest of a request.
STOP_SECONDS = 2.0
# Seconds without accepting, when the process has no descriptor left.
NO_DESCRIPTOR_SECONDS = 0.05
# Connections that are accepted in one turn of the loop. Another process may be waiting for the next one.
MOST_ACCEPTED = 8


class Detached(StopIteration):  # gunicorn takes it for a connection that has no further request
    """The connection has left its thread."""


class ConnectionWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker whose threads get complete requests and never wait for a client."""

    wsgi: Callable[..., Iterable[bytes]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._here = local()
        # A full process ends a connection (_make_room); gunicorn itself would stop accepting.
        self._most = self.cfg.worker_connections
        self.worker_connections = self._most + self.cfg.threads + 1

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.watch = Watch(self.poller)
        self.intake = Intake(self.watch, self.cfg, self.begin_request, self._refuse, self._close)
        self.outbox = Outbox(self.watch, self._close)
        self.parking = Parking(self.watch, self._resume, self._close)
        self.lingering_close = LingeringClose(self.watch, self._close)
        self._application = self.wsgi
        self.wsgi = self._answer

    def bound(self, bounds: ConnectionBounds) -> None:
        """Use these bounds from now on."""
        self.intake.bounds = bounds
        self.outbox.stall_seconds = bounds.response_stall_seconds
        self.outbox.most_bytes = bounds.max_unsent_bytes

    # A connection's way

    def accept(self, listener: Any) -> None:
        for _ in range(MOST_ACCEPTED):
            if not self._accept_one(listener):
                return

    def _accept_one(self, listener: Any) -> bool:
        """Accept a connection. False when there is none, or when it has left already."""
        self._make_room()
        before = self.nr_conns
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self.log.error("connection not accepted", extra={"action": "connection", "error": str(error)})
            self.intake.drop_oldest()
            time.sleep(NO_DESCRIPTOR_SECONDS)
            return False
        return bool(self.nr_conns > before)

    def enqueue_req(self, conn: Any) -> None:
        """Read the next request of a connection."""
        self.intake.begin(conn)

    def begin_request(self, conn: Any) -> None:
        """Give a connection whose request is complete to a thread."""
        super().enqueue_req(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        self._here.conn = conn
        outgoing = Outgoing(conn.sock)
        try:
            keep = super().handle_request(req, _Client(conn, outgoing))
        finally:
            self._here.conn = None
            conn.rest = outgoing.rest
        return keep

    def finish_request(self, conn: Any, fs: Any) -> None:
        try:
            self._go_on(conn, fs)
        except Exception:
            self.log.exception("connection failed", extra={"action": "connection"})
            self._close(conn)

    def _go_on(self, conn: Any, fs: Any) -> None:
        """Pass a connection on after its thread: to parking, a plain stream, the outbox, or its next request."""
        parked, conn.parked = getattr(conn, "parked", None), None
        plain, conn.plain = getattr(conn, "plain", None), None
        rest, conn.rest = getattr(conn, "rest", None), None
        if parked is not None:
            self.parking.park(conn, parked)
        elif plain is not None:
            source, head = plain
            PlainStream(self.watch, conn, source, head, self.lingering_close.begin).begin()
        elif rest is not None:
            self.outbox.send(conn, rest, lambda: self._settle(conn, fs))
        else:
            self._settle(conn, fs)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer an error outside the application."""
        refusal = refusal_of(exc)
        if refusal.status >= 500:
            path = getattr(req, "path", "")
            self.log.error("request failed", extra={"action": "request", "path": path}, exc_info=exc)
        line = RequestLine(getattr(req, "method", None) or "", getattr(req, "path", None) or "")
        with suppress(OSError):
            client.send(refusal.response(line), MSG_DONTWAIT)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Call the application, or its continuation after a wait. Raises Detached when the request must wait."""
        conn = self._here.conn
        resume, conn.resume = getattr(conn, "resume", None), None
        environ[CAN_PARK] = True
        environ.update(getattr(conn, "notes", None) or {})
        conn.notes = None
        body: Iterable[bytes] = (resume or self._application)(environ, start_response)
        if isinstance(body, ParkedBody):
            conn.parked = body
            raise Detached
        return body

    def _resume(self, conn: Any, resume: Resume) -> None:
        conn.resume = resume
        super().enqueue_req(conn)

    def _settle(self, conn: Any, fs: Any) -> None:
        """After the answer was sent, wait for another request or end the connection."""
        if not fs.cancelled() and fs.exception() is None and fs.result():
            super().finish_request(conn, fs)
        else:
            self.lingering_close.begin(conn)

    def _refuse(self, conn: Any, refusal: Refusal, line: RequestLine) -> None:
        status, detail = refusal.status, refusal.detail
        self.log.info("request refused", extra={"action": "request", "status": status, "detail": detail})
        with suppress(OSError):
            conn.sock.send(refusal.response(line))
        self.lingering_close.begin(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def _make_room(self) -> None:
        """End one of too many connections: an unfinished request, an idle connection, or a slow reader."""
        if self.nr_conns < self._most or self.intake.drop_oldest():
            return
        if self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.watch.remove(conn.sock)
            self._close(conn)
        else:
            self.outbox.drop_oldest()

    # The loop

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(self.watch.patience(timeout))
        self.watch.run_due()

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            self.intake.give_up_within(STOP_SECONDS)


class _Client:
    """The attributes of a connection that gunicorn needs to answer a request."""

    def __init__(self, conn: Any, sock: Outgoing) -> None:
        self.sock = sock
        self.client = conn.client
        self.server = conn.server
