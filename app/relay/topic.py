"""A log with connections in this process: the events held, and the position up to which they were delivered."""

from __future__ import annotations

from math import inf
from typing import Protocol

from app.domain.cursor import Cursor
from app.relay.log_cursor import LogConsumer
from app.relay.log_type import LogType
from app.relay.read_backoff import ReadBackoff
from app.relay.tail import Tail


class Topic:
    """One log, its tail, and the descriptors that follow it here. Belongs to the hub's thread.

    ``end`` is the newest event held, ``delivered`` the newest one that has been sent to the live connections. Between
    a message and the end of its round they differ; a connection that leaves the live ones stands at ``delivered``.
    """

    __slots__ = (
        "backoff",
        "channel",
        "checked_at",
        "delivered",
        "delivered_at",
        "delivered_count",
        "delivered_offset",
        "empty",
        "examined",
        "fresh",
        "key",
        "live",
        "log_type",
        "notice",
        "position",
        "readers",
        "tail",
        "trim_at",
        "waiting",
        "was_read",
    )  # fmt: skip

    def __init__(self, key: str, log_type: LogType, start: Cursor, now: float) -> None:
        self.key = key
        self.log_type = log_type
        self.channel = log_type.channel(key)
        self.tail = Tail(start, log_type.frame, log_type.last)
        self.backoff = ReadBackoff(now)
        # Descriptors of connections that have everything delivered: each growth goes to them in one loop.
        self.live: set[int] = set()
        # Those of them that had no event before they became live; some may have left.
        self.fresh: set[int] = set()
        # Consumers that stand beyond the end or get another form, by descriptor: tried one by one at each growth.
        self.waiting: dict[int, LogConsumer] = {}
        self.readers = 0
        # False until the log was read once: its readers do not have older events yet.
        self.was_read = False
        self.delivered = self.tail.end
        self.delivered_offset = self.delivered_count = 0
        # The offset of the tail from which its length is checked.
        self.trim_at = 0
        # The times of the last growth, and of the last query to PostgreSQL about this log.
        self.delivered_at = self.checked_at = now
        # The newest event of the store that was read because a client may have named its position.
        self.examined: Cursor | None = None
        # The time since which it has no readers.
        self.empty = inf
        # The last notice about the queue, and the position in the queue that it named.
        self.notice = b""
        self.position = 0

    @property
    def end(self) -> Cursor:
        """The newest event held."""
        return self.tail.end

    @property
    def pending(self) -> bool:
        """True while events are held that have not been delivered."""
        return self.delivered_count != self.tail.count

    def name(self) -> dict[str, str]:
        """The id of the log's object, under the field's name in a line of the service's own log."""
        return {self.log_type.id_name: self.key}

    def mark_delivered(self) -> None:
        """Note that everything held has been sent to the live connections."""
        tail = self.tail
        self.delivered, self.delivered_offset, self.delivered_count = tail.end, tail.offset, tail.count


class TopicListener(Protocol):
    """Receives what happens to the topics. Implemented by the fan-out."""

    def on_event(self, topic: Topic) -> None:
        """A published event was appended to the tail; more may follow in this round."""
        ...

    def on_notice(self, topic: Topic, chunked: bytes) -> None:
        """A notice was published beside the log."""
        ...

    def on_read(self, topic: Topic, *, is_first: bool) -> None:
        """A page was read and has extended the tail. The first page may be empty."""
        ...

    def on_rewind(self, topic: Topic) -> None:
        """The tail is empty and is about to begin at an earlier position."""
        ...

    def on_page(self, consumer: LogConsumer) -> None:
        """The page for this consumer was read."""
        ...

    def on_deleted(self, topic: Topic) -> None:
        """The log was deleted from the store."""
        ...

    def on_failed(self, topic: Topic, error: Exception) -> None:
        """The topic cannot be served any more."""
        ...

    def wants_page(self, consumer: LogConsumer) -> bool:
        """True while the consumer is open and waits for a page."""
        ...
