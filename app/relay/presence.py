"""The number of connections that show a conversation, counted over all processes and published when it changes.

A connection shows a conversation when it follows the conversation's feed, and when it follows the feed of everything
and names the conversation. The number goes to the readers of both feeds. Nothing depends on it being exact.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import Condition, Thread
from time import monotonic
from typing import NamedTuple, Protocol

from app.domain.errors import LogDown

RENEW_SECONDS = 20.0
# Changes within this time are published together. A connection that has just joined is subscribed by then.
PUBLISH_SECONDS = 0.2


class Shown(NamedTuple):
    """A conversation, and the user who has it."""

    conversation_id: str
    user_id: str


class Shared(Protocol):
    """The connections of each conversation, counted over all processes. Raises LogDown without a reply of Redis."""

    def renew(self, owner: str, members: Sequence[str], left: Sequence[str] = ()) -> tuple[int, int]:
        """Add or renew ``members`` and remove ``left``. Returns the number now, and the number before."""
        ...


class Presence:
    """The connections of this process. Any thread may call it, and no call waits.

    ``show`` makes the notice for a conversation and the number of its connections.
    """

    def __init__(
        self, shared: Shared, publish_notice: Callable[[str, bytes], None], show: Callable[[str, int], bytes]
    ) -> None:
        self._shared = shared
        self._publish_notice = publish_notice
        self._show = show
        self._changed = Condition()
        self._here: dict[Shown, set[str]] = {}
        self._joined: dict[Shown, list[str]] = {}
        self._left: dict[Shown, list[str]] = {}
        self._publisher: Thread | None = None
        self._closed = False

    def join(self, conversation_ids: Iterable[str], user_id: str) -> Callable[[], None]:
        """Count one more connection of these conversations. Returns the call to make when the connection has ended."""
        connection = secrets.token_hex(8)
        shown = [Shown(conversation_id, user_id) for conversation_id in conversation_ids]
        with self._changed:
            if self._publisher is None:
                publisher = Thread(target=self._publish_changes, name="relay-presence", daemon=True)
                publisher.start()
                self._publisher = publisher
            for key in shown:
                self._here.setdefault(key, set()).add(connection)
                self._joined.setdefault(key, []).append(connection)
            self._changed.notify()
        return lambda: self._leave(shown, connection)

    def close(self) -> None:
        """Publish nothing more. The shared count drops the connections of this process when they expire."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _leave(self, shown: Sequence[Shown], connection: str) -> None:
        with self._changed:
            for key in shown:
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

    def _count(self, shown: Shown, present: Sequence[str], left: Sequence[str], *, is_new: bool) -> None:
        now, before = self._shared.renew(shown.conversation_id, present, left)
        if now and (is_new or now != before):
            notice = self._show(shown.conversation_id, now)
            for feed in shown:
                self._publish_notice(feed, notice)
