"""A web server that follows a script, for replies that a real server sends only in trouble."""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import orjson

from app.web.views import ASSETS


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: Message
    body: bytes
    at: float = field(default_factory=time.monotonic)


Answer = Callable[["Handler"], None]

# A page reports each piece of a stream that its code has been handed.
REPORT = """
const request = globalThis.fetch;
globalThis.fetch = async (...given) => {
  const response = await request(...given);
  const stream = response.headers.get('X-Stream');
  if (stream === null) return response;
  const {body} = response;
  const getReader = body.getReader.bind(body);
  body.getReader = (...options) => {
    const reader = getReader(...options);
    const read = reader.read.bind(reader);
    reader.read = async () => {
      const piece = await read();
      if (!piece.done) globalThis.call('received', stream, piece.value.length);
      return piece;
    };
    return reader;
  };
  return response;
};
"""
_streams = itertools.count()


def events(*entries: tuple[str | None, dict[str, Any]]) -> bytes:
    """Frames as the service writes them."""
    return b"".join(
        b"data: " + orjson.dumps(body) + (f"\nid: {cursor}".encode() if cursor else b"") + b"\n\n"
        for cursor, body in entries
    )


def stream(*pieces: bytes | float, end: str = "clean") -> Answer:
    """Status 200 and the pieces; a number is a pause in seconds. ``end``: clean, broken (no last chunk) or open."""

    def answer(handler: Handler) -> None:
        name = str(next(_streams))
        kind = {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"}
        handler.head(200, {**kind, "X-Stream": name})
        for piece in pieces:
            if isinstance(piece, float):
                time.sleep(piece)
            else:
                handler.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if end == "clean":
            handler.send(b"0\r\n\r\n")
        elif end == "open":
            handler.linger(60)
        else:
            # A browser throws away what it has not handed out yet when a connection breaks.
            handler.await_receipt(name, sum(len(piece) for piece in pieces if isinstance(piece, bytes)))
            handler.cut()

    return answer


def status(code: int, body: Any = None, **headers: str) -> Answer:
    """A short reply. ``Retry_After="2"`` is the header Retry-After."""

    def answer(handler: Handler) -> None:
        content = b"" if body is None else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        length = {} if code == 204 else {"Content-Length": str(len(content)), "Content-Type": "application/json"}
        handler.head(code, {**length, **named})
        handler.send(content)

    return answer


def poll(*entries: tuple[str | None, dict[str, Any]], state: str = "running", delay: float = 0.0) -> Answer:
    """The answer of a poll with these events."""
    body = {"status": state, "events": [{"id": cursor, **event} for cursor, event in entries]}

    def answer(handler: Handler) -> None:
        time.sleep(delay)
        status(200, body)(handler)

    return answer


def nothing(handler: Handler) -> None:
    """Break the connection without a reply."""
    handler.cut()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path.startswith("/static/"):
            asset = ASSETS[self.path.removeprefix("/static/")]
            body = asset.read()
            self.head(200, {"Content-Type": asset.content_type, "Content-Length": str(len(body))})
            self.send(body)
        elif self.path == "/blank":
            page = b"<!doctype html><title>blank</title><link rel=icon href=data:,><div id=announcer></div>"
            self.head(200, {"Content-Type": "text/html", "Content-Length": str(len(page))})
            self.send(page)
        else:
            self._play()

    def do_POST(self) -> None:
        self._play()

    def do_PUT(self) -> None:
        self._play()

    def do_PATCH(self) -> None:
        self._play()

    def do_DELETE(self) -> None:
        self._play()

    def _play(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.script.next(Asked(self.command, self.path, self.headers, body))(self)

    def head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response_only(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, piece: bytes) -> None:
        self.wfile.write(piece)
        self.wfile.flush()

    def linger(self, seconds: float) -> None:
        """Send nothing until the client disconnects, or for ``seconds``."""
        self.connection.settimeout(seconds)
        with suppress(OSError):
            self.connection.recv(1)

    def await_receipt(self, stream: str, size: int) -> None:
        """Wait until the code of the page has been handed so many bytes of a stream, or the client disconnects."""
        deadline = time.monotonic() + 60
        while self.server.received[stream] < size and time.monotonic() < deadline:
            if select.select([self.connection], [], [], 0.01)[0]:
                return

    def cut(self) -> None:
        """End the connection, also in the middle of a body."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Script:
    """The next replies, and the requests so far. The last reply of a script is repeated."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.set([], [])

    def set(self, answers: Sequence[Answer], polls: Sequence[Answer]) -> None:
        self._answers, self._polls = list(answers), list(polls)
        self.asked: list[Asked] = []

    def next(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            is_poll = "after=" in asked.path and not asked.path.startswith("/feed")
            script = self._polls if self._polls and is_poll else self._answers
            return script.pop(0) if len(script) > 1 else script[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    script: Script
    received: Counter[str]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A disconnected browser is not an error here."""


class ScriptedServer:
    """``with ScriptedServer() as server: server.play(stream(…), status(204))``.

    ``calls``: functions that a page can call, ``await call(name, …)``.
    """

    def __enter__(self) -> ScriptedServer:
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.script = Script()
        self._server.received = Counter()
        self.calls: dict[str, Callable[..., object]] = {"received": self._received}
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def play(self, *answers: Answer, polls: Sequence[Answer] = ()) -> None:
        """Set the replies to the next requests. ``polls``: replies to polls, when they need a script of their own."""
        self._server.script.set(answers, polls)

    def _received(self, stream: str, size: int) -> None:
        """Note that the code of a page has been handed bytes of a stream (REPORT)."""
        self._server.received[stream] += size

    @property
    def asked(self) -> list[Asked]:
        return self._server.script.asked
