"""Who follows a feed besides oneself: counted over all processes, told when it changes. Nothing depends on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Thread
from time import monotonic
from typing import Protocol

from app.domain.errors import LogDown

RENEW_SECONDS = 20.0
# Those who come and go at the same moment are told together; who has just come is listening by then.
TELL_SECONDS = 0.2


class Shared(Protocol):
    """The count all processes share. Raises LogDown when it cannot be reached."""

    def count(self, key: str, present: Sequence[str], left: Sequence[str] = ()) -> tuple[int, int]:
        """``present`` are there, ``left`` are not any more: how many there are now, and were before."""
        ...

    def tell(self, key: str, block: bytes) -> None:
        """Have everybody who follows this feed just now be sent ``block``."""
        ...


class Presence:
    """The connections of this process. Any thread may call it, and nobody waits.

    ``show`` makes what the readers of a feed are sent when so many follow it.
    """

    def __init__(self, shared: Shared, show: Callable[[str, int], bytes]) -> None:
        self._shared = shared
        self._show = show
        self._changed = Condition()
        self._here: dict[str, set[str]] = {}
        self._joined: dict[str, list[str]] = {}
        self._left: dict[str, list[str]] = {}
        self._teller: Thread | None = None
        self._closed = False

    def join(self, key: str) -> Callable[[], None]:
        """One more connection follows ``key``. Call what is returned when it has gone."""
        connection = secrets.token_hex(8)
        with self._changed:
            self._here.setdefault(key, set()).add(connection)
            self._joined.setdefault(key, []).append(connection)
            if self._teller is None:
                self._teller = Thread(target=self._keep_telling, name="relay-presence", daemon=True)
                self._teller.start()
            self._changed.notify()
        return lambda: self._leave(key, connection)

    def close(self) -> None:
        """Tell nothing more; what was counted here is forgotten in its time."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _leave(self, key: str, connection: str) -> None:
        with self._changed:
            here = self._here.get(key, set())
            here.discard(connection)
            if not here:
                self._here.pop(key, None)
            self._left.setdefault(key, []).append(connection)
            self._changed.notify()

    def _keep_telling(self) -> None:
        renew_at = monotonic() + RENEW_SECONDS
        while not self._closed:
            with self._changed:
                self._changed.wait_for(self._has_news, max(renew_at - monotonic(), 0))
                self._changed.wait_for(lambda: self._closed, TELL_SECONDS)
                joined, self._joined = self._joined, {}
                left, self._left = self._left, {}
                due = monotonic() >= renew_at
                present = {key: list(here) for key, here in self._here.items()} if due else joined
            if due:
                renew_at = monotonic() + RENEW_SECONDS
            # Redis away: nobody is told, and the next renewal counts everybody anew.
            with suppress(LogDown):
                for key in present.keys() | joined.keys() | left.keys():
                    self._count(key, present.get(key, ()), left.get(key, ()), news=key in joined)

    def _has_news(self) -> bool:
        return bool(self._joined or self._left or self._closed)

    def _count(self, key: str, present: Sequence[str], left: Sequence[str], *, news: bool) -> None:
        now, before = self._shared.count(key, present, left)
        if now and (news or now != before):
            self._shared.tell(key, self._show(key, now))
