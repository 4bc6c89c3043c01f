"""The gunicorn worker that can hand a socket over: an ordinary gthread worker, except for event streams.

A view returns an EventStream as the body of its response. This worker recognises it, builds the head as gunicorn
would, hands the client's socket to the hub and drops the connection: no thread waits, nothing is written or closed
here, and the connection is not counted against MAX_CONNECTIONS. A client that speaks HTTP/1.0 gets its stream without
chunks from the main thread. Written against gunicorn 27.0.1.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from gunicorn.http.wsgi import Response

from app.connections.parking import is_plain
from app.connections.worker import ConnectionWorker, Detached
from app.relay.connections import DRAIN_SECONDS
from app.relay.event_stream import EventStream
from app.relay.hub import running
from app.relay.ready_return import STATUS, plain_environ, ready_head, with_headers
from app.relay.returns import Notes, Opened, Opener, Returns
from app.relay.stream_connection import Closed, OnClose

# Seconds that a thread may keep the interpreter while another one waits for it. The hub has many short turns. With
# Python's 5 ms the median delay of a token was 36 ms instead of 24 under a load of ordinary requests.
SWITCH_SECONDS = 0.0005
_TICKET = re.compile(r"(?<=[?&]ticket=)[^&\s]+")
_LOGGED = ("REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL", "PATH_INFO", "QUERY_STRING",
           "HTTP_REFERER", "HTTP_USER_AGENT")  # fmt: skip


class StreamWorker(ConnectionWorker):
    """``gunicorn --worker-class app.relay.gunicorn_worker.StreamWorker``"""

    alive: bool
    returns: Returns | None = None

    def init_process(self) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        super().init_process()

    def return_by(self, opener: Opener) -> None:
        """Have streams of readers that come back opened together from now on."""
        if not os.environ.get("SCRIPT_NAME"):
            self.returns = Returns(opener, self._settle_returns, self._hand_on)

    # A request

    def begin_request(self, conn: Any) -> None:
        if self.returns is not None:
            environ = plain_environ(conn)
            if environ is not None and self.returns.offer(conn, environ):
                return
        super().begin_request(conn)

    def _hand_on(self, conn: Any, notes: Notes) -> None:
        """Give a request to a thread after all."""
        conn.notes = notes
        super().begin_request(conn)

    def _settle_returns(self, opened: list[tuple[Any, Opened]]) -> None:
        """Hand the sockets of a batch over. For the thread of ``returns``."""
        head = ready_head()
        for conn, (stream, headers) in opened:
            try:
                conn.parser.finish_body()
                stream.adopt(conn.sock, with_headers(head, headers), self._line_of(conn), later=True)
            except Exception:
                self.log.exception("connection failed", extra={"action": "connection"})
        self.method_queue.defer(self._forget, len(opened))

    def _line_of(self, conn: Any) -> OnClose | None:
        if not self.log.access_log_enabled:
            return None
        environ = plain_environ(conn) or {}
        return AccessLine(self.log, STATUS, tuple(map(environ.get, _LOGGED))).write

    def _forget(self, count: int) -> None:
        """So many connections belong to the hub now, each after a request."""
        self.nr_conns -= count
        self.nr += count
        if self.alive and self.nr >= self.max_requests:
            self.log.info("worker ends after its requests", extra={"action": "worker"})
            self.alive = False

    def load_wsgi(self) -> None:
        super().load_wsgi()
        app: Callable[..., Iterable[bytes]] = self.wsgi
        self.wsgi = partial(self._serve, app)

    def _serve(
        self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        """The application, wrapped. Raises Detached instead of returning when the socket was handed over."""
        body = app(environ, start_response)
        _redact(environ)
        if isinstance(body, EventStream):
            conn, response = self._here.conn, start_response.__self__
            if _can_detach(conn, response):
                self._hand_over(conn, response, body, environ)
                raise Detached
            if _is_old(conn, response):
                response.force_close()
                conn.plain = (body.carry(self._access_line(response, environ)), _head(response) + body.opening)
                raise Detached
        return body

    def _hand_over(self, conn: Any, response: Any, body: EventStream, environ: dict[str, Any]) -> None:
        conn.parser.finish_body()
        response.force_close()
        body.adopt(conn.sock, _head(response), self._access_line(response, environ))
        conn.detached = True

    def _access_line(self, response: Any, environ: dict[str, Any]) -> OnClose | None:
        if not self.log.access_log_enabled:
            return None
        return AccessLine(self.log, response.status, tuple(map(environ.get, _LOGGED))).write

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
        """Break the streams. The clients resume at another process."""
        for hub in running():
            hub.drain(seconds)


class AccessLine(NamedTuple):
    """Values of a request for its access log line at the end of the stream. The whole environment is too large."""

    log: Any
    status: str
    values: tuple[str | None, ...]

    def write(self, closed: Closed) -> None:
        """Write the line, with the bytes that were sent and the seconds it took."""
        environ = {name: value for name, value in zip(_LOGGED, self.values, strict=True) if value is not None}
        self.log.access(_LoggedResponse(self.status, closed.bytes), (), environ, timedelta(seconds=closed.seconds))


class _LoggedResponse(NamedTuple):
    """The attributes of a response that an access log reads."""

    status: str
    sent: int
    headers: tuple[()] = ()


def _head(response: Any) -> bytes:
    lines = [*response.default_headers(), *(f"{name}: {value}\r\n" for name, value in response.headers), "\r\n"]
    return "".join(lines).encode("latin-1")


def _can_detach(conn: Any, response: Any) -> bool:
    # A plain HTTP/1.1 connection and a body in chunks; the response of HTTP/2 is another class.
    return bool(type(response) is Response and response.chunked and response.status_code == 200 and is_plain(conn.sock))


def _is_old(conn: Any, response: Any) -> bool:
    """True when the client speaks HTTP/1.0, which has no chunks."""
    return type(response) is Response and response.req.version < (1, 1) and is_plain(conn.sock)


def _redact(environ: dict[str, Any]) -> None:
    """Remove a ticket from the address, so that it reaches no log. The application has read the request by now."""
    if "ticket=" in environ.get("QUERY_STRING", ""):
        environ["QUERY_STRING"] = _TICKET.sub("***", "?" + environ["QUERY_STRING"])[1:]
        environ["RAW_URI"] = _TICKET.sub("***", environ["RAW_URI"])
