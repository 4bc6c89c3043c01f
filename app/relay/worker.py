"""The gunicorn worker that can hand a socket over: an ordinary gthread worker, except for event streams.

A view returns an EventStream as the body of its response. This worker sees it, builds the head as gunicorn would,
gives the client's socket to the hub and forgets the connection: no thread waits, nothing is written or closed here,
and the connection is not counted against ``worker_connections``. Where that cannot be done (HTTP/1.0, TLS or HTTP/2
in this process) the body is iterated like any other. Written against gunicorn 27.0.1.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from threading import local
from time import monotonic
from typing import Any, NamedTuple

from gunicorn.http.wsgi import Response
from gunicorn.workers.gthread import ThreadWorker

from app.relay.hub import DRAIN_SECONDS, running
from app.relay.reader import Closed
from app.relay.stream import EventStream

# How long a thread may keep the interpreter while another one wants it. The hub has short turns and many of them; with
# Python's 5 ms it came too late under a load of ordinary requests (median delay 36 ms instead of 24).
SWITCH_SECONDS = 0.0005
# How long the rest of a request's body may take before its stream begins.
BODY_SECONDS = 1.0
_TICKET = re.compile(r"(?<=[?&]ticket=)[^&\s]+")
_LOGGED = ("REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL", "PATH_INFO", "QUERY_STRING",
           "HTTP_REFERER", "HTTP_USER_AGENT")  # fmt: skip


class Detached(StopIteration):
    """The socket is the hub's now. gunicorn takes it for a connection that has no further request."""


class StreamWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """``gunicorn --worker-class app.relay.worker.StreamWorker``"""

    wsgi: Callable[..., Iterable[bytes]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._here = local()

    def init_process(self) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        super().init_process()

    # A request

    def handle(self, conn: Any) -> Any:
        # Most often the request has come with its connection. gunicorn would ask a selector made for the question.
        if not conn.initialized and not conn.data_ready:
            conn.data_ready = _has_come(conn.sock)
        return super().handle(conn)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        app: Callable[..., Iterable[bytes]] = self.wsgi
        self.wsgi = partial(self._serve, app)

    def handle_request(self, req: Any, conn: Any) -> Any:
        self._here.conn = conn
        try:
            return super().handle_request(req, conn)
        finally:
            self._here.conn = None

    def _serve(
        self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        """The application, wrapped. Raises Detached instead of returning when the socket was handed over."""
        body = app(environ, start_response)
        _redact(environ)
        if isinstance(body, EventStream):
            conn, response = getattr(self._here, "conn", None), start_response.__self__
            if conn is not None and _can_detach(conn, response):
                self._hand_over(conn, response, body, environ)
                raise Detached
        return body

    def _hand_over(self, conn: Any, response: Any, body: EventStream, environ: dict[str, Any]) -> None:
        conn.parser.finish_body(deadline=monotonic() + BODY_SECONDS)
        response.force_close()
        lines = [*response.default_headers(), *(f"{name}: {value}\r\n" for name, value in response.headers), "\r\n"]
        line = AccessLine(self.log, response.status, tuple(map(environ.get, _LOGGED)))
        body.adopt(conn.sock, "".join(lines).encode("latin-1"), line.write if self.log.access_log_enabled else None)
        conn.detached = True

    def finish_request(self, conn: Any, fs: Any) -> None:
        if getattr(conn, "detached", False):
            self.nr_conns -= 1
        else:
            super().finish_request(conn, fs)

    # The end

    def run(self) -> None:
        super().run()
        self._drain(DRAIN_SECONDS)
        for hub in running():
            hub.drained.wait(2 * DRAIN_SECONDS)
            hub.close()

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            self._drain(DRAIN_SECONDS)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self._drain(DRAIN_SECONDS)

    def handle_quit(self, sig: int, frame: Any) -> None:
        self._drain(0.0)
        super().handle_quit(sig, frame)

    def _drain(self, seconds: float) -> None:
        """Break the streams; the clients go on elsewhere."""
        for hub in running():
            hub.drain(seconds)


class AccessLine(NamedTuple):
    """What the access log will need when the stream ends: the request's environment is too big to keep for that."""

    log: Any
    status: str
    values: tuple[str | None, ...]

    def write(self, closed: Closed) -> None:
        """Write the line, with what was sent and how long it took."""
        environ = {name: value for name, value in zip(_LOGGED, self.values, strict=True) if value is not None}
        self.log.access(_Told(self.status, closed.bytes), (), environ, timedelta(seconds=closed.seconds))


class _Told(NamedTuple):
    """As much of a response as an access log looks at."""

    status: str
    sent: int
    headers: tuple[()] = ()


def _has_come(sock: socket.socket) -> bool:
    """Whether there is something to read, or never will be."""
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def _can_detach(conn: Any, response: Any) -> bool:
    # A plain HTTP/1.1 connection and a body in chunks; the response of HTTP/2 is another class.
    return (
        type(response) is Response
        and response.chunked
        and response.status_code == 200
        and type(conn.sock) is socket.socket
    )


def _redact(environ: dict[str, Any]) -> None:
    """A ticket in the address must not reach a log. The application has read the request by now."""
    if "ticket=" in environ.get("QUERY_STRING", ""):
        environ["QUERY_STRING"] = _TICKET.sub("***", "?" + environ["QUERY_STRING"])[1:]
        environ["RAW_URI"] = _TICKET.sub("***", environ["RAW_URI"])
