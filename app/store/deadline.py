"""Client-side deadlines for every statement that is sent to PostgreSQL.

A server that is frozen or hangs on its storage does not reply, and its own statement_timeout does not act. Its kernel
goes on acknowledging packets, so neither keepalives nor TCP_USER_TIMEOUT end the connection.
A thread watches the connections and shuts down the socket of one whose answer is overdue; the statement then fails as
if the server had closed the connection.

A statement outside a transaction opens one or reads one row: it has ``opening`` seconds. One inside a transaction may
work until the server's own statement_timeout: it has ``statement`` seconds, which is longer. When an opening is
overdue, the server is taken for frozen: for RETRY_SECONDS all others fail at once, then one at a time tries again.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any
from weakref import WeakSet

import psycopg2
from psycopg2 import extensions
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from app.domain.errors import DatabaseDown

WATCH_SECONDS = 0.1
RETRY_SECONDS = 1.0


class Fuse:
    """Refuses transactions while a server is taken for frozen. Any thread may use it."""

    def __init__(self, retry: float = RETRY_SECONDS) -> None:
        self._retry = retry
        self._lock = Lock()
        self._blown = False
        self._retry_at = 0.0

    @property
    def blown(self) -> bool:
        """True while the server is taken for frozen: from an overdue opening until an answer."""
        return self._blown

    def admit(self) -> None:
        """Raise DatabaseDown while the server is taken for frozen; one caller in ``retry`` seconds passes."""
        if not self._blown:
            return
        with self._lock:
            if self._blown and time.monotonic() < self._retry_at:
                raise DatabaseDown
            self._retry_at = time.monotonic() + self._retry

    def blow(self) -> None:
        """Take the server for frozen."""
        with self._lock:
            self._blown = True
            self._retry_at = time.monotonic() + self._retry

    def mend(self) -> None:
        """The server has answered."""
        self._blown = False


class Deadlines:
    """Makes connections that obey the deadlines; ``connect_args`` for SQLAlchemy or psycopg2."""

    def __init__(self, opening: float, statement: float, retry: float = RETRY_SECONDS) -> None:
        self.opening = opening
        self.statement = statement
        self.fuse = Fuse(retry)

    @property
    def connect_args(self) -> dict[str, Any]:
        """A connection is made within the seconds of an opening; libpq counts whole ones, two at least."""
        return {"connect_timeout": max(2, math.ceil(self.opening)), "connection_factory": self._connect}

    def _connect(self, dsn: str, **options: Any) -> GuardedConnection:
        began = time.monotonic()
        try:
            connection = GuardedConnection(dsn, **options)
        except psycopg2.OperationalError:
            if time.monotonic() - began >= self.opening * 0.9:
                self.fuse.blow()
            raise
        connection.guard(self)
        return connection


class Guard:
    """The deadline of one connection."""

    def __init__(self, connection: extensions.connection, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        # A descriptor of its own for the socket: libpq may close the other one at any time, and its number be reused.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._lock = Lock()
        self._until: float | None = None
        self._opening = False

    @contextmanager
    def limit(self, *, opening: bool) -> Iterator[None]:
        """A block in which the server has to answer."""
        seconds = self._deadlines.opening if opening else self._deadlines.statement
        with self._lock:
            self._until, self._opening = time.monotonic() + seconds, opening
        try:
            yield
        finally:
            with self._lock:
                self._until = None

    def cut_if_overdue(self, now: float) -> None:
        """Shut the socket down when the answer is overdue."""
        with self._lock:
            if self._until is None or now < self._until:
                return
            self._until = None
            if self._opening:
                self._deadlines.fuse.blow()
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the other side has closed it meanwhile

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()


class GuardedCursor(extensions.cursor):  # type: ignore[misc]  # psycopg2 has no types
    """A cursor whose statements have a deadline."""

    def execute(self, query: Any, vars: Any = None) -> None:
        """Run a statement. A statement that passes its deadline raises psycopg2.OperationalError."""
        connection = self.connection
        guard = getattr(connection, "_guard", None)
        if guard is None:
            super().execute(query, vars)
            return
        opening = connection.get_transaction_status() == TRANSACTION_STATUS_IDLE or query == "ROLLBACK"
        with guard.limit(opening=opening):
            super().execute(query, vars)


class GuardedConnection(extensions.connection):  # type: ignore[misc]
    """A connection whose statements have a deadline, once ``guard`` was called."""

    _guard: Guard | None = None

    def guard(self, deadlines: Deadlines) -> None:
        """Begin to watch."""
        self.cursor_factory = GuardedCursor
        self._guard = Guard(self, deadlines)
        _WATCHDOG.watch(self._guard)

    def close(self) -> None:
        """Close the connection, and end the watch over it."""
        super().close()
        if self._guard is not None:
            self._guard.close()


class Watchdog:
    """The thread that looks at every guard of this process. It begins with the first one, so after the fork."""

    def __init__(self) -> None:
        self._guards: WeakSet[Guard] = WeakSet()
        self._lock = Lock()
        self._process = 0

    def watch(self, guard: Guard) -> None:
        """Watch this guard, too, for as long as its connection keeps it."""
        with self._lock:
            self._guards.add(guard)
            if self._process != os.getpid():
                self._process = os.getpid()
                Thread(target=self._run, name="database deadlines", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            with self._lock:
                guards = list(self._guards)
            now = time.monotonic()
            for guard in guards:
                guard.cut_if_overdue(now)
            del guards


_WATCHDOG = Watchdog()
