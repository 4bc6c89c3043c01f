"""Workers reduced to their protocol: tests move them step by step, through the same services and the same log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Thread, current_thread
from typing import Any

from sqlalchemy import event

from app.domain.commands import StartGeneration, User
from app.domain.cursor import Cursor
from app.domain.events import Done, Entry, Event, Mark, Snapshot, Token, encode, number
from app.domain.transcript import Transcript
from app.eventlog.log import Answer
from app.services.finishing import Ending
from app.services.leases import Leases
from app.services.starting import Started
from app.services.takeover import Frozen
from app.store import checkpoints
from app.store.database import execute, fetch_one
from app.store.leases import Claimed
from app.wiring import Resources


class Hand:
    """One worker's hold on one generation: what it said, and where it put that."""

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
        """Remember events; nobody has them yet."""
        self.events += events
        return self

    def speak(self, count: int, begin: int = 0) -> Hand:
        """A snapshot when there is none, and ``count`` tokens that tell where they come from."""
        if not self.events:
            self.say(Snapshot("", "start", 1))
        return self.say(*(Token(f"t{self.epoch}.{n} ") for n in range(begin, begin + count)))

    def publish(self, count: int | None = None) -> Answer:
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
        """Mark it, commit the end, and return the encoded done; ``before``: the entries of earlier revisions."""
        if status == "completed" and not any(isinstance(event, Mark) for event in self.events):
            self.say(Mark("stop", {"input_tokens": 1, "output_tokens": 2}))
        said = Transcript.of([*before, *self.entries])
        ending = Ending(status, "stop" if status == "completed" else status, {"output_tokens": 2})
        return self.resources.finisher.finish(self.claimed, self.payloads, said, ending, [])

    def end(self, done: bytes) -> Answer:
        """Append the committed end."""
        return self.resources.log.append(self.id, self.epoch, 0, [*self.payloads, done])

    def release(self) -> None:
        """The lease is over; anybody may claim."""
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
    """Have something happen once, just before these connections send a statement that says ``about`` a certain time.

    ``by``: only statements of this thread count.
    """
    due = [do, *[lambda: None] * (time - 1)]

    def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if about in statement and by in (None, current_thread()) and due:
            due.pop()()

    event.listen(resources.database.engine, "before_cursor_execute", look)


def somebody_waits(resources: Resources) -> bool:
    """Whether anybody waits for a lock."""
    with resources.database.system() as tx:
        return fetch_one(tx, "SELECT FROM pg_locks WHERE NOT granted") is not None


def last(entries: Sequence[Entry]) -> Cursor:
    return entries[-1].cursor if entries else Cursor(0, 0)


__all__ = ["Done", "Hand", "before_statement", "claim", "last", "release", "somebody_waits", "start"]
