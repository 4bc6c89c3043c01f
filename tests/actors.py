"""Workers reduced to their protocol: a test moves them step by step, over the production services and log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Thread, current_thread
from typing import Any

from sqlalchemy import event

from app.domain.commands import StartGeneration, User
from app.domain.cursor import Cursor
from app.domain.events import Done, Entry, Event, Mark, Snapshot, Token, encode, number
from app.domain.lease import Claimed
from app.domain.transcript import Transcript
from app.eventlog.log import AppendResult
from app.services.finishing import Ending
from app.services.generation_start import Started
from app.services.leases import Leases
from app.services.takeover import Frozen
from app.store import checkpoints
from app.store.database import execute, fetch_one
from app.wiring import Resources


class Hand:
    """One worker's lease on one generation, with the events that the worker has made."""

    def __init__(self, resources: Resources, claimed: Claimed) -> None:
        self.resources = resources
        self.claimed = claimed
        self.epoch = claimed.lease.epoch
        self.id = claimed.lease.generation_id
        self.events: list[Event] = []

    @property
    def payloads(self) -> list[bytes]:
        return [encode(event) for event in self.events]

    @property
    def entries(self) -> list[Entry]:
        return number(self.epoch, 0, self.payloads)

    def freeze(self, patience: float = 0) -> Frozen:
        return self.resources.takeover.freeze(self.claimed, patience)

    def say(self, *events: Event) -> Hand:
        """Add events to the draft in memory; neither store has them yet."""
        self.events += events
        return self

    def speak(self, count: int, begin: int = 0) -> Hand:
        """Add a snapshot when there is none, and ``count`` tokens that carry their epoch and number."""
        if not self.events:
            self.say(Snapshot("", "start", 1))
        return self.say(*(Token(f"t{self.epoch}.{n} ") for n in range(begin, begin + count)))

    def publish(self, count: int | None = None) -> AppendResult:
        """Open the revision in the log and append the first ``count`` events."""
        self.resources.log.open(self.id, self.epoch)
        return self.resources.log.append(self.id, self.epoch, 0, self.payloads[:count])

    def save(self, count: int | None = None, pieces: int = 3) -> None:
        """Checkpoint the first ``count`` events, in rows of ``pieces``."""
        entries = self.entries[:count]
        with self.resources.database.system() as tx:
            for first in range(0, len(entries), pieces):
                checkpoints.add_chunk(tx, self.id, self.claimed.user_id, entries[first : first + pieces])

    def finish(self, status: Any = "completed", before: Sequence[Entry] = ()) -> bytes:
        """Add the mark, commit the end, and return the encoded done. ``before``: the entries of earlier revisions."""
        if status == "completed" and not any(isinstance(event, Mark) for event in self.events):
            self.say(Mark("stop", {"input_tokens": 1, "output_tokens": 2}))
        said = Transcript.of([*before, *self.entries])
        ending = Ending(status, "stop" if status == "completed" else status, {"output_tokens": 2})
        return self.resources.finisher.finish(self.claimed, self.payloads, said, ending, [])

    def end(self, done: bytes) -> AppendResult:
        """Append the events and the committed done to the log."""
        return self.resources.log.append(self.id, self.epoch, 0, [*self.payloads, done])

    def release(self) -> None:
        """End the lease, so that any worker may claim the generation."""
        release(self.resources, self.id)


def start(resources: Resources, user: User, message: str = "Hello", **fields: Any) -> Started:
    return resources.starter.start(user, StartGeneration(message, **{"model": "offline", **fields}))


def claim(resources: Resources, generation_id: str, worker: str = "actor", lease: float = 600) -> Hand:
    claimed = Leases(resources.database, worker, lease, 1800).claim(generation_id)
    assert claimed is not None, "it can be claimed"
    return Hand(resources, claimed)


def release(resources: Resources, generation_id: str) -> None:
    with resources.database.system() as tx:
        execute(tx, "UPDATE generations SET lease_until = NULL WHERE id = :id", id=generation_id)


def before_statement(
    resources: Resources, about: str, do: Callable[[], Any], time: int = 1, by: Thread | None = None
) -> None:
    """Call ``do`` once, just before these connections send the ``time``-th statement that contains ``about``.

    ``by``: only statements of this thread count.
    """
    due = [do, *[lambda: None] * (time - 1)]

    def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if about in statement and by in (None, current_thread()) and due:
            due.pop()()

    event.listen(resources.database.engine, "before_cursor_execute", look)


def somebody_waits(resources: Resources) -> bool:
    """True while a transaction waits for a lock."""
    with resources.database.system() as tx:
        return fetch_one(tx, "SELECT FROM pg_locks WHERE NOT granted") is not None


def last(entries: Sequence[Entry]) -> Cursor:
    return entries[-1].cursor if entries else Cursor(0, 0)


__all__ = ["Done", "Hand", "before_statement", "claim", "last", "release", "somebody_waits", "start"]
