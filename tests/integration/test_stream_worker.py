"""A real gunicorn with the worker class that gives sockets to the hub."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM
from typing import Any

import pytest

from app.domain.cursor import Cursor
from dev.server import free_port
from tests.fakes.relay import Shelf, Watcher, Writer, client_of
from tests.stack import until

ROOT = Path(__file__).resolve().parents[2]


class Gunicorn:
    """One gunicorn, its log, and the clients of one test."""

    def __init__(self, url: str, directory: Path, stack: ExitStack) -> None:
        self.url = url
        self.shelf = Shelf(directory / "shelf")
        self.shelf.directory.mkdir()
        self.log = directory / "log"
        # An empty file of settings: gunicorn would find the service's own by their name.
        self.settings = directory / "settings.py"
        self.settings.touch()
        self.port = free_port()
        self._stack = stack

    def start(self, *options: str, **environment: str) -> None:
        # The log is a file: a pipe without a reader would fill up.
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "gunicorn", "--config", str(self.settings), "--no-control-socket",
                    "--bind", f"127.0.0.1:{self.port}",
                    "--worker-class", "app.relay.gunicorn_worker.StreamWorker", "--threads", "4",
                    "--access-logfile", "-",
                    *options, "tests.fakes.relay_app:app",
                ],
                cwd=ROOT,
                env={**os.environ, "REDIS_URL": self.url, "SHELF": str(self.shelf.directory), **environment},
                stdout=log,
                stderr=log,
            )  # fmt: skip
        self._stack.callback(self.kill)
        deadline = time.monotonic() + 90
        while not self.answers():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            return bool(self.get("/stats"))
        except OSError:
            return False

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def writer(self, key: str = "g") -> Writer:
        return Writer(self.url, self.shelf, key)

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), 60)
        self._stack.callback(sock.close)
        return sock

    def watch(self, path: str = "/stream/g", sock: socket.socket | None = None) -> tuple[str, Watcher]:
        """Request a stream. Returns the head of the response, and a watcher of its body."""
        sock = sock or self.connect()
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n".encode())
        return answer(sock)

    def until_open(self, count: int) -> Any:
        deadline = time.monotonic() + 30
        while (stats := self.get("/stats"))["open"] != count:
            assert time.monotonic() < deadline, stats
            time.sleep(0.02)
        return stats


def answer(sock: socket.socket) -> tuple[str, Watcher]:
    received = b""
    while b"\r\n\r\n" not in received:
        data = sock.recv(65536)
        assert data, received
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return head.decode("latin-1"), Watcher(sock, body)


@pytest.fixture
def gunicorn(redis_url: str, tmp_path: Path) -> Iterator[Gunicorn]:
    with ExitStack() as stack:
        yield Gunicorn(redis_url, tmp_path, stack)


def test_a_stream_leaves_its_thread_and_is_served_to_its_clean_end(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    writer = gunicorn.writer()
    writer.begin()
    head, watcher = gunicorn.watch()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    for line in (
        "Content-Type: text/event-stream; charset=utf-8", "Cache-Control: no-cache, no-transform", "Connection: close",
        "X-Accel-Buffering: no", "X-Request-ID: r-1", "Transfer-Encoding: chunked",
    ):  # fmt: skip
        assert f"\r\n{line}" in head
    writer.tokens(5)
    writer.end()
    events = list(watcher.events())
    assert json.loads(events[0].data) == {"type": "open"}
    assert [event.id for event in events[1:]] == writer.ids()
    assert watcher.complete
    assert watcher.sock.recv(1) == b""


def test_many_streams_need_four_threads_and_everybody_gets_everything_once(gunicorn: Gunicorn) -> None:
    gunicorn.start("--worker-connections", "50")
    writer = gunicorn.writer()
    writer.begin()
    watchers = [gunicorn.watch()[1] for _ in range(1000)]
    stats = gunicorn.until_open(1000)
    assert stats["threads"] < 20
    assert gunicorn.get("/plain"), "ordinary requests are still answered"
    for _ in range(10):
        writer.tokens(3)
        time.sleep(0.02)
    writer.end()
    for watcher in watchers:
        assert watcher.rest() == writer.ids()
        assert watcher.complete
        watcher.sock.close()
    # The server closes a connection a moment after the client.
    until(lambda: gunicorn.get("/stats")["descriptors"] < 60)
    gunicorn.until_open(0)


def test_connections_handed_over_are_not_counted_against_the_worker(gunicorn: Gunicorn) -> None:
    gunicorn.start("--worker-connections", "10")
    gunicorn.writer().begin()
    for _ in range(60):
        _, watcher = gunicorn.watch()
        watcher.take(1)
        watcher.sock.close()
    gunicorn.until_open(0)
    assert gunicorn.get("/plain")


def test_a_kept_alive_connection_can_become_a_stream(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    writer = gunicorn.writer()
    writer.begin()
    sock = gunicorn.connect()
    for _ in range(3):
        sock.sendall(b"POST /plain HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi")
        received = b""
        while b'"hi"' not in received:
            received += sock.recv(65536)
        assert b"keep-alive" in received
    _, watcher = gunicorn.watch(sock=sock)
    writer.end()
    assert watcher.rest() == writer.ids()
    assert watcher.complete


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 40000\r\n\r\n" + "x" * 40000,
        "Transfer-Encoding: chunked\r\n\r\n9c40\r\n" + "x" * 40000 + "\r\n0\r\n\r\n",
    ],
)
def test_a_body_nobody_read_does_not_spoil_the_stream(gunicorn: Gunicorn, framing: str, expect: str) -> None:
    gunicorn.start()
    writer = gunicorn.writer()
    writer.begin()
    sock = gunicorn.connect()
    sock.sendall(f"POST /stream/g HTTP/1.1\r\nHost: t\r\n{expect}{framing}".encode())
    if expect:
        wanted, received = b"HTTP/1.1 100 Continue\r\n\r\n", b""
        while len(received) < len(wanted) and (data := sock.recv(len(wanted) - len(received))):
            received += data
        assert received == wanted
    head, watcher = answer(sock)
    assert "200 OK" in head
    writer.end()
    assert watcher.rest() == writer.ids()
    assert watcher.complete


def test_bytes_sent_without_being_asked_do_not_cut_the_end_off(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    writer = gunicorn.writer()
    writer.begin()
    sock = gunicorn.connect()
    sock.sendall(b"GET /stream/g HTTP/1.1\r\nHost: t\r\n\r\nGET /plain HTTP/1.1\r\nHost: t\r\n\r\n")
    _, watcher = answer(sock)
    assert watcher.take(1) == ["1-0"]
    sock.sendall(b"more" * 1000)
    writer.tokens(1000, size=200)
    writer.end()
    assert watcher.rest() == writer.ids(Cursor(1, 0))
    assert watcher.complete


def test_an_old_client_gets_the_same_without_chunks(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    writer = gunicorn.writer()
    writer.begin()
    writer.tokens(3)
    writer.end()
    sock = gunicorn.connect()
    sock.sendall(b"GET /stream/g HTTP/1.0\r\n\r\n")
    received = b""
    while data := sock.recv(65536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert re.findall(rb"\nid: (\S+)\n\n", body) == [name.encode() for name in writer.ids()]


def test_head_has_no_body_and_opens_no_stream(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    gunicorn.writer().begin()
    sock = gunicorn.connect()
    sock.sendall(b"HEAD /stream/g HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    received = b""
    while data := sock.recv(65536):
        received += data
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.endswith(b"\r\n\r\n")
    assert gunicorn.get("/stats")["open"] == 0


def test_waiting_returns_with_the_next_event_or_when_time_is_up(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    writer = gunicorn.writer()
    writer.begin()
    assert gunicorn.get("/wait/g?after=0-0") == {"there": True}
    begun = time.monotonic()
    assert gunicorn.get("/wait/g?after=1-0&seconds=0.3") == {"there": False}
    assert 0.3 <= time.monotonic() - begun < 20
    writer.end()
    assert gunicorn.get("/wait/g?after=1-0") == {"there": True}
    # The end is sent even to a client whose cursor is the cursor of the end.
    assert gunicorn.get("/wait/g?after=1-1") == {"there": True}


def test_a_user_has_only_so_many_streams_over_all_processes(gunicorn: Gunicorn) -> None:
    gunicorn.start("--workers", "2", MAX_STREAMS_PER_USER="3")
    gunicorn.writer().begin()
    watchers = [gunicorn.watch()[1] for _ in range(3)]
    assert "429" in gunicorn.watch()[0]
    assert "200 OK" in gunicorn.watch("/stream/g?user=other")[0]
    watchers[0].sock.close()
    until(lambda: "200 OK" in gunicorn.watch()[0], step=0.05)
    keys = client_of(gunicorn.url).keys("test:streams:*")
    assert keys
    assert all(client_of(gunicorn.url).ttl(key) != -1 for key in keys)


def test_the_access_log_tells_of_a_stream_at_its_end_without_its_ticket(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    writer = gunicorn.writer()
    writer.begin()
    _, watcher = gunicorn.watch("/stream/g?after=0-0&ticket=secret-thing&x=1")
    gunicorn.get("/plain?ticket=secret-other")
    assert "/stream/g" not in gunicorn.log.read_text()
    writer.end()
    watcher.rest()
    line = '"GET /stream/g?after=0-0&ticket=***&x=1 HTTP/1.1" 200 '
    until(lambda: line in gunicorn.log.read_text(), what=line)
    assert "secret" not in gunicorn.log.read_text()


# The end


def test_sigterm_breaks_the_streams_within_a_second_and_the_process_leaves(gunicorn: Gunicorn) -> None:
    gunicorn.start("--workers", "2", "--preload")
    gunicorn.writer().begin()
    watchers = [gunicorn.watch()[1] for _ in range(100)]
    for watcher in watchers:
        watcher.take(1)
    idle = gunicorn.connect()
    idle.sendall(b"GET /plain HTTP/1.1\r\nHost: t\r\n\r\n")
    begun = time.monotonic()
    gunicorn.process.send_signal(SIGTERM)
    for watcher in watchers:
        assert watcher.rest() == []
        assert not watcher.complete
    # The hub breaks the streams; gunicorn itself would wait 30 s for them.
    assert time.monotonic() - begun < 15
    assert gunicorn.process.wait(30) == 0
    assert "Traceback" not in gunicorn.log.read_text()


def test_sigterm_breaks_streams_of_old_clients_too(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    gunicorn.writer().begin()
    sock = gunicorn.connect()
    sock.sendall(b"GET /stream/g HTTP/1.0\r\n\r\n")
    assert sock.recv(65536)
    gunicorn.until_open(1)
    begun = time.monotonic()
    gunicorn.process.send_signal(SIGTERM)
    while sock.recv(65536):
        pass
    assert time.monotonic() - begun < 15
    sock.close()
    assert gunicorn.process.wait(30) == 0
    assert "Traceback" not in gunicorn.log.read_text()


def test_sigterm_answers_those_who_wait(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    gunicorn.writer().begin()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gunicorn.get, "/wait/g?after=1-0&seconds=50")
        gunicorn.until_open(1)
        begun = time.monotonic()
        gunicorn.process.send_signal(SIGTERM)
        assert waiting.result(60) == {"there": False}
        assert time.monotonic() - begun < 15


@pytest.mark.parametrize("signal", [SIGQUIT, SIGKILL])
def test_other_ends_break_the_streams_at_once(gunicorn: Gunicorn, signal: int) -> None:
    gunicorn.start()
    gunicorn.writer().begin()
    _, watcher = gunicorn.watch()
    watcher.take(1)
    os.kill(gunicorn.get("/stats")["pid"], signal)
    begun = time.monotonic()
    assert watcher.rest() == []
    assert not watcher.complete
    assert time.monotonic() - begun < 15
    # A successor that is still starting would miss the signal at the end of this test.
    until(gunicorn.answers)


def test_a_worker_that_has_served_its_requests_hands_its_streams_on(gunicorn: Gunicorn) -> None:
    gunicorn.start("--max-requests", "20")
    writer = gunicorn.writer()
    writer.begin()
    _, watcher = gunicorn.watch()
    watcher.take(1)
    first = gunicorn.get("/stats")["pid"]
    until(lambda: gunicorn.get("/stats")["pid"] != first)
    assert watcher.rest() == []
    assert not watcher.complete
    _, again = gunicorn.watch("/stream/g?after=1-0")
    writer.end()
    assert again.rest() == ["1-1"]


def test_a_generator_left_behind_gives_its_stream_back(gunicorn: Gunicorn) -> None:
    gunicorn.start()
    writer = gunicorn.writer()
    writer.begin()
    for _ in range(8):
        sock = gunicorn.connect()
        sock.sendall(b"GET /stream/g HTTP/1.0\r\n\r\n")
        assert sock.recv(65536)
        sock.close()
        writer.tokens(2)
        time.sleep(0.05)
        writer.tokens(2)
    gunicorn.until_open(0)
