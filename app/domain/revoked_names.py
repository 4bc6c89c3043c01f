"""Names that were revoked a short while ago, and when this process has learned it."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from threading import Lock

# Seconds for which a name is kept: longer than a request takes from its check to the stream it opens.
KEPT_SECONDS = 60.0
# Names that one process keeps at most: some megabytes.
MOST_NAMES = 20_000


class RevokedNames:
    """Tells whether something that was proved at a time was revoked since. Any thread may use it.

    All times are seconds of one clock. A name that was dropped, by KEPT_SECONDS or MOST_NAMES, is not known any more:
    everything proved before it was revoked counts as revoked.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # In the order of their times.
        self._revoked_at: dict[str, float] = {}
        self._floor = -inf

    def add(self, names: Iterable[str], now: float) -> None:
        """Keep names that are revoked now."""
        with self._lock:
            for name in names:
                self._revoked_at.pop(name, None)
                self._revoked_at[name] = now
            self._drop(now - KEPT_SECONDS)

    def add_everything(self, now: float) -> None:
        """Have everything that was proved before now count as revoked."""
        with self._lock:
            self._floor = max(self._floor, now)

    def meets(self, names: Iterable[str], since: float) -> bool:
        """True when one of the names was revoked at ``since`` or later, as far as is known."""
        with self._lock:
            revoked_at = self._revoked_at
            return since <= self._floor or any(revoked_at.get(name, -inf) >= since for name in names)

    def _drop(self, before: float) -> None:
        while self._revoked_at:
            name, at = next(iter(self._revoked_at.items()))
            if at >= before and len(self._revoked_at) <= MOST_NAMES:
                return
            del self._revoked_at[name]
            self._floor = max(self._floor, at)
