"""The surroundings of a hub: stores, Redis, threads and clients, in which nothing happens by itself."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from select import POLLIN, poll
from typing import Any

import hiredis

from app.domain import sse
from app.domain.cursor import START, Cursor
from app.domain.errors import StoreDown
from app.domain.events import Done, Entry, Snapshot, Token, encode
from app.relay.connections import DRAIN_SECONDS
from app.relay.encoded_log import chunk
from app.relay.hub import Hub
from app.relay.log_type import LogType
from app.relay.pubsub_connection import ConnectionLost, PubSubConnection
from app.relay.stream_connection import Closed, StreamConnection
from app.relay.thread_pool import Job

DONE = encode(Done("completed", "stop", None, "00"))
NOTHING = object()


class ManualPool:
    """A pool without threads: it keeps jobs until the test runs one of them, in any order."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def close(self) -> None:
        """Do nothing, because there are no threads."""

    def run(self, index: int) -> None:
        if self.jobs:
            self.jobs.pop(index % len(self.jobs))()


class SteppedHub(Hub):
    """A hub without a thread: the test runs each of its rounds."""

    def start(self) -> None:
        """Do nothing: the test opens the loop."""

    def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        self.loop.post(self._drain, seconds)

    def end(self) -> None:
        self._stopped = True
        self._end()
        # The loop leaves this descriptor open, because other threads of a process may be posting.
        os.close(self.loop._wake)


@dataclass
class Log:
    """All entries of one log; ``visible`` is the number of entries that the stores show now."""

    key: str
    entries: list[Entry] = field(default_factory=list)
    visible: int = 0
    deleted: bool = False

    @property
    def end(self) -> Cursor:
        return self.entries[-1].cursor if self.entries else START

    @property
    def ended(self) -> bool:
        return bool(self.entries) and self.entries[-1].payload == DONE

    def past(self, after: Cursor) -> list[Entry]:
        """The entries for a client that named this cursor. The end of a log is sent even when it is not past it."""
        found = [entry for entry in self.entries if entry.cursor > after]
        return found or self.entries[-1:] if self.ended else found

    def next_token(self, size: int) -> Entry:
        cursor = Cursor(self.end.epoch, self.end.n + 1)
        return Entry(cursor, encode(Token(f"{self.key} {cursor} " + "x" * size)))


class World:
    """All logs, the publications of their entries, and the outages of the stores and of Redis."""

    def __init__(self) -> None:
        self.logs = {key: Log(key) for key in ("a", "b")}
        self.down = False
        self.positions: dict[str, int] = {}
        self.speaker: Speaker | None = None
        self.reachable = True

    # LogSource

    def read(self, key: str, after: Cursor, limit: int) -> list[Entry]:
        self._answer()
        log = self.logs[key]
        return [entry for entry in log.entries[: log.visible] if entry.cursor > after][:limit]

    def ends(self, keys: Sequence[str]) -> dict[str, Cursor | None]:
        self._answer()
        logs = [self.logs[key] for key in keys if not self.logs[key].deleted]
        return {log.key: log.entries[log.visible - 1].cursor if log.visible else None for log in logs}

    def queue_positions(self, keys: Sequence[str]) -> dict[str, int]:
        self._answer()
        return {key: self.positions[key] for key in keys if key in self.positions}

    def _answer(self) -> None:
        if self.down:
            raise StoreDown("planted: the stores are away")

    # Writing

    def append(self, log: Log, entry: Entry, *, published: bool) -> None:
        self.resend(log)
        log.entries.append(entry)
        log.visible = len(log.entries)
        if published:
            self.publish(log, entry)

    def finish(self, log: Log, *, published: bool) -> None:
        """Append the last event. A client may have named its position before, or a later one."""
        self.append(log, Entry(Cursor(log.end.epoch, log.end.n + 1), DONE), published=published)

    def open_epoch(self, log: Log, by: int, *, published: bool) -> None:
        cursor = Cursor(log.end.epoch + by, 0)
        self.append(log, Entry(cursor, encode(Snapshot("…", "takeover", cursor.epoch))), published=published)

    def resend(self, log: Log) -> None:
        for entry in log.entries[log.visible :]:
            self.publish(log, entry)
        log.visible = len(log.entries)

    def publish(self, log: Log, entry: Entry) -> None:
        self.say(log, str(entry.cursor).encode() + b" " + entry.payload)

    def say(self, log: Log, message: bytes) -> None:
        if self.speaker is not None:
            self.speaker.publish(channel(log.key), message)

    def dial(self) -> PubSubConnection:
        if not self.reachable:
            raise ConnectionLost("planted: Redis cannot be reached")
        self.speaker = Speaker()
        return self.speaker.connection


def channel(key: str) -> bytes:
    return b"live:" + key.encode()


def log_type(world: World) -> LogType:
    return LogType(world, channel, page=5)


