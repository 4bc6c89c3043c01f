"""Replay joined to live events, while messages and entries are lost, repeated and reordered."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import sse
from app.domain.cursor import START, Cursor
from app.domain.events import Done, Entry, Snapshot, Token, encode
from app.relay.encoded_log import chunk
from app.relay.log_cursor import LogConsumer
from app.relay.read_backoff import ReadBackoff
from app.relay.tail import Tail

PAGE = 4
DONE = encode(Done("completed", "stop", None, "00"))


class World:
    """A writer, a store that loses its newest entries for a while, and a pub/sub channel that is not reliable."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.log: list[Entry] = []
        self.visible = 0
        self.air: list[bytes] = []
        self.down = False

    def write(self) -> None:
        self.resend()
        last = self.log[-1].cursor if self.log else START
        if last == START or self.random.random() < 0.15:
            cursor = Cursor(last.epoch + self.random.choice((1, 1, 2)), 0)
            self._append(cursor, encode(Snapshot("…", "takeover", cursor.epoch)))
        else:
            self._append(Cursor(last.epoch, last.n + 1), encode(Token("x" * self.random.randrange(30))))

    def end(self) -> None:
        self.resend()
        last = self.log[-1].cursor if self.log else Cursor(1, -1)
        self._append(Cursor(last.epoch, last.n + 1), DONE)

    def _append(self, cursor: Cursor, payload: bytes) -> None:
        self.log.append(Entry(cursor, payload))
        self.visible = len(self.log)
        self._publish(self.log[-1])

    def _publish(self, entry: Entry) -> None:
        self.air.append(str(entry.cursor).encode() + b" " + entry.payload)

    def forget(self) -> None:
        """Lose a suffix of the newest revision: it will be sent again under the same ids."""
        own = [index for index, entry in enumerate(self.log) if entry.cursor.epoch == self.log[-1].cursor.epoch]
        if own:
            self.visible = self.random.randint(own[0], len(self.log))

    def resend(self) -> None:
        for entry in self.log[self.visible :]:
            self._publish(entry)
        self.visible = len(self.log)

    def disturb(self) -> None:
        if not self.air:
            return
        index = self.random.randrange(len(self.air))
        match self.random.randrange(4):
            case 0:
                del self.air[index]
            case 1:
                self.air.insert(self.random.randrange(len(self.air) + 1), self.air[index])
            case 2:
                self.random.shuffle(self.air)
            case 3:
                self.air.insert(index, b"ding")

    def read(self, after: Cursor) -> list[Entry] | None:
        if self.down:
            return None
        return [entry for entry in self.log[: self.visible] if entry.cursor > after][:PAGE]


class Client(LogConsumer):
    """A consumer of the log with the bytes that it has received."""

    def __init__(self, after: Cursor) -> None:
        super().__init__(after)
        self.after = after
        self.received = b""
        self.asked = False


