"""A cache of looked-up credentials and users, none of which is used after its revocation is known."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from app.services.revocations import Revocations

# Seconds after which an entry is looked up again, revoked or not.
ENTRY_SECONDS = 30.0
MOST_ENTRIES = 10_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry(NamedTuple, Generic[V]):
    """A value, and the time at which its lookup began."""

    value: V
    began: float
    names: frozenset[str]


class RevocableCache(Generic[K, V]):
    """Values by key. Any thread may use it.

    ``lookup`` finds the value of a key. ``names_of`` gives the names whose revocation ends an entry; an entry is valid
    while none of them was revoked since its lookup began. No entry is used while the process does not know what was
    revoked within FRESH_SECONDS.
    """

    def __init__(
        self,
        revocations: Revocations,
        lookup: Callable[[K], V],
        names_of: Callable[[V], Iterable[str]],
        most: int = MOST_ENTRIES,
    ) -> None:
        self._revocations = revocations
        self._lookup = lookup
        self._names_of = names_of
        self._most = most
        self._lock = Lock()
        self._entries: dict[K, _Entry[V]] = {}

    def get(self, key: K) -> V:
        """The value of a key. Raises what ``lookup`` raises; that is not kept."""
        entry = self._entries.get(key)
        if entry is not None and self._is_valid(entry):
            return entry.value
        # Before the lookup: a name that is revoked during it makes the entry invalid.
        began = self._revocations.clock()
        value = self._lookup(key)
        self._keep(key, value, began)
        return value

    def fill(self, keys: Iterable[K], lookup_all: Callable[[Sequence[K]], Mapping[K, V]]) -> None:
        """Look up together the keys that have no entry. Raises what ``lookup_all`` raises."""
        began = self._revocations.clock()
        missing = [key for key in dict.fromkeys(keys) if self._lacks(key, began)]
        # Entries would not be used while the process does not know what was revoked.
        if missing and self._revocations.fresh:
            for key, value in lookup_all(missing).items():
                self._keep(key, value, began)

    def _lacks(self, key: K, now: float) -> bool:
        """True without an entry of this age. ``get`` looks up one that was revoked."""
        entry = self._entries.get(key)
        return entry is None or now - entry.began > ENTRY_SECONDS

    def _keep(self, key: K, value: V, began: float) -> None:
        entry = _Entry(value, began, frozenset(self._names_of(value)))
        with self._lock:
            self._entries.pop(key, None)
            if len(self._entries) >= self._most:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = entry

    def _is_valid(self, entry: _Entry[V]) -> bool:
        revocations = self._revocations
        if not revocations.fresh or revocations.clock() - entry.began > ENTRY_SECONDS:
            return False
        return not revocations.ended(entry.names, entry.began)
