"""The number of connections that follow a feed, counted over all processes and published when it changes.

Nothing depends on the number being exact.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Thread
from time import monotonic
from typing import Protocol

from app.domain.errors import LogDown

RENEW_SECONDS = 20.0
# Changes within this time are published together. A connection that has just joined is subscribed by then.
PUBLISH_SECONDS = 0.2


class Shared(Protocol):
    """The connections of each feed, counted over all processes. Raises LogDown when Redis does not answer."""

    def renew(self, owner: str, members: Sequence[str], left: Sequence[str] = ()) -> tuple[int, int]:
        """Add or renew ``members`` and remove ``left``. Returns the number now, and the number before."""
        ...


class Presence:
    """The connections of this process. Any thread may call it, and no call waits.

    ``show`` makes the notice for the key of a feed and the number of its connections.
    """

    def __init__(
        self, shared: Shared, publish_notice: Callable[[str, bytes], None], show: Callable[[str, int], bytes]
    ) -> None:
        self._shared = shared
        self._publish_notice = publish_notice
        self._show = show
        self._changed = Condition()
        self._here: dict[str, set[str]] = {}
        self._joined: dict[str, list[str]] = {}
        self._left: dict[str, list[str]] = {}
        self._publisher: Thread | None = None
        self._closed = False

    def join(self, key: str) -> Callable[[], None]:
        """Count one more connection of the feed ``key``. Returns the call to make when the connection has ended."""
        connection = secrets.token_hex(8)
        with self._changed:
            if self._publisher is None:
                publisher = Thread(target=self._publish_changes, name="relay-presence", daemon=True)
                publisher.start()
                self._publisher = publisher
            self._here.setdefault(key, set()).add(connection)
            self._joined.setdefault(key, []).append(connection)
            self._changed.notify()
        return lambda: self._leave(key, connection)

    def close(self) -> None:
        """Publish nothing more. The shared count drops the connections of this process when they expire."""
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

    def _publish_changes(self) -> None:
        renew_at = monotonic() + RENEW_SECONDS
        while not self._closed:
            with self._changed:
                self._changed.wait_for(self._has_changes, max(renew_at - monotonic(), 0))
                self._changed.wait_for(lambda: self._closed, PUBLISH_SECONDS)
                joined, self._joined = self._joined, {}
                left, self._left = self._left, {}
                due = monotonic() >= renew_at
                present = {key: list(here) for key, here in self._here.items()} if due else joined
            if due:
                renew_at = monotonic() + RENEW_SECONDS
            # While Redis is away nothing is published, and the next renewal counts every connection again.
            with suppress(LogDown):
                for key in present.keys() | joined.keys() | left.keys():
                    self._count(key, present.get(key, ()), left.get(key, ()), is_new=key in joined)

    def _has_changes(self) -> bool:
        return bool(self._joined or self._left or self._closed)

    def _count(self, key: str, present: Sequence[str], left: Sequence[str], *, is_new: bool) -> None:
        now, before = self._shared.renew(key, present, left)
        if now and (is_new or now != before):
            self._publish_notice(key, self._show(key, now))
