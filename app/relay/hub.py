"""The thread that receives published events and sends them to the sockets of all clients itself.

Everything that may block, reading logs above all, happens in a small pool and returns as a call in this thread. So one
thread alone touches the hub's objects. Each descriptor and each posted call has an exception boundary: a failure costs
one connection or one call.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from math import inf
from threading import Event, Lock, Thread
from time import monotonic, time
from weakref import WeakSet

from app.relay.backfill import Backfill
from app.relay.connections import DRAIN_SECONDS, Connections
from app.relay.event_loop import EventLoop
from app.relay.fan_out import FanOut
from app.relay.housekeeping import KEEPALIVE_SECONDS, TICK_SECONDS, Housekeeping
from app.relay.log_reader import LogReader
from app.relay.log_type import LogType
from app.relay.reports import Reports
from app.relay.revoker import Revoker
from app.relay.sender import Sender
from app.relay.stats import RelayStats
from app.relay.stream_connection import Closed, StreamConnection, StreamRequest, prepare
from app.relay.subscriber import Subscriber
from app.relay.topics import TopicRegistry

_running: WeakSet[Hub] = WeakSet()


def running() -> list[Hub]:
    """The hubs of this process, for the code that ends it."""
    return list(_running)


class Hub:
    """All live streams of a process. ``adopt``, ``drain`` and ``close`` may be called from any thread."""

    def __init__(
        self,
        log_type: LogType,
        redis_url: str,
        namespace: str,
        publish: Callable[[bytes, bytes], object],
        *,
        keepalive: float = KEEPALIVE_SECONDS,
        reading_threads: int = 8,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.log_type = log_type
        self.stats = stats = RelayStats()
        self.reports = reports = Reports(stats)
        self.loop = loop = EventLoop(self._on_failure, clock)
        self.reader = reader = LogReader(loop, stats, reports, reading_threads)
        self.registry = registry = TopicRegistry(loop, reader, stats)
        self.backfill = backfill = Backfill(loop, reader, stats)
        self.connections = connections = Connections(loop, registry, stats, reports)
        self.sender = sender = Sender(loop, registry, backfill, connections, stats)
        self.revoker = Revoker(loop, connections, sender)
        self.fan_out = registry.listener = backfill.listener = FanOut(loop, connections, sender, stats, reports)
        self.subscriber = registry.subscriber = Subscriber(
            loop, reader, registry, stats, reports, redis_url, namespace, publish
        )
        self.housekeeping = Housekeeping(loop, registry, reader, connections, sender, self.fan_out, keepalive)
        self._next_tick = 0.0
        self._draining = self._stopped = False
        self.drained = Event()
        self._thread: Thread | None = None
        self._starting = Lock()

    # For any thread

    @property
    def streams_open(self) -> int:
        """Streams that are being served now."""
        return len(self.connections.open)

    @property
    def alive(self) -> bool:
        """True while the thread that serves the streams runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Open the loop and start the thread, after the fork. ``adopt`` calls it, too."""
        with self._starting:
            if self._thread is None:
                self.open()
                thread = Thread(target=self._run, name="relay-hub", daemon=True)
                thread.start()
                self._thread = thread
                _running.add(self)

    def open(self) -> None:
        """Open the loop, for a caller that makes the steps itself."""
        self.loop.open()
        self.reports.open()

    def adopt(self, sock: socket.socket, request: StreamRequest, prefix: bytes = b"", *, later: bool = False) -> None:
        """Take over a client's socket; send ``prefix``, the head and the first chunk, then the requested log in chunks.

        The hub's thread sends the prefix where ``later`` says so. A process that drains breaks the stream. The socket
        loses its descriptor. Raises OSError or RuntimeError, and adopts nothing, when the hub or the socket is closed.
        """
        self.start()
        prepare(sock)
        now = self.loop.clock()
        if self._stopped:
            sock.close()
            self.connections.report(request, Closed(request.key, "drain", 0, 0, 0.0))
            return
        connection = StreamConnection(sock.fileno(), request, now, now + request.expires_at - time())
        if not later:
            connection.send_opening(prefix)
        sock.detach()
        self.loop.post(self._join, connection, request.log_type or self.log_type, prefix if later else b"")

    def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Break every stream within ``seconds``, not all at the same moment, and every later one at once.

        Sets ``drained`` when the last one is gone. Safe in a signal handler.
        """
        if self._thread is None:
            self._draining = True
            self.drained.set()
        else:
            self.loop.post(self._drain, seconds)

    def close(self) -> None:
        """Break all streams and end the thread."""
        if self._thread is not None:
            self.loop.post(self._stop)
            self._thread.join(5)
        self.reader.close()
        self.reports.close()

    # The loop

    def step(self, *, block: bool = True) -> None:
        """One round: the descriptors that are ready, posted calls, connections whose turn it is, what is due."""
        loop, sender = self.loop, self.sender
        for fd, events in loop.wait(-inf if self.connections.ready or not block else self._next_tick):
            if fd == self.subscriber.fd:
                self.subscriber.on_ready(events)
                self.fan_out.deliver_pending()
            else:
                sender.on_socket(fd, events)
        # Posted calls run last: a new socket may have the number of an old one that has an event in this round.
        loop.run_posted()
        if self.connections.ready:
            sender.run_ready()
        loop.run_timers()
        if loop.now >= self._next_tick:
            self._next_tick = loop.now + TICK_SECONDS
            self.subscriber.tick(loop.now)
            self.housekeeping.tick()
        if self._draining and not self.connections.open:
            self.drained.set()

    def _run(self) -> None:
        while not self._stopped:
            try:
                self.step()
            except Exception as error:
                self._on_failure(error)
        self._end()

    def _end(self) -> None:
        self._draining = True
        # Connections that were handed over until now are closed like the others.
        self.loop.run_posted()
        self.connections.close_all()
        self.subscriber.close()
        self.loop.close()
        self.drained.set()

    def _on_failure(self, error: Exception) -> None:
        self.stats.failures += 1
        self.reports.error("step of the relay failed", "relay_failed", error)

    def _join(self, connection: StreamConnection, log_type: LogType, opening: bytes) -> None:
        if opening:
            connection.send_opening(opening)
        if self._draining:
            self.drained.clear()
        if self.revoker.admits(connection):
            self.sender.join(connection, log_type)
        if self._draining:
            self.connections.send_away(connection)

    def _drain(self, seconds: float) -> None:
        self._draining = True
        self.connections.drain(seconds)

    def _stop(self) -> None:
        self._stopped = True
