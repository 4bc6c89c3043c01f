"""Several logs on one socket: a connection's own log, and others that are sent beside it, each at its own position.

A substream is a log consumer like any other; its data leaves through the socket of its connection, between two
events, and only while the connection has nothing of its own log left to send. So a slow client holds back all of its
logs alike, and none of its substreams costs memory meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from app.domain.cursor import START, Cursor
from app.relay.log_cursor import LogConsumer, Render
from app.relay.log_type import LogType
from app.relay.topic import Topic

# Logs that one connection carries beside its own at the same time. The others follow when one of these has ended.
MOST_CARRIED = 50


class Substream(LogConsumer):
    """Another log on the socket ``fd``. ``held``: it has more to send, and waits for the socket to be free."""

    __slots__ = ("fd", "held", "key", "topic")

    def __init__(self, fd: int, key: str, after: Cursor, topic: Topic, render: Render) -> None:
        super().__init__(after, render)
        self.fd = fd
        self.key = key
        self.topic = topic
        self.held = True


class Multiplexer:
    """The logs sent beside a connection's own. They are of ``log_type``; ``show`` gives the form of one's entries.

    ``begun`` are those to begin with, each past a position. ``leads`` names the log that an entry of the connection's
    own log announces, if any: that log is followed from its start, once.
    """

    __slots__ = ("_begun", "_leads", "_show", "_wanted", "carried", "log_type")

    def __init__(
        self,
        log_type: LogType,
        show: Callable[[str], Render],
        leads: Callable[[bytes], str | None],
        begun: Iterable[tuple[str, Cursor]],
    ) -> None:
        self.log_type = log_type
        self._show = show
        self._leads = leads
        self._wanted = deque(begun)
        # An entry may announce one of these again. Each later log is announced once.
        self._begun = frozenset(key for key, _ in self._wanted)
        self.carried: dict[str, Substream] = {}

    def watching(self, render: Render) -> Render:
        """``render``, which also takes note of the logs that the entries announce."""

        def watch(cursor: Cursor, payload: bytes) -> bytes:
            key = self._leads(payload)
            if key is not None and key not in self._begun:
                self._wanted.append((key, START))
            return render(cursor, payload)

        return watch

    def wanted(self) -> Iterator[tuple[str, Cursor]]:
        """The logs to be followed now, as far as there is room."""
        while self._wanted and len(self.carried) < MOST_CARRIED:
            yield self._wanted.popleft()

    def carry(self, fd: int, key: str, after: Cursor, topic: Topic) -> None:
        """Begin to send this log past ``after``."""
        self.carried[key] = Substream(fd, key, after, topic, self._show(key))

    def held(self) -> list[Substream]:
        """The substreams that wait for the socket."""
        return [substream for substream in self.carried.values() if substream.held]
