"""Several logs on one socket: a reader's own, and others it is sent beside it, each at its own position.

A strand is a follower like any other; only what it has to say goes out through its reader's socket, between two
events, and only while the reader has nothing of its own log left to send. So one slow client holds back all of it
alike, and none of its strands costs memory meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from app.domain.cursor import START, Cursor
from app.relay.book import Book
from app.relay.follow import Follower, Render

if TYPE_CHECKING:
    from app.relay.reader import Reader
    from app.relay.topic import Topic

# Of one reader at the same time; the others follow when one of these has ended.
MOST_CARRIED = 50


class Strand(Follower):
    """Another log on the socket of ``reader``. ``held``: it has more to say, and waits for the socket to be free."""

    __slots__ = ("held", "key", "reader", "topic")

    def __init__(self, key: str, after: Cursor, reader: Reader, topic: Topic, render: Render) -> None:
        super().__init__(after, render)
        self.key = key
        self.reader = reader
        self.topic = topic
        self.held = True

    @property
    def fd(self) -> int:
        """The descriptor of its reader's socket."""
        return self.reader.fd


class Strands:
    """The logs a reader is sent beside its own. They are read from ``book``; ``show`` gives the form of one's entries.

    ``begun`` are those to begin with, each past a position. ``leads`` says which log an entry of the reader's own log
    tells of, if any: that one is followed from its start, once.
    """

    __slots__ = ("_begun", "_leads", "_show", "_wanted", "book", "carried")

    def __init__(
        self,
        book: Book,
        show: Callable[[str], Render],
        leads: Callable[[bytes], str | None],
        begun: Iterable[tuple[str, Cursor]],
    ) -> None:
        self.book = book
        self._show = show
        self._leads = leads
        self._wanted = deque(begun)
        # An entry may tell of one of these once more; each later one is told of once.
        self._begun = frozenset(key for key, _ in self._wanted)
        self.carried: dict[str, Strand] = {}

    def watching(self, render: Render) -> Render:
        """``render``, taking note of the logs that the entries tell of."""

        def watch(cursor: Cursor, payload: bytes) -> bytes:
            key = self._leads(payload)
            if key is not None and key not in self._begun:
                self._wanted.append((key, START))
            return render(cursor, payload)

        return watch

    def wanted(self) -> Iterator[tuple[str, Cursor]]:
        """Those to be followed now, as far as there is room."""
        while self._wanted and len(self.carried) < MOST_CARRIED:
            yield self._wanted.popleft()

    def carry(self, key: str, after: Cursor, reader: Reader, topic: Topic) -> None:
        """Begin to send this log past ``after``."""
        self.carried[key] = Strand(key, after, reader, topic, self._show(key))

    def held(self) -> list[Strand]:
        """Those that wait for the socket."""
        return [strand for strand in self.carried.values() if strand.held]
