"""A writer, a second store in files instead of PostgreSQL, and an independent client, for tests of the relay."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
import sseclient
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.domain.cursor import START, Cursor
from app.domain.errors import LogDown, StoreDown
from app.domain.events import Done, Entry, Event, Snapshot, Token, encode
from app.domain.transcript import contiguous, merge
from app.eventlog.log import RedisLog

NAMESPACE = "test"


def client_of(url: str, seconds: float = 10) -> redis.Redis:
    """A Redis client without retries. It raises TimeoutError after ``seconds`` without a reply."""
    return redis.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0)
    )


class Shelf:
    """The second store: a file for each log, a line for each event. ``queue`` gives a log a place in the queue."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, key: str, entries: Sequence[Entry]) -> None:
        with (self.directory / key).open("ab") as file:
            file.writelines(b"%b %b\n" % (str(cursor).encode(), payload) for cursor, payload in entries)

    def entries(self, key: str, after: Cursor = START) -> list[Entry]:
        try:
            lines = (self.directory / key).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = [Entry(Cursor.parse(line.split(b" ", 1)[0].decode()), line.split(b" ", 1)[1]) for line in lines]
        return [entry for entry in found if entry.cursor > after]

    def keys(self) -> set[str]:
        return {path.name for path in self.directory.iterdir() if not path.name.startswith(".")}

    def queue(self, key: str, position: int) -> None:
        (self.directory / f".queued-{key}").write_text(str(position))


class TestSource:
    """Reads Redis first and takes entries that Redis lacks from the shelf, as services/log_reader.py does."""

    __test__ = False

    def __init__(self, log: RedisLog, shelf: Shelf) -> None:
        self._log = log
        self.shelf = shelf
        self.reads = 0

    def read(self, key: str, after: Cursor, limit: int) -> list[Entry]:
        self.reads += 1
        try:
            logged = self._log.read(key, after, limit)
        except LogDown:
            logged = []
        if logged and after.precedes(logged[0].cursor) and logged[0].cursor.epoch in (after.epoch, 1):
            return contiguous(logged, after)
        return merge(self.shelf.entries(key, after), logged, after=after)[:limit]

    def ends(self, keys: Sequence[str]) -> dict[str, Cursor | None]:
        answer: dict[str, Cursor | None] = {}
        for key in self.shelf.keys() & set(keys):
            entries = self.shelf.entries(key)
            ended = bool(entries) and entries[-1].payload.startswith(b'{"type":"done"')
            answer[key] = entries[-1].cursor if ended else None
        return answer

    def queue_positions(self, keys: Sequence[str]) -> dict[str, int]:
        files = {key: self.shelf.directory / f".queued-{key}" for key in keys}
        return {key: int(path.read_text()) for key, path in files.items() if path.exists()}


class Writer:
    """A worker's side: it writes to the shelf first, then to the log, and sends lost entries again."""

    def __init__(self, url: str, shelf: Shelf, key: str) -> None:
        self._log = RedisLog(client_of(url), NAMESPACE)
        self._shelf = shelf
        self.key = key
        self.epoch = 0
        self.log: list[Entry] = []
        self._own: list[bytes] = []

    def begin(self) -> None:
        self.epoch += 1
        self._own = []
        self.write(Snapshot("".join(self.texts), "start" if self.epoch == 1 else "takeover", self.epoch), open=True)

    @property
    def texts(self) -> list[str]:
        bodies = [json.loads(entry.payload) for entry in self.log]
        return [body["content"] for body in bodies if body["type"] == "token"]

    def write(self, *events: Event, open: bool = False, quiet: bool = False) -> None:
        first = len(self._own)
        fresh = [Entry(Cursor(self.epoch, first + i), encode(event)) for i, event in enumerate(events)]
        self._own += [entry.payload for entry in fresh]
        self.log += fresh
        self._shelf.add(self.key, fresh)
        try:
            if open:
                self._log.open(self.key, self.epoch)
            answer = self._log.append(self.key, self.epoch, first, self._own[first:], 60_000)
            if answer.verdict in ("LOST", "UNOPENED"):
                self._log.open(self.key, self.epoch)
                self._log.append(self.key, self.epoch, 0, self._own, 60_000)
            elif answer.verdict == "GAP":
                self._log.append(self.key, self.epoch, answer.top + 1, self._own[answer.top + 1 :], 60_000)
        except StoreDown:
            assert quiet, "Redis should be there"

    def tokens(self, count: int, size: int = 10, quiet: bool = False) -> None:
        base = len(self.log)
        self.write(*(Token(f"{base + i} " + "x" * size) for i in range(count)), quiet=quiet)

    def end(self, quiet: bool = False) -> None:
        self.write(Done("completed", "stop", None, "00"), quiet=quiet)

    def ids(self, after: Cursor = START) -> list[str]:
        return [str(entry.cursor) for entry in self.log if entry.cursor > after]


class Watcher:
    """A client on a raw socket. It reads HTTP chunks by its own code and events by sseclient."""

    def __init__(self, sock: socket.socket, body: bytes = b"", timeout: float = 60) -> None:
        self.sock = sock
        sock.settimeout(timeout)
        self._buffer = body
        self.complete = False
        self.raw: list[bytes] = []

    def chunks(self) -> Iterator[bytes]:
        """The body's chunks until its end. ``complete`` is true behind a last chunk, and false behind a cut."""
        while True:
            head, found, rest = self._buffer.partition(b"\r\n")
            size = int(head, 16) if found else -1
            if found and len(rest) >= size + 2:
                assert rest[size : size + 2] == b"\r\n"
                self._buffer = rest[size + 2 :]
                if size == 0:
                    self.complete = True
                    return
                self.raw.append(rest[:size])
                yield rest[:size]
                continue
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                return
            if not data:
                return
            self._buffer += data

    def events(self) -> Iterator[Any]:
        return iter(sseclient.SSEClient(self.chunks()).events())  # type: ignore[no-untyped-call]

    def take(self, count: int) -> list[str]:
        """The ids of the next ``count`` events that have one."""
        ids: list[str] = []
        for event in self.events():
            ids += [event.id] if event.id else []
            if len(ids) == count:
                break
        return ids

    def rest(self) -> list[str]:
        """The ids of all events up to the end of the body."""
        return [event.id for event in self.events() if event.id]