class Process:
    """The hub's work without sockets and threads: reads end later, and in any order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.now = 0.0
        self.tail: Tail | None = None
        self.backoff = ReadBackoff(0.0)
        self.clients: list[Client] = []
        self.pending: list[tuple[Client | None, Cursor, list[Entry] | None]] = []

    def join(self) -> None:
        known = [START, *(entry.cursor for entry in self.world.log)]
        after = self.random.choice(known)
        if self.random.random() < 0.1:
            # Legal: the log has lost this position for the moment, or the client made it up.
            after = Cursor(known[-1].epoch, known[-1].n + self.random.randrange(3))
        if after.epoch == 0:
            after = START
        client = Client(after)
        if self.tail is None:
            self.tail = Tail(after)
        elif self.tail.empty and not self.tail.covers(after):
            self.tail.rewind(after)
            self.backoff.request(self.now)
        self.clients.append(client)

    def hear(self) -> None:
        if (
            self.tail is not None
            and self.world.air
            and not self.tail.append_published(self.world.air.pop(0))
            and self.tail.gap
        ):
            self.backoff.on_gap(self.now)

    def start_read(self) -> None:
        if self.tail is not None and self.backoff.is_due(self.now):
            self.backoff.on_begin()
            after = self.tail.begin_read()
            self.pending.append((None, after, self.world.read(after)))

    def finish_read(self) -> None:
        if not self.pending or self.tail is None:
            return
        client, after, entries = self.pending.pop(self.random.randrange(len(self.pending)))
        if client is not None:
            client.asked = False
            if entries is not None:
                page = self.tail.page(after, entries)
                self.tail.extend_back(page, 600)
                if not self.tail.covers(client.cursor):
                    client.feed(page)
        elif entries is None:
            self.backoff.on_failure(self.now)
        else:
            grown = self.tail.extend(self.tail.page(after, entries))
            self.backoff.on_read(self.now, grown=grown, more=len(entries) == PAGE, gap=self.tail.gap)

    def serve(self, client: Client) -> None:
        assert self.tail is not None
        data = client.take(self.tail, self.random.choice((1, 50, 500)))
        if data:
            count = self.random.randint(1, len(data))
            client.received += data[:count]
            client.sent(count)
            if self.random.random() < 0.2:
                client.pause()
        elif client.lacks(self.tail) and not client.asked:
            client.asked = True
            self.pending.append((client, client.cursor, self.world.read(client.cursor)))

    def trim(self) -> None:
        if self.tail is not None:
            self.tail.trim(self.random.randrange(400))

    def expected(self, client: Client) -> bytes:
        return b"".join(chunk(sse.frame(*entry)) for entry in self.world.log if entry.cursor > client.after)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**63))
def test_every_reader_gets_a_gapless_prefix_and_in_the_end_everything(seed: int) -> None:
    random = Random(seed)
    world = World(random)
    process = Process(world)
    process.join()
    steps = [
        world.write, world.write, world.forget, world.resend, world.disturb, process.join,
        process.hear, process.hear, process.hear, process.start_read, process.finish_read, process.finish_read,
        process.trim, lambda: setattr(world, "down", random.random() < 0.3),
    ]  # fmt: skip
    for _ in range(random.randrange(10, 150)):
        process.now += random.random() * 0.2
        random.choice(steps)()
        for client in process.clients:
            if random.random() < 0.7:
                process.serve(client)
            assert process.expected(client).startswith(client.received)

    world.down = False
    world.end()
    world.air.clear()
    process.backoff.request(process.now)
    assert process.tail is not None
    for _ in range(5000):
        process.now += 0.5
        process.start_read()
        process.finish_read()
        waiting = [client for client in process.clients if not client.at_end(process.tail)]
        for client in waiting:
            process.serve(client)
        if not waiting:
            break
    for client in process.clients:
        if client.after <= world.log[-1].cursor:
            assert client.received == process.expected(client)
            assert client.at_end(process.tail)


@given(st.integers(1, 200))
def test_a_slow_reader_keeps_no_more_than_the_rest_of_one_event(taken: int) -> None:
    tail = Tail(START)
    for n in range(100):
        tail.append_published(b"1-%d " % n + encode(Token("x" * 40)))
    follower = LogConsumer(START)
    data = follower.take(tail, 1 << 20)
    follower.sent(taken)
    assert len(follower.rest) < len(data) / 100 + 1


def test_notices_stand_between_events_even_while_one_is_half_sent() -> None:
    tail = Tail(START)
    for n in range(3):
        tail.append_published(b"1-%d " % n + encode(Token("x")))
    follower = LogConsumer(START)
    received = follower.take(tail, 1 << 20)[:20]
    follower.sent(20)
    follower.rest += b"<notice>"
    while data := follower.take(tail, 1 << 20):
        received += data
        follower.sent(len(data))
    frames = [chunk(sse.frame(Cursor(1, n), encode(Token("x")))) for n in range(3)]
    assert received == frames[0] + b"<notice>" + frames[1] + frames[2]


def test_another_form_of_the_events_is_cut_and_continued_like_the_first() -> None:
    tail = Tail(START)
    for n in range(50):
        tail.append_published(b"1-%d " % n + encode(Token(str(n))))
    follower = LogConsumer(START, lambda cursor, payload: b"%d;" % cursor.n if cursor.n % 2 else b"")
    received = b""
    while data := follower.take(tail, 100):
        received += data[:3]
        follower.sent(min(3, len(data)))
    assert b"".join(received.split(b"\r\n")[1::2]) == b"".join(b"%d;" % n for n in range(50) if n % 2)


def test_a_page_that_ends_the_log_ends_its_reader_though_the_tail_stands_elsewhere() -> None:
    tail = Tail(Cursor(1, 999))
    tail.append_published(b"1-1000 {}")
    follower = LogConsumer(START)
    assert follower.lacks(tail)
    follower.feed(tail.page(START, [Entry(Cursor(1, 0), DONE)]))
    follower.sent(len(follower.take(tail, 1000)))
    assert follower.at_end(tail)
    assert not follower.lacks(tail)
