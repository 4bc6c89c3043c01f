"""Where logs are read, and where they are published. Implemented by the services, wired at start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.cursor import Cursor
from app.domain.events import Entry


class Source(Protocol):
    """Blocking reads, called in the hub's pool. Each raises StoreDown when no store answers."""

    def read(self, key: str, after: Cursor, limit: int) -> list[Entry]:
        """Up to ``limit`` entries past ``after``, in order, without a hole behind ``after`` or among them."""
        ...

    def ends(self, keys: Sequence[str]) -> dict[str, Cursor | None]:
        """For each log that exists: the position of its last event, or None where that is not known: read it."""
        ...

    def queue_positions(self, keys: Sequence[str]) -> dict[str, int]:
        """For each generation that still waits for a worker: its place in the queue, from 1."""
        ...


@dataclass(frozen=True, slots=True)
class Book:
    """A kind of log: how it is read, heard and shown.

    ``channel`` names the channel of a log; a message is ``<epoch>-<n> <payload>``, or ``!`` and what is to be sent to
    its readers as it is, beside the log. Anything else on it only says that there is something to read. ``frame`` gives
    an entry its form on the wire; None is the frame of ``sse``. The event that begins with ``last`` is a log's last
    one; None: it has none. ``page`` is how many entries are read at once.
    """

    source: Source
    channel: Callable[[str], bytes]
    frame: Callable[[Cursor, bytes], bytes] | None = None
    last: bytes | None = b'{"type":"done"'
    page: int = 5000
