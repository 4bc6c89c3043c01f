"""The store that logs are read from, and their channels. Implemented by the services, wired at start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.cursor import Cursor
from app.domain.events import Entry


class LogSource(Protocol):
    """Blocking reads, called in the hub's pool. Each raises StoreDown when no store answers."""

    def read(self, key: str, after: Cursor, limit: int) -> list[Entry]:
        """Up to ``limit`` entries past ``after``, in order, without a gap behind ``after`` or among them."""
        ...

    def ends(self, keys: Sequence[str]) -> dict[str, Cursor | None]:
        """For each log that exists: the position of its end or of the newest event stored; None where it is unknown."""
        ...

    def queue_positions(self, keys: Sequence[str]) -> dict[str, int]:
        """The position in the queue, from 1, of each generation that waits for a worker."""
        ...


@dataclass(frozen=True, slots=True)
class LogType:
    """A kind of log: the store it is read from, its channel, its framing and its end.

    ``channel`` returns the channel of a log. A message is ``<epoch>-<n> <payload>``, or ``!`` and a notice that is sent
    to the readers beside the log. Any other message means that the log has grown. ``frame`` gives an entry its form on
    the wire; None is the frame of ``sse``. The event whose payload begins with ``last`` is the end of a log; None for
    logs without an end. ``page`` is the number of entries of one read. A line of the service's own log has the key of a
    log under the name ``id_name``.
    """

    source: LogSource
    channel: Callable[[str], bytes]
    frame: Callable[[Cursor, bytes], bytes] | None = None
    last: bytes | None = b'{"type":"done"'
    page: int = 5000
    id_name: str = "generation_id"
