"""A log in memory that follows the rules of append.lua, for tests and for the model of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.domain.cursor import START, Cursor
from app.domain.events import Entry
from app.eventlog.log import KEEP_TTL, PAGE, AppendResult

Listener = Callable[[str, Entry], None]


@dataclass(slots=True)
class _State:
    epoch: int
    n: int = -1
    entries: list[Entry] = field(default_factory=list)


class MemoryLog:
    """Behaves as RedisLog does, but nothing expires. ``listener`` receives what RedisLog would publish."""

    def __init__(self, listener: Listener = lambda generation_id, entry: None) -> None:
        self._states: dict[str, _State] = {}
        self._listener = listener

    def open(self, generation_id: str, epoch: int) -> AppendResult:
        """See RedisLog.open."""
        state = self._states.setdefault(generation_id, _State(epoch))
        if state.epoch > epoch:
            return AppendResult("FENCED", state.epoch)
        if state.epoch < epoch:
            state.epoch, state.n = epoch, -1
        return AppendResult("OK", state.n)

    def append(
        self, generation_id: str, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
    ) -> AppendResult:
        """See RedisLog.append."""
        state = self._states.get(generation_id)
        if state is None:
            return AppendResult("LOST", 0)
        if epoch < state.epoch:
            return AppendResult("FENCED", state.epoch)
        if epoch > state.epoch:
            return AppendResult("UNOPENED", state.epoch)
        if payloads and first > state.n + 1:
            return AppendResult("GAP", state.n)
        for n, payload in enumerate(payloads, first):
            if n > state.n:
                entry = Entry(Cursor(epoch, n), payload)
                state.entries.append(entry)
                state.n = n
                self._listener(generation_id, entry)
        return AppendResult("OK", state.n)

    def read(self, generation_id: str, after: Cursor = START, limit: int = PAGE) -> list[Entry]:
        """See RedisLog.read."""
        state = self._states.get(generation_id)
        return [entry for entry in state.entries if entry.cursor > after][:limit] if state else []

    def unlink(self, generation_ids: Sequence[str]) -> None:
        """See RedisLog.unlink."""
        for generation_id in generation_ids:
            self._states.pop(generation_id, None)

    def forget(self, generation_id: str, kept: int) -> None:
        """Lose every entry but the first ``kept``, as a server does whose last seconds were not on disk."""
        state = self._states[generation_id]
        del state.entries[kept:]
        own = [entry.cursor.n for entry in state.entries if entry.cursor.epoch == state.epoch]
        state.n = own[-1] if own else -1
