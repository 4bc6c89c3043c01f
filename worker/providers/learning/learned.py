"""The capabilities that models of upstreams were found to lack, bounded in number and in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time

# The most models that are remembered; the one learned first is forgotten first.
MOST_MODELS = 500
# Seconds after which a capability is tried again: upstreams change.
KEPT_SECONDS = 86_400.0

Lacks = frozenset[str]
NONE: Lacks = frozenset()


@dataclass(frozen=True, slots=True)
class Entry:
    """The capabilities that a model lacks, until the time of the epoch at which they are tried again."""

    lacks: Lacks
    until: float


class Learned:
    """The lacking capabilities by upstream and model. One instance serves a process, from one event loop.

    ``on_change`` is called with the upstream, the model and the new entry when this process has learned something.
    """

    def __init__(
        self, clock: Callable[[], float] = time, on_change: Callable[[str, str, Entry], None] | None = None
    ) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, str], Entry] = {}
        self.on_change = on_change

    def lacks(self, upstream: str, model: str) -> Lacks:
        """The capabilities that a model is known to lack."""
        entry = self._entries.get((upstream, model))
        return entry.lacks if entry is not None and entry.until > self._clock() else NONE

    def learn(self, upstream: str, model: str, lacks: Lacks) -> None:
        """Remember that a model answered without these capabilities, and refused one of them."""
        entry = Entry(lacks | self.lacks(upstream, model), self._clock() + KEPT_SECONDS)
        self._keep((upstream, model), entry)
        if self.on_change is not None:
            self.on_change(upstream, model, entry)

    def merge(self, found: Mapping[tuple[str, str], Entry]) -> None:
        """Add what other processes have learned."""
        now = self._clock()
        for key, entry in found.items():
            own = self._entries.get(key)
            if now < entry.until <= now + KEPT_SECONDS and (own is None or own.until < entry.until):
                self._keep(key, Entry(entry.lacks | self.lacks(*key), entry.until))

    def _keep(self, key: tuple[str, str], entry: Entry) -> None:
        self._entries.pop(key, None)
        self._entries[key] = entry
        while len(self._entries) > MOST_MODELS:
            del self._entries[next(iter(self._entries))]
