"""One thread that hears what is published and sends it to every client's socket itself.

Nothing else wakes up for a token: it is parsed once, encoded once, and costs one ``write`` for each live reader
(``_deliver``). Everything that may block, reading logs above all, happens in a small pool and comes back as a
call in this thread, so that what belongs to the hub is touched by one thread only.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from math import inf
from random import random
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLOUT, EPOLLRDHUP
from threading import Event, Lock, Thread
from time import monotonic, time
from weakref import WeakSet

import structlog

from app.domain import sse
from app.domain.cursor import Cursor
from app.domain.events import NOTICE, Entry
from app.relay.book import Book
from app.relay.follow import Render
from app.relay.loop import Loop
from app.relay.reader import Closed, OnClose, Reader, Reason, discard_input, finish, prepare
from app.relay.shelf import TAIL_BYTES, Shelf
from app.relay.strands import Strand, Strands
from app.relay.tail import chunk
from app.relay.topic import Topic

logger = structlog.get_logger()

KEEPALIVE_SECONDS = 15.0
QUEUE_SECONDS = 2.0
STALL_SECONDS = 60.0
# How long a finished stream may wait for the client to close, before we do.
CLOSE_SECONDS = 2.0
TICK_SECONDS = 0.5
DRAIN_SECONDS = 0.9

# Bytes of one write where events are put into another form for it, and where they are only copied: most of what a
# write costs is not the bytes. Writes for one reader before it is another one's turn.
PIECE = 65_536
BLOCK = 262_144
TURN = 8

LAST_CHUNK = b"0\r\n\r\n"
HEARTBEAT = chunk(sse.HEARTBEAT)
EXPIRED = chunk(sse.notice({"type": "auth", "detail": "token expired"}))
# Edge-triggered: a socket reports once that it has room again, and never has to be re-armed.
_INTEREST = EPOLLOUT | EPOLLRDHUP | EPOLLET
_GONE = EPOLLRDHUP | EPOLLHUP | EPOLLERR


_running: WeakSet[Hub] = WeakSet()


def running() -> list[Hub]:
    """The hubs of this process, for whoever has to end it."""
    return list(_running)


class Hub:
    """All live streams of a process. ``adopt``, ``drain`` and ``close`` may be called from any thread."""

    def __init__(
        self,
        book: Book,
        redis_url: str,
        namespace: str,
        publish: Callable[[bytes, bytes], object],
        *,
        keepalive: float = KEEPALIVE_SECONDS,
        reading_threads: int = 8,
    ) -> None:
        self.book = book
        self._keepalive = keepalive
        self._loop = Loop()
        self._shelf = Shelf(
            self._loop,
            redis_url,
            namespace,
            publish,
            reading_threads=reading_threads,
            heard=self._heard,
            grown=self._deliver,
            ready=self._pump,
            is_open=self._is_open,
            deleted=lambda topic: self._break_all(topic, "deleted"),
        )
        self._ear, self._topics = self._shelf.ear, self._shelf.topics
        self._readers: dict[int, Reader] = {}
        # Finished streams that wait for their client to close.
        self._parting: dict[int, float] = {}
        self._touched: list[Topic] = []
        self._ready: deque[Reader | Strand] = deque()
        self._next_tick = 0.0
        self._next_queue_look = 0.0
        self._asking_queue = False
        self._draining = False
        self._stopped = False
        self.drained = Event()
        self._thread: Thread | None = None
        self._starting = Lock()
        # What has happened so far.
        self.streams_opened = 0
        self.events_received = 0
        self.frames_sent = 0
        self.bytes_sent = 0
        self.resyncs = 0

    # What is told to the outside

    @property
    def streams_open(self) -> int:
        """Streams that are being served now."""
        return len(self._readers)

    @property
    def redis_reconnects(self) -> int:
        """How often the subscription had to be built again."""
        return max(self._ear.connects - 1, 0)

    @property
    def log_reads(self) -> int:
        """How often a page of a log was read."""
        return self._shelf.log_reads

    @property
    def canary_failures(self) -> int:
        """How often the subscription was found deaf."""
        return self._ear.canary_failures

    @property
    def connected(self) -> bool:
        """Whether the hub hears Redis."""
        return self._ear.connected

    @property
    def alive(self) -> bool:
        """Whether the thread that serves the streams runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def draining(self) -> bool:
        """Whether streams are being sent away because the process ends."""
        return self._draining

    # Doors, for any thread

    def adopt(
        self,
        sock: socket.socket,
        key: str,
        after: Cursor,
        prefix: bytes = b"",
        *,
        book: Book | None = None,
        expires_at: float = inf,
        on_close: OnClose | None = None,
        render: Render | None = None,
        strands: Strands | None = None,
        notices: bool = True,
        heartbeat: bytes = sse.HEARTBEAT,
    ) -> None:
        """Take over a client's socket and serve it the log ``key`` past ``after``, as a chunked body.

        ``prefix`` is everything that comes first: the response's head and chunks of its own. ``expires_at`` is in
        seconds since 1970. ``on_close`` is called once, in the hub's thread, and must not block. While the process
        drains the stream is broken at once, so that the client comes back elsewhere. ``strands`` are other logs to be
        sent beside this one, shown as ``render`` shows this. ``heartbeat`` is sent when there has been nothing to say
        for a while. The caller's socket object is emptied, so that nobody but the hub can
        touch the connection.
        """
        self.start()
        prepare(sock)
        if self._stopped:
            sock.close()
            if on_close is not None:
                on_close(Closed(key, "drain", 0, 0, 0.0))
            return
        now = monotonic()
        reader = Reader(
            sock.detach(),
            after,
            now,
            expires=now + expires_at - time(),
            on_close=on_close,
            render=strands.watching(render) if render and strands else render,
            strands=strands,
            notices=notices and (render is None or strands is not None),
            heartbeat=HEARTBEAT if heartbeat == sse.HEARTBEAT else chunk(heartbeat),
        )
        # The head and the first frame leave from here: they need not wait for the hub.
        reader.rest = prefix[max(self._write(reader, prefix), 0) :]
        self._loop.post(self._join, reader, key, book or self.book)

    def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Break every stream within ``seconds``, not all at the same moment, and every later one at once.

        Sets ``drained`` when the last one is gone. Safe in a signal handler.
        """
        if self._thread is None:
            self._draining = True
            self.drained.set()
        else:
            self._loop.post(self._drain, seconds)

    def start(self) -> None:
        """Open what is needed and start the thread: after the fork. ``adopt`` does it too."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._loop.open()
                    self._shelf.open()
                    thread = Thread(target=self._run, name="relay-hub", daemon=True)
                    thread.start()
                    self._thread = thread
                    _running.add(self)

    def close(self) -> None:
        """Break all streams and end the thread."""
        if self._thread is not None:
            self._loop.post(self._stop)
            self._thread.join(5)
        self._shelf.close()

    # The loop

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._pass()
            except Exception:
                logger.exception("The relay stumbled.", action="relay_failed")
        self._end()

    def _pass(self) -> None:
        loop, ear = self._loop, self._ear
        for fd, events in loop.wait(-inf if self._ready else self._next_tick):
            if fd == ear.fd:
                ear.ready(events)
                self._deliver_touched()
            else:
                self._on_socket(fd, events)
        # Only now, so that an event of this round cannot meet a new socket that got an old one's number.
        loop.run_posted()
        if self._ready:
            self._run_ready()
        loop.run_timers()
        if loop.now >= self._next_tick:
            self._next_tick = loop.now + TICK_SECONDS
            self._tick()

    def _run_ready(self) -> None:
        for _ in range(len(self._ready)):
            reader = self._ready.popleft()
            if self._is_open(reader):
                self._pump(reader)

    # Hearing

    def _heard(self, channel: bytes, message: bytes) -> None:
        topic = self._topics.get(channel)
        if topic is None:
            return
        data = topic.tail.hear(message)
        if data:
            if not topic.fresh:
                self._touched.append(topic)
            topic.fresh.append(data)
        elif message.startswith(NOTICE):
            self._pass_on(topic, chunk(message[len(NOTICE) :]))
        elif topic.tail.gap:
            # Feeds are only ever rung for; that is no hole.
            self.resyncs += topic.book.frame is None
            topic.schedule.hole(self._loop.now)
            self._shelf.plan(topic)

    def _pass_on(self, topic: Topic, chunked: bytes) -> None:
        """Say something beside the log to everybody who has all of it. Who is behind does without."""
        for reader in [*topic.live.values(), *topic.waiting.values()]:
            # What carries several logs has no place for what is said beside one of them.
            if isinstance(reader, Reader) and reader.notices:
                self._say(reader, chunked)

    def _deliver_touched(self) -> None:
        """Everything heard in this round, joined per log."""
        touched, self._touched = self._touched, []
        for topic in touched:
            fresh, topic.fresh = topic.fresh, []
            events = len(fresh)
            self.events_received += events
            try:
                self._deliver(topic, fresh[0] if events == 1 else b"".join(fresh), events)
            except Exception:
                logger.exception("A log cannot be delivered.", action="relay_failed", generation_id=topic.key)
                self._break_all(topic, "failed")

    def _deliver(self, topic: Topic, blob: bytes, events: int) -> None:
        """Send the newest ``events`` of the tail to every live reader. The hot path: per reader only a ``write``."""
        tail, live, size = topic.tail, topic.live, len(blob)
        topic.delivered_at = self._loop.now
        if tail.complete or size > PIECE:
            self._release(topic, tail.offset - size, tail.count - events)
        else:
            short: list[tuple[int, int]] | None = None
            write = os.write
            for fd in live:
                try:
                    sent = write(fd, blob)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    sent = -1
                if sent != size:
                    short = short or []
                    short.append((fd, sent))
            self.frames_sent += events * len(live)
            self.bytes_sent += size * len(live)
            if short:
                self._fell_behind(topic, tail.offset - size, short)
        if topic.waiting:
            self._deliver_waiting(topic, size)
        if tail.offset > topic.trim_at:
            tail.trim(TAIL_BYTES * 3 // 4)
            topic.trim_at = tail.offset + TAIL_BYTES // 4

    def _deliver_waiting(self, topic: Topic, size: int) -> None:
        """The same for those who stand elsewhere or get another form. Who lacks just these events gets them at once."""
        tail, after, entries = topic.tail, topic.tail.at(topic.tail.offset - size), None
        for reader in list(topic.waiting.values()):
            if isinstance(reader, Strand) or not reader.renders_past(after) or tail.complete or size > PIECE:
                self._pump(reader)
                continue
            entries = entries or tail.entries(after, PIECE)
            self._send_rendered(reader, entries)

    def _send_rendered(self, reader: Reader, entries: list[Entry]) -> None:
        """Send a reader that waits for nothing else these events in its own form."""
        render = reader.render
        assert render is not None
        try:
            rendered = b"".join([render(cursor, payload) for cursor, payload in entries])
        except Exception:
            logger.exception("An event cannot be rendered.", action="render_failed", generation_id=reader.topic.key)
            return self._forget(reader, "failed")
        reader.cursor = entries[-1].cursor
        reader.events += len(entries)
        self.frames_sent += len(entries)
        if not rendered:
            return None
        data = chunk(rendered)
        sent = self._write(reader, data)
        if sent < 0:
            return self._forget(reader, "gone")
        reader.since = self._loop.now
        if sent < len(data):
            reader.rest, reader.blocked = data[sent:], True
            reader.topic.waiting.pop(reader.fd, None)
        return None

    def _release(self, topic: Topic, offset: int, number: int) -> None:
        """Let every live reader go on at its own pace from ``offset``: there is much to send, or the end."""
        readers, topic.live = topic.live, {}
        cursor = topic.tail.at(offset)
        for reader in readers.values():
            reader.leave_live(offset, number)
            reader.cursor = cursor
            self._ready.append(reader)

    def _fell_behind(self, topic: Topic, begin: int, short: list[tuple[int, int]]) -> None:
        """These sockets did not take everything: each goes on by itself, from where it is."""
        for fd, sent in short:
            reader = topic.live[fd]
            if sent < 0:
                self._forget(reader, "gone")
                continue
            del topic.live[fd]
            reader.cursor, reader.rest = topic.tail.split(begin + sent) if sent else (topic.tail.at(begin), b"")
            behind = topic.tail.between(reader.cursor, topic.end)
            reader.leave_live(begin + sent, topic.tail.count - behind)
            reader.blocked, reader.since = True, self._loop.now
            # They were counted with the others.
            self.frames_sent -= behind
            self.bytes_sent -= topic.tail.offset - begin - sent

    # Readers

    def _join(self, reader: Reader, key: str, book: Book) -> None:
        topic = reader.topic = self._shelf.join(key, book, reader.cursor)
        self.streams_opened += 1
        self._readers[reader.fd] = reader
        try:
            self._loop.epoll.register(reader.fd, _INTEREST)
        except OSError:
            self._forget(reader, "gone")
            return
        self.drained.clear()
        self._shelf.plan(topic)
        self._tell_position(reader)
        self._pump(reader)
        if self._draining and self._is_open(reader):
            self._forget(reader, "drain")

    def _is_open(self, reader: Reader | Strand) -> bool:
        if isinstance(reader, Strand):
            strands = reader.reader.strands
            return strands is not None and strands.carried.get(reader.key) is reader
        return self._readers.get(reader.fd) is reader

    def _on_socket(self, fd: int, events: int) -> None:
        reader = self._readers.get(fd)
        if reader is None:
            if events & _GONE and self._parting.pop(fd, None) is not None:
                os.close(fd)
        elif events & _GONE:
            self._forget(reader, "gone")
        elif reader.blocked:
            reader.blocked = False
            self._pump(reader)

    def _pump(self, reader: Reader | Strand) -> None:
        """Send this reader what it may have until its socket is full, then put it where it belongs."""
        if isinstance(reader, Strand):
            return self._pump_strand(reader)
        topic = reader.topic
        topic.waiting.pop(reader.fd, None)
        if reader.blocked:
            return None
        for _ in range(TURN):
            try:
                data = reader.take(topic.tail, PIECE if reader.render else BLOCK)
            except Exception:
                logger.exception("An event cannot be rendered.", action="render_failed", generation_id=topic.key)
                return self._forget(reader, "failed")
            if not data:
                return self._place(reader)
            sent = self._write(reader, data)
            if sent < 0:
                return self._forget(reader, "gone")
            if sent:
                before = reader.events
                reader.sent(sent)
                reader.since = self._loop.now
                self.frames_sent += reader.events - before
            if sent < len(data):
                reader.blocked = True
                reader.pause()
                return None
        self._ready.append(reader)
        return None

    def _write(self, reader: Reader, data: bytes) -> int:
        """How many bytes the socket took; -1 when the client is gone."""
        try:
            sent = os.write(reader.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return -1
        reader.sent_bytes += sent
        self.bytes_sent += sent
        return sent

    def _place(self, reader: Reader) -> None:
        """The reader has all there is: it is finished, or waits for what comes next."""
        topic = reader.topic
        if reader.closing < inf:
            self._part(reader)
        elif reader.at_end(topic.tail):
            reader.closing, reader.rest = self._loop.now + CLOSE_SECONDS, LAST_CHUNK
            self._ready.append(reader)
        elif reader.lacks(topic.tail):
            self._shelf.want(reader)
        elif reader.cursor == topic.end and reader.render is None:
            reader.go_live()
            topic.live[reader.fd] = reader
        else:
            topic.waiting[reader.fd] = reader
            self._weave(reader)

    def _part(self, reader: Reader) -> None:
        """The body is complete. The client closes first, so that no reset can overtake the last bytes."""
        fd = reader.fd
        finish(fd)
        discard_input(fd)
        self._remove(reader, "done")
        self._parting[fd] = reader.closing

    def _forget(self, reader: Reader, reason: Reason) -> None:
        """End a stream without its last chunk: whoever reads it knows that something is missing."""
        self._remove(reader, reason)
        os.close(reader.fd)

    def _remove(self, reader: Reader, reason: Reason) -> None:
        topic, fd = reader.topic, reader.fd
        if topic.live.pop(fd, None) is not None:
            reader.leave_live(topic.tail.offset, topic.tail.count)
        topic.waiting.pop(fd, None)
        reader.page = None
        del self._readers[fd]
        self._shelf.leave(topic)
        for strand in list(reader.strands.carried.values()) if reader.strands else ():
            self._cut(strand)
        if self._draining and not self._readers:
            self.drained.set()
        self._report(reader, reason)

    def _report(self, reader: Reader, reason: Reason) -> None:
        if reader.on_close is None:
            return
        try:
            reader.on_close(reader.report(reason, self._loop.now))
        except Exception:
            logger.exception("The end of a stream could not be reported.", action="on_close_failed")

    def _say(self, reader: Reader, chunked: bytes) -> None:
        """Send something that is not part of the log; between two events, never inside one."""
        if reader.closing < inf:
            return
        if reader.rest or reader.blocked:
            reader.rest += chunked
            return
        sent = self._write(reader, chunked)
        reader.since = self._loop.now
        if sent < 0:
            self._forget(reader, "gone")
        elif sent < len(chunked):
            topic = reader.topic
            if topic.live.pop(reader.fd, None) is not None:
                reader.leave_live(topic.tail.offset, topic.tail.count)
                reader.cursor = topic.end
            topic.waiting.pop(reader.fd, None)
            reader.rest, reader.blocked = chunked[sent:], True

    # Other logs on a reader's socket

    def _weave(self, reader: Reader) -> None:
        """The reader has all of its own log: now it is the turn of its strands, and of those told of since."""
        strands = reader.strands
        if strands is None:
            return
        for key, after in strands.wanted():
            topic = self._shelf.join(key, strands.book, after)
            strands.carry(key, after, reader, topic)
            self._shelf.plan(topic)
        for strand in strands.held():
            strand.held = False
            self._ready.append(strand)

    def _pump_strand(self, strand: Strand) -> None:
        """Send what it has while its reader's socket takes it, then put it where it belongs."""
        reader, topic = strand.reader, strand.topic
        topic.waiting.pop(strand.fd, None)
        for _ in range(TURN):
            if reader.fd not in reader.topic.waiting:
                strand.held = True
                return strand.pause()
            before = strand.events
            try:
                data = strand.take(topic.tail, PIECE)
            except Exception:
                logger.exception("An event cannot be rendered.", action="render_failed", generation_id=topic.key)
                return self._forget(reader, "failed")
            if not data:
                return self._place_strand(strand)
            strand.sent(len(data))
            reader.events += strand.events - before
            self.frames_sent += strand.events - before
            # What the socket does not take now is the reader's to send, and an event's end is where it ends.
            self._say(reader, data)
            if not self._is_open(strand):
                return None
        self._ready.append(strand)
        return None

    def _place_strand(self, strand: Strand) -> None:
        """It has all there is: its log has ended and leaves room for another, or there will be more."""
        if strand.at_end(strand.topic.tail):
            self._cut(strand)
            self._weave(strand.reader)
        elif strand.lacks(strand.topic.tail):
            self._shelf.want(strand)
        else:
            strand.topic.waiting[strand.fd] = strand

    def _cut(self, strand: Strand) -> None:
        """Follow this log no longer."""
        strands = strand.reader.strands
        assert strands is not None, "who has a strand has strands"
        del strands.carried[strand.key]
        strand.topic.waiting.pop(strand.fd, None)
        strand.page = None
        self._shelf.leave(strand.topic)

    # Now and then

    def _tick(self) -> None:
        self._look_at_readers()
        self._shelf.tick()
        self._look_at_the_queue()
        for fd in [fd for fd, until in self._parting.items() if until <= self._loop.now]:
            del self._parting[fd]
            discard_input(fd)
            os.close(fd)

    def _look_at_readers(self) -> None:
        now = self._loop.now
        quiet_since, stalled_since = now - self._keepalive + TICK_SECONDS, now - STALL_SECONDS
        for reader in list(self._readers.values()):
            since = reader.since
            if reader.expires <= now:
                self._expire(reader)
            elif since > quiet_since:
                continue
            elif reader.blocked:
                if since <= stalled_since:
                    self._forget(reader, "stalled")
            elif reader.topic.delivered_at <= quiet_since or reader.fd not in reader.topic.live:
                self._say(reader, reader.heartbeat)

    def _expire(self, reader: Reader) -> None:
        if reader.notices:
            self._say(reader, EXPIRED)
        if self._is_open(reader):
            self._forget(reader, "expired")

    def _break_all(self, topic: Topic, reason: Reason) -> None:
        for reader in list(self._readers.values()):
            strand = reader.strands.carried.get(topic.key) if reader.strands else None
            if reader.topic is topic:
                self._forget(reader, reason)
            elif strand is None or strand.topic is not topic:
                continue
            elif reason == "deleted":
                # Its reader's own log tells that; the others go on.
                self._cut(strand)
                self._weave(reader)
            else:
                self._forget(reader, reason)

    def _look_at_the_queue(self) -> None:
        """Whoever waits for an answer to begin is told how many are before it."""
        if self._loop.now < self._next_queue_look or self._asking_queue:
            return
        self._next_queue_look = self._loop.now + QUEUE_SECONDS
        unwritten = [topic for topic in self._topics.values() if topic.readers and topic.tail.unwritten]
        if unwritten:
            self._asking_queue = True
            self._shelf.ask(unwritten, lambda book, keys: book.source.queue_positions(keys), self._have_positions)

    def _have_positions(self, outcome: dict[Topic, int] | Exception) -> None:
        self._asking_queue = False
        if isinstance(outcome, Exception):
            return
        for topic, position in outcome.items():
            if position != topic.position and topic.tail.unwritten:
                topic.position = position
                topic.notice = chunk(sse.notice({"type": "queued", "position": position}))
                for reader in [*topic.live.values(), *topic.waiting.values()]:
                    if isinstance(reader, Reader):
                        self._tell_position(reader)

    def _tell_position(self, reader: Reader) -> None:
        topic = reader.topic
        if reader.notices and topic.notice and topic.tail.unwritten and reader.told is not topic.notice:
            reader.told = topic.notice
            self._say(reader, topic.notice)

    # The end

    def _drain(self, seconds: float) -> None:
        self._draining = True
        if not self._readers:
            self.drained.set()
        for reader in self._readers.values():
            self._loop.at(self._loop.now + random() * seconds, self._send_away, reader)

    def _send_away(self, reader: Reader) -> None:
        if self._is_open(reader):
            self._forget(reader, "drain")

    def _stop(self) -> None:
        self._stopped = True

    def _end(self) -> None:
        self._draining = True
        for reader in list(self._readers.values()):
            self._forget(reader, "drain")
        for fd in self._parting:
            os.close(fd)
        self._ear.close()
        self._loop.close()
        self.drained.set()
