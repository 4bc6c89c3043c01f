"""The room for further deliveries of a user: each end of an answer asks for it, so it is counted once a second."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from time import monotonic

from app.store import webhook_deliveries
from app.store.database import Tx

# Seconds for which a count is good. Ends in other processes are not in it, and may pass the bound meanwhile.
COUNT_SECONDS = 1.0
# Users whose counts one process keeps.
MOST_USERS = 10_000


@dataclass(slots=True)
class _Room:
    """``left``: the deliveries that may be added. ``until``: a time of the monotonic clock."""

    left: int
    until: float


class WebhookRoom:
    """Knows whether further deliveries of a user may wait; ``most`` of one user do. Any thread may call it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rooms: dict[str, _Room] = {}
        self._lock = Lock()

    def is_full(self, tx: Tx, user_id: str) -> bool:
        """True when as many deliveries of a user wait as may."""
        room = self._rooms.get(user_id)
        if room is None or room.until < monotonic():
            left = self._most - webhook_deliveries.waiting(tx, user_id, self._most)
            room = _Room(left, monotonic() + COUNT_SECONDS)
            with self._lock:
                if len(self._rooms) >= MOST_USERS:
                    self._rooms.clear()
                self._rooms[user_id] = room
        return room.left <= 0

    def take(self, user_id: str, count: int) -> None:
        """Note that ``count`` deliveries were added."""
        with self._lock:
            if room := self._rooms.get(user_id):
                room.left -= count