class Speaker:
    """The server's side of a subscription: it confirms subscriptions and sends the messages of the test."""

    def __init__(self) -> None:
        theirs, self._ours = socket.socketpair()
        theirs.setblocking(False)
        self._ours.setblocking(False)
        self.connection = PubSubConnection(theirs)
        self._parser = hiredis.Reader(notEnoughData=NOTHING)
        self._channels: set[bytes] = set()
        self._unsent = b""

    def publish(self, to: bytes, message: bytes) -> None:
        self._serve()
        if to in self._channels:
            self._send(b"message", to, message)

    def serve(self) -> None:
        """Answer the commands received so far."""
        self._serve()
        self._flush()

    def cut(self) -> None:
        self._ours.close()

    def _serve(self) -> None:
        try:
            while data := self._ours.recv(65536):
                self._parser.feed(data)
        except OSError:
            pass
        while (command := self._parser.gets()) is not NOTHING:
            assert isinstance(command, list)
            for one in command[1:]:
                if command[0] == b"SUBSCRIBE":
                    self._channels.add(one)
                    self._send(b"subscribe", one, b"1")
                else:
                    self._channels.discard(one)
                    self._send(b"unsubscribe", one, b"1")

    def _send(self, *parts: bytes) -> None:
        self._unsent += b"*3\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._ours.send(self._unsent) :]
        except OSError:
            return


class Client:
    """One client: the cursors it named, the entries it has received, and the reports of its stream's end.

    ``last``: the ends of the logs when the client's access ended, if it has. No later event may reach the client.
    ``late``: it joined so long after its credential was proved that the hub may refuse it.
    """

    def __init__(
        self, sock: socket.socket, logs: Iterable[tuple[Log, Cursor]], revocables: frozenset[str] = frozenset()
    ) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.revocables = revocables
        self.last: dict[str, Cursor] | None = None
        self.after = {log.key: after for log, after in logs}
        self.own = next(iter(self.after))
        self.received: dict[str, list[Entry]] = {key: [] for key in self.after}
        self.closed: list[Closed] = []
        self.complete = self.broken = self.left = self.fails = self.late = False
        self._buffer = b""

    @property
    def over(self) -> bool:
        return self.complete or self.broken or self.left

    def read(self, size: int) -> int:
        """Read up to ``size`` bytes; return the number of bytes read."""
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self.broken = not self.complete
        assert not self.complete or not data, "nothing comes behind the last chunk"
        self._buffer += data
        self._take_chunks()
        return len(data)

    def leave(self) -> None:
        self.left = True
        self.sock.close()

    def _take_chunks(self) -> None:
        while not self.complete:
            head, found, rest = self._buffer.partition(b"\r\n")
            if not found or len(rest) < (size := int(head, 16)) + 2:
                return
            assert rest[size : size + 2] == b"\r\n", "a chunk has its size"
            self._buffer = rest[size + 2 :]
            if size:
                self._take_blocks(rest[:size])
            else:
                self.complete = True
                assert not self._buffer, "nothing comes behind the last chunk"

    def _take_blocks(self, body: bytes) -> None:
        if body in (b": ka\n", b"opening\n"):
            return
        assert body.endswith(b"\n\n"), "a chunk ends where an event ends"
        for block in body[:-2].split(b"\n\n"):
            data, _, place = block.partition(b"\nid: ")
            assert data.startswith(b"data: ")
            if place:
                key, _, cursor = place.decode().rpartition(" ")
                self.received[key or self.own].append(Entry(Cursor.parse(cursor), data[6:]))
            else:
                assert json.loads(data[6:])["type"] in ("title", "queued", "auth"), block


def pair(kind: str, capacity: int) -> tuple[socket.socket, socket.socket]:
    """Connected sockets of small capacity: the client's, and the hub's."""
    if kind == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.socket()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, capacity)
            # Segments far smaller than the window: with larger ones the kernel's own timers would delay the test.
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 400)
            ours.connect(listener.getsockname())
            theirs, _ = listener.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, capacity)
    return ours, theirs


def wait_for(socks: Iterable[socket.socket], seconds: float) -> None:
    """Wait until one of the sockets can be read, at most ``seconds``."""
    waiting = poll()
    for sock in socks:
        waiting.register(sock, POLLIN)
    waiting.poll(seconds * 1000)


def fill(connection: StreamConnection) -> None:
    """Fill a connection's socket with heartbeats, unless it is in the middle of an event or speaks TCP.

    A pair of UNIX sockets takes a short write whole or not at all.
    """
    with socket.socket(fileno=os.dup(connection.fd)) as sock:
        if connection.rest or sock.family != socket.AF_UNIX:
            return
        with suppress(BlockingIOError, BrokenPipeError):
            while sock.send(chunk(sse.HEARTBEAT)):
                pass


def failing(client_of: Callable[[], Client], render: Callable[..., bytes]) -> Callable[..., bytes]:
    """``render``, wrapped so that it raises RuntimeError once its client has ``fails`` set."""

    def rendered(*arguments: Any) -> bytes:
        if client_of().fails:
            raise RuntimeError("planted: this reader fails")
        return render(*arguments)

    return rendered
