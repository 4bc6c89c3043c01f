"""A small HTTP server that behaves as a request's `X-Behave` header demands and records every request."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EVENTS = 6
# Seconds that the server waits for the report that an event was received, before it ends the stream.
HEARD_SECONDS = 20


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    size: int


class Upstream:
    """Answers 200 with a JSON description of the request, unless the request has an `X-Behave` header."""

    def __init__(self, group: str, port: int = 0) -> None:
        self.group = group
        self.received: list[Received] = []
        self.heard = threading.Semaphore(0)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            upstream.received.append(Received(self.command, self.path, headers, len(body)))
            getattr(self, f"_{headers.get('x-behave', 'describe')}")(upstream.received[-1])

        do_POST = do_PATCH = do_DELETE = do_PUT = do_GET

        def _describe(self, received: Received) -> None:
            self._answer(200, {"group": upstream.group, "path": received.path, "headers": received.headers})

        def _refuse(self, received: Received) -> None:
            self._answer(413, {"title": "the application's own words"})

        def _leave(self, received: Received) -> None:
            """Close the connection after the request has been read, without a response."""
            self.close_connection = True

        def _silence(self, received: Received) -> None:
            """Begin a stream and send no event for 30 s."""
            self._begin()
            time.sleep(30)

        def _events(self, received: Received) -> None:
            """Send each event when the one before it was received. Without that report the stream is cut."""
            self._begin()
            for number in range(EVENTS):
                self._send_event(number)
                if not upstream.heard.acquire(timeout=HEARD_SECONDS):
                    self.close_connection = True
                    return
            self.wfile.write(b"0\r\n\r\n")

        def _truncate(self, received: Received) -> None:
            """Send the events without a last chunk, as a process does that is killed."""
            self._begin()
            for number in range(EVENTS):
                self._send_event(number)
            # A reset would discard data that the proxy has not read yet.
            time.sleep(0.5)
            self.close_connection = True

        def _send_event(self, number: int) -> None:
            self._chunk(b": ka\n")
            self._chunk(f'data: {{"number": {number}}}\nid: 1-{number}\n\n'.encode())

        def _begin(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Cache-Control", "no-cache, no-transform")
            if "x-without-hint" not in self.headers:
                self.send_header("X-Accel-Buffering", "no")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

        def _answer(self, status: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
