"""How many streams there may be: in this process, and for one user over all processes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from threading import Condition, Thread
from time import monotonic
from typing import NoReturn, Protocol

from app.domain.errors import LogDown, Overloaded, TooManyStreams

RENEW_SECONDS = 20.0
# Ends are told together; a user who comes back in the meantime tells them himself.
TELL_SECONDS = 0.1
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0
MOST_UNTOLD = 10_000


class Shared(Protocol):
    """The count all processes share. Raises LogDown when it cannot be reached."""

    def ask(self, user: str, stream: str, limit: int, ended: Sequence[str] = ()) -> Callable[[], bool]: ...

    def renew(self, user: str, streams: Sequence[str], ended: Sequence[str] = ()) -> None: ...


class Asked:
    """A place that was asked for. While one does something else, the answer is on its way."""

    def __init__(self, answer: Callable[[], str], leave: Callable[[str], None]) -> None:
        self._answer: Callable[[], str] | None = answer
        self._leave = leave
        self._place: str | None = None

    @property
    def taken(self) -> bool:
        """Whether somebody has the place now."""
        return self._place is not None

    def take(self) -> str:
        """The place; its name, for ``leave``. Once. Raises Overloaded, TooManyStreams."""
        answer, self._answer = self._answer, None
        assert answer, "a place is taken once"
        self._place = answer()
        return self._place

    def drop(self) -> None:
        """Give it back, taken or not."""
        if self._answer is not None:
            with suppress(Overloaded):
                self.take()
        if self._place is not None:
            self._leave(self._place)
            self._place = None


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
        return self.ask(user).take()

    def ask(self, user: str) -> Asked:
        """The same, without waiting for the others' answer yet. Take it or drop it."""
        leave = partial(self.leave, user)
        try:
            stream, ended = self._enter(user)
        except Overloaded as refusal:
            return Asked(partial(_refuse, refusal), leave)
        try:
            admitted = self._shared.ask(user, stream, self._limit_per_user, ended)
        except LogDown:
            admitted = _alone
        return Asked(partial(self._admit, user, stream, admitted), leave)

    def _admit(self, user: str, stream: str, admitted: Callable[[], bool]) -> str:
        try:
            allowed = admitted()
        except LogDown:
            allowed = _alone()
        if not allowed:
            self._exit(user, stream)
            raise TooManyStreams
        return stream

    def leave(self, user: str, stream: str) -> None:
        """The stream has ended. Never blocks."""
        with self._changed:
            self._exit(user, stream)
            # More than this is not worth keeping: what is never told expires by itself.
            if user in self._ended or len(self._ended) < MOST_UNTOLD:
                self._ended.setdefault(user, []).append(stream)
            self._changed.notify()

    def close(self) -> None:
        """Stop renewing; when this returns, nobody uses the shared count any more, unless Redis hangs."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._renewer is not None:
            self._renewer.join(CLOSE_SECONDS)

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
                # They stay until they are told: who asks meanwhile would be refused for them.
                ended = {user: list(streams) for user, streams in self._ended.items()}
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
            except LogDown:
                return False
            self._forget(user, ended.get(user, ()))
        return True

    def _forget(self, user: str, told: Sequence[str]) -> None:
        with self._changed:
            left = [stream for stream in self._ended.pop(user, ()) if stream not in told]
            if left:
                self._ended[user] = left


def _refuse(refusal: Overloaded) -> NoReturn:
    raise refusal


def _alone() -> bool:
    """Nobody else can be asked: the limit of this process holds, and ``renew`` will tell the others."""
    return True
