"""The number of streams that may be open: in this process, and for one user over all processes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from threading import Condition, Thread
from time import monotonic
from typing import NoReturn, Protocol

from app.domain.errors import LogDown, Overloaded, TooManyStreams

RENEW_SECONDS = 20.0
# Ends within this time are reported together. A new stream of the user reports them earlier.
REPORT_SECONDS = 0.1
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0
MOST_UNREPORTED = 10_000


class Shared(Protocol):
    """The count that all processes share. Every method raises LogDown when it cannot be reached."""

    def reserve(self, owner: str, member: str, limit: int, left: Sequence[str] = ()) -> Callable[[], bool]:
        """Reserve a place of ``limit`` for ``member``, and release the places of ``left``.

        Returns a function that waits for the reply: True when the place is reserved.
        """
        ...

    def renew(self, owner: str, members: Sequence[str], left: Sequence[str] = ()) -> object:
        """Keep the places of ``members`` for the next period, and release the places of ``left``."""
        ...


@dataclass(frozen=True, slots=True)
class OwnLimit:
    """The number of streams that an API key may have open, beside the limit of its user. ``owner`` names the key."""

    owner: str
    streams: int


class Reservation:
    """A place that was requested. The reply of Redis arrives while the caller does other work."""

    def __init__(self, answer: Callable[[], str], release: Callable[[str], None]) -> None:
        self._answer: Callable[[], str] | None = answer
        self._release = release
        self._place: str | None = None

    @property
    def acquired(self) -> bool:
        """True while the caller holds the place."""
        return self._place is not None

    def acquire(self) -> str:
        """The place; its name, for ``StreamQuota.release``. Once. Raises Overloaded, TooManyStreams."""
        answer, self._answer = self._answer, None
        assert answer, "a place is acquired once"
        self._place = answer()
        return self._place

    def release(self) -> None:
        """Release the place, acquired or not."""
        if self._answer is not None:
            with suppress(Overloaded):
                self.acquire()
        if self._place is not None:
            self._release(self._place)
            self._place = None


class StreamQuota:
    """Counts open streams of users and API keys, the owners. Any thread may call it.

    While the shared count is away, this process counts alone.
    """

    def __init__(self, shared: Shared, limit: int, limit_per_user: int) -> None:
        self._shared = shared
        self._limit = limit
        self._limit_per_user = limit_per_user
        self._changed = Condition()
        self._open: dict[str, list[str]] = {}
        self._ended: dict[str, list[str]] = {}
        # The places of keys: those that belong to an open stream, by the place of its user, and all of them.
        self._beside: dict[str, tuple[str, str]] = {}
        self._of_keys: set[str] = set()
        self._total = 0
        # Made with the first stream, after the fork: two processes must not use the same names.
        self._process = ""
        self._numbers = count()
        self._renewer: Thread | None = None
        self._closed = False

    @property
    def total(self) -> int:
        """The number of open streams in this process, with those that are about to open."""
        return self._total

    def acquire(self, user: str) -> str:
        """A place for one more stream of ``user``; its name, for ``release``.

        Raises Overloaded when the process is full, TooManyStreams when the user has as many as allowed.
        """
        return self.reserve(user).acquire()

    def reserve(self, user: str, own: OwnLimit | None = None, shared: Shared | None = None) -> Reservation:
        """Request a place without waiting for the reply of Redis yet. The reservation is acquired or released.

        ``own``: the stream also takes a place within this limit. ``shared``: another way to the shared count.
        """
        shared = shared or self._shared
        of_user = self._reserve(shared, user, self._limit_per_user)
        if own is None:
            return of_user
        of_key = self._reserve(shared, own.owner, own.streams, is_key=True)
        return Reservation(partial(self._acquire_both, of_user, of_key, own.owner), partial(self.release, user))

    def _reserve(self, shared: Shared, owner: str, limit: int, *, is_key: bool = False) -> Reservation:
        release = partial(self.release, owner)
        try:
            stream, ended = self._enter(owner, limit, is_key=is_key)
        except Overloaded as refusal:
            return Reservation(partial(_refuse, refusal), release)
        try:
            admitted = shared.reserve(owner, stream, limit, ended)
        except LogDown:
            admitted = _alone
        return Reservation(partial(self._admit, owner, stream, admitted), release)

    def _acquire_both(self, of_user: Reservation, of_key: Reservation, owner: str) -> str:
        try:
            place = of_user.acquire()
        except BaseException:
            of_key.release()
            raise
        try:
            self._beside[place] = (owner, of_key.acquire())
        except TooManyStreams:
            of_user.release()
            raise TooManyStreams(
                "This API key has as many open streams as it may have (its limits.max_streams)."
            ) from None
        return place

    def _admit(self, user: str, stream: str, admitted: Callable[[], bool]) -> str:
        try:
            allowed = admitted()
        except LogDown:
            allowed = _alone()
        if not allowed:
            self._exit(user, stream)
            raise TooManyStreams
        return stream

    def release(self, user: str, stream: str) -> None:
        """The stream has ended. Never blocks."""
        with self._changed:
            is_first = not self._ended
            self._leave(user, stream)
            if (of_key := self._beside.pop(stream, None)) is not None:
                self._leave(*of_key)
            if is_first:
                # The renewer waits for the first one, and collects the others.
                self._changed.notify()

    def _leave(self, owner: str, stream: str) -> None:
        self._exit(owner, stream)
        # Beyond this number ends are dropped: a stream that is not reported expires in the shared count.
        if owner in self._ended or len(self._ended) < MOST_UNREPORTED:
            self._ended.setdefault(owner, []).append(stream)

    def close(self) -> None:
        """Stop renewing. When this returns, the shared count is not used any more, unless Redis hangs."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._renewer is not None:
            self._renewer.join(CLOSE_SECONDS)

    def _enter(self, owner: str, limit: int, *, is_key: bool) -> tuple[str, list[str]]:
        with self._changed:
            if not is_key and self._total >= self._limit:
                raise Overloaded
            if len(self._open.get(owner, ())) >= limit:
                raise TooManyStreams
            if self._renewer is None:
                self._begin()
            streams = self._open.setdefault(owner, [])
            stream = f"{self._process}{next(self._numbers):x}"
            streams.append(stream)
            if is_key:
                self._of_keys.add(stream)
            else:
                self._total += 1
            return stream, self._ended.pop(owner, [])

    def _begin(self) -> None:
        self._process = secrets.token_hex(4)
        renewer = Thread(target=self._keep_renewing, name="relay-quota", daemon=True)
        renewer.start()
        self._renewer = renewer

    def _exit(self, user: str, stream: str) -> None:
        with self._changed:
            streams = self._open.get(user, [])
            if stream in streams:
                streams.remove(stream)
                self._total -= stream not in self._of_keys
                self._of_keys.discard(stream)
            if not streams:
                self._open.pop(user, None)

    def _keep_renewing(self) -> None:
        renew_at = monotonic() + RENEW_SECONDS
        pause = REPORT_SECONDS
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._closed, max(renew_at - monotonic(), 0))
                self._changed.wait_for(lambda: self._closed, pause)
                # They stay until they are reported: a new stream of the user would be refused because of them.
                ended = {user: list(streams) for user, streams in self._ended.items()}
                due = monotonic() >= renew_at
                still_open = {user: list(streams) for user, streams in self._open.items()} if due else {}
            if due:
                renew_at = monotonic() + RENEW_SECONDS
            pause = REPORT_SECONDS if self._report(still_open, ended) else RETRY_SECONDS

    def _report(self, still_open: dict[str, list[str]], ended: dict[str, list[str]]) -> bool:
        """Report streams to the shared count. False when it is away; the ends are kept for the next time then."""
        for user in still_open.keys() | ended.keys():
            try:
                self._shared.renew(user, still_open.get(user, ()), ended.get(user, ()))
            except LogDown:
                return False
            self._drop_reported(user, ended.get(user, ()))
        return True

    def _drop_reported(self, user: str, reported: Sequence[str]) -> None:
        with self._changed:
            left = [stream for stream in self._ended.pop(user, ()) if stream not in reported]
            if left:
                self._ended[user] = left


def _refuse(refusal: Overloaded) -> NoReturn:
    raise refusal


def _alone() -> bool:
    """Admit a stream while the shared count is away. The limit of this process holds; ``renew`` reports it later."""
    return True
