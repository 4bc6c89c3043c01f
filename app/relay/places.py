"""How many streams there may be: in this process, and for one user over all processes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import count
from threading import Condition, Thread
from time import monotonic
from typing import Protocol

from app.domain.errors import LogDown, Overloaded, TooManyStreams

RENEW_SECONDS = 20.0
# Ends are told together; a user who comes back in the meantime tells them himself.
TELL_SECONDS = 0.1
RETRY_SECONDS = 1.0
MOST_UNTOLD = 10_000


class Shared(Protocol):
    """The count all processes share. Raises LogDown when it cannot be reached."""

    def take(self, user: str, stream: str, limit: int, ended: Sequence[str] = ()) -> bool: ...

    def renew(self, user: str, streams: Sequence[str], ended: Sequence[str] = ()) -> None: ...


class Places:
    """Counts open streams. Any thread may call it; while the shared count is away, this process counts alone."""

    def __init__(self, shared: Shared, limit: int, limit_per_user: int) -> None:
        self._shared = shared
        self._limit = limit
        self._limit_per_user = limit_per_user
        self._changed = Condition()
        self._open: dict[str, list[str]] = {}
        self._ended: dict[str, list[str]] = {}
        self._total = 0
        # Made with the first stream, after the fork: two processes must not use the same names.
        self._process = ""
        self._numbers = count()
        self._renewer: Thread | None = None
        self._closed = False

    def take(self, user: str) -> str:
        """A place for one more stream of ``user``; its name, for ``leave``.

        Raises Overloaded when the process is full, TooManyStreams when the user has as many as allowed.
        """
        stream, ended = self._enter(user)
        try:
            admitted = self._shared.take(user, stream, self._limit_per_user, ended)
        except LogDown:
            # The limit of this process holds, and ``renew`` will tell the others.
            admitted = True
        if not admitted:
            self._exit(user, stream)
            raise TooManyStreams
        return stream

    def leave(self, user: str, stream: str) -> None:
        """The stream has ended. Never blocks."""
        with self._changed:
            self._exit(user, stream)
            self._ended.setdefault(user, []).append(stream)
            self._changed.notify()

    def close(self) -> None:
        """Stop renewing."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _enter(self, user: str) -> tuple[str, list[str]]:
        with self._changed:
            if self._total >= self._limit:
                raise Overloaded
            streams = self._open.setdefault(user, [])
            if len(streams) >= self._limit_per_user:
                raise TooManyStreams
            if self._renewer is None:
                self._begin()
            stream = f"{self._process}{next(self._numbers):x}"
            streams.append(stream)
            self._total += 1
            return stream, self._ended.pop(user, [])

    def _begin(self) -> None:
        self._process = secrets.token_hex(4)
        self._renewer = Thread(target=self._keep_renewing, name="relay-places", daemon=True)
        self._renewer.start()

    def _exit(self, user: str, stream: str) -> None:
        with self._changed:
            streams = self._open.get(user, [])
            if stream in streams:
                streams.remove(stream)
                self._total -= 1
            if not streams:
                self._open.pop(user, None)

    def _keep_renewing(self) -> None:
        renew_at = monotonic() + RENEW_SECONDS
        pause = TELL_SECONDS
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._closed, max(renew_at - monotonic(), 0))
                self._changed.wait_for(lambda: self._closed, pause)
                ended, self._ended = self._ended, {}
                due = monotonic() >= renew_at
                still_open = {user: list(streams) for user, streams in self._open.items()} if due else {}
            if due:
                renew_at = monotonic() + RENEW_SECONDS
            pause = TELL_SECONDS if self._tell(still_open, ended) else RETRY_SECONDS

    def _tell(self, still_open: dict[str, list[str]], ended: dict[str, list[str]]) -> bool:
        """Whether all of it was told; ends that were not are kept for the next time."""
        for user in still_open.keys() | ended.keys():
            try:
                self._shared.renew(user, still_open.get(user, ()), ended.get(user, ()))
                ended.pop(user, None)
            except LogDown:
                self._keep(ended)
                return False
        return True

    def _keep(self, ended: dict[str, list[str]]) -> None:
        with self._changed:
            # More than this is not worth keeping: what is never told expires by itself.
            if len(self._ended) < MOST_UNTOLD:
                for user, streams in ended.items():
                    self._ended.setdefault(user, []).extend(streams)
