"""The log's twin in memory: the same law in plain Python, for tests and for the model of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.domain.cursor import START, Cursor
from app.domain.events import Entry
from app.eventlog.log import KEEP_TTL, PAGE, Answer

Listener = Callable[[str, Entry], None]


@dataclass(slots=True)
class _State:
    epoch: int
    n: int = -1
    entries: list[Entry] = field(default_factory=list)


class MemoryLog:
    """Behaves as RedisLog does, without time: nothing expires. ``listener`` hears what would be published."""

    def __init__(self, listener: Listener = lambda generation_id, entry: None) -> None:
        self._states: dict[str, _State] = {}
        self._listener = listener

    def open(self, generation_id: str, epoch: int) -> Answer:
        """See RedisLog.open."""
        state = self._states.setdefault(generation_id, _State(epoch))
        if state.epoch > epoch:
            return Answer("FENCED", state.epoch)
        if state.epoch < epoch:
            state.epoch, state.n = epoch, -1
        return Answer("OK", state.n)

    def append(
        self, generation_id: str, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
    ) -> Answer:
        """See RedisLog.append."""
        state = self._states.get(generation_id)
        if state is None:
            return Answer("LOST", 0)
        if epoch < state.epoch:
            return Answer("FENCED", state.epoch)
        if epoch > state.epoch:
            return Answer("UNOPENED", state.epoch)
        if payloads and first > state.n + 1:
            return Answer("GAP", state.n)
        for n, payload in enumerate(payloads, first):
            if n > state.n:
                entry = Entry(Cursor(epoch, n), payload)
                state.entries.append(entry)
                state.n = n
                self._listener(generation_id, entry)
        return Answer("OK", state.n)

    def read(self, generation_id: str, after: Cursor = START, limit: int = PAGE) -> list[Entry]:
        """See RedisLog.read."""
        state = self._states.get(generation_id)
        return [entry for entry in state.entries if entry.cursor > after][:limit] if state else []

    def drop(self, generation_id: str) -> None:
        """See RedisLog.drop."""
        self._states.pop(generation_id, None)

    def forget(self, generation_id: str, kept: int) -> None:
        """Lose every entry but the first ``kept``, as a server does whose last seconds were not on disk."""
        state = self._states[generation_id]
        del state.entries[kept:]
        own = [entry.cursor.n for entry in state.entries if entry.cursor.epoch == state.epoch]
        state.n = own[-1] if own else -1
