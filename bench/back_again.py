"""Back again: a web process is killed, and 5,000 readers reconnect; the seconds until the last one has its event."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import redis

from app.domain.commands import StartGeneration
from app.domain.events import Snapshot, Token, encode
from app.eventlog.log import RedisLog
from app.store import leases
from bench import report
from bench.figures import Figure, Run
from bench.machine import OTHER_CORE, SERVER_CORE, family, pin
from bench.stores import CannotMeasure, Stores, clear
from tests.stack import Stack

READERS, QUICK_READERS = 5000, 1000
# A user may have ten streams (MAX_STREAMS_PER_USER); those of a killed process count for a minute.
STREAMS_OF_USER = 5
EVENTS = 20
LAST = f"id: 1-{EVENTS}\n".encode()
SECONDS = 60.0


@dataclass(slots=True)
class Reader:
    """One reader: its request, and its connection with the end of what it has received."""

    request: bytes
    sock: socket.socket | None = None
    tail: bytes = b""


@dataclass
class Crowd:
    """All readers of one server, in one loop."""

    port: int
    readers: list[Reader]
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def connect(self) -> float:
        """Connect every reader. Returns the seconds until the last one has the last event."""
        began, waiting = time.monotonic(), len(self.readers)
        for reader in self.readers:
            self._begin(reader)
        while waiting:
            if time.monotonic() - began > SECONDS:
                raise CannotMeasure(f"{waiting} readers were not back after {SECONDS:g} s")
            waiting -= self._turn()
        return time.monotonic() - began

    def close(self) -> None:
        """End every connection."""
        for reader in self.readers:
            self._end(reader)

    def _turn(self) -> int:
        """Serve the readers that are ready. Returns the number of those that are done."""
        done = 0
        for key, _ in self.selector.select(1.0):
            reader: Reader = key.data
            done += self._serve(reader, key.events)
        return done

    def _serve(self, reader: Reader, events: int) -> bool:
        assert reader.sock, "it was begun"
        try:
            if events == selectors.EVENT_WRITE:
                reader.sock.send(reader.request)
                self.selector.modify(reader.sock, selectors.EVENT_READ, reader)
                return False
            data = reader.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._end(reader)
            self._begin(reader)
            return False
        reader.tail = reader.tail[-len(LAST) :] + data
        if LAST not in reader.tail:
            return False
        self.selector.unregister(reader.sock)
        return True

    def _begin(self, reader: Reader) -> None:
        reader.sock, reader.tail = socket.socket(), b""
        reader.sock.setblocking(False)
        reader.sock.connect_ex(("127.0.0.1", self.port))
        self.selector.register(reader.sock, selectors.EVENT_WRITE, reader)

    def _end(self, reader: Reader) -> None:
        if reader.sock is not None:
            if reader.sock in self.selector.get_map():
                self.selector.unregister(reader.sock)
            reader.sock.close()
            reader.sock = None


def run(run: Run) -> None:
    """Measure the return after the death of a web process."""
    readers = QUICK_READERS if run.quick else READERS
    print(f"\nBack again: {readers} readers after the death of their web process", flush=True)
    took = run.rounds(["unbroken"], lambda _: measure(run.stores, readers)).get("unbroken")
    if not took:
        return
    run.add(Figure(f"{readers} readers back after a death", took, 4.0 * readers / READERS, unit="s", strict=False))
    run.data["back_again"] = took
    rows = [[str(n), f"{seconds:.2f}"] for n, seconds in enumerate(took, 1)]
    run.sections.append(("Back again, in s", report.table(["round", "s"], rows)))


def measure(stores: Stores, count: int) -> float:
    """Seconds from the death of the process until every reader has the last event. Raises CannotMeasure."""
    clear(stores)
    with serving(stores, count) as (pid, crowd):
        try:
            crowd.connect()
            (worker,) = set(family(pid)) - {pid}
            os.kill(worker, signal.SIGKILL)
            crowd.close()
            return crowd.connect()
        finally:
            crowd.close()


@contextmanager
def serving(stores: Stores, count: int) -> Iterator[tuple[int, Crowd]]:
    """A web server with one process, and readers of running answers."""
    with ExitStack() as closing:
        places = (stores.directory / uuid4().hex, stores.database_url, stores.redis_url)
        stack = Stack(*places, LEASE_SECONDS=3600, SWEEP_SECONDS=3600, MAX_QUEUED=count, MAX_STREAMS=2 * count)
        closing.callback(stack.stop)
        users = [f"reader-{n}" for n in range(-(-count // STREAMS_OF_USER))]
        requests = _requests(stack, users)
        web = stack.web(workers=1, WEB_THREADS=8)
        pin(web.pid, SERVER_CORE)
        pin(os.getpid(), OTHER_CORE)
        readers = [Reader(requests[n % len(requests)]) for n in range(count)]
        yield web.pid, Crowd(int(web.url.rpartition(":")[2]), readers)


def _requests(stack: Stack, users: Sequence[str]) -> list[bytes]:
    """The request of each user for an answer that is being made, with some events."""
    resources, made = stack.resources, []
    events = [encode(Snapshot("", "start", 1)), *(encode(Token(f" word{n}")) for n in range(1, EVENTS + 1))]
    with redis.Redis.from_url(stack.settings.redis_url, socket_timeout=30) as client:
        log = RedisLog(client, stack.namespace)
        for name in users:
            user = resources.users.user(name, None)
            generation_id = resources.starter.start(user, StartGeneration("Hello", model="offline")).generation.id
            with resources.database.system() as tx:
                leases.claim(tx, generation_id, "bench", 3600, 3600)
            log.open(generation_id, 1)
            log.append(generation_id, 1, 0, events)
            head = f"GET /api/v1/generations/{generation_id}/stream HTTP/1.1\r\nHost: bench\r\n"
            made.append(f"{head}Authorization: Bearer {stack.token(name)}\r\n\r\n".encode())
    return made
