"""The rules: every event that can happen to a hub, in any order, and the invariants after each step."""

from __future__ import annotations

import time
from contextlib import ExitStack
from math import inf
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.domain import sse
from app.domain.cursor import START, Cursor
from app.domain.revoked_names import KEPT_SECONDS
from app.relay.encoded_log import chunk
from app.relay.housekeeping import STALL_SECONDS
from app.relay.log_cursor import Render
from app.relay.pacing import LONGEST_INTERVAL, SHORTEST_INTERVAL
from app.relay.stream_connection import ConnectionState, StreamRequest
from app.relay.substreams import Multiplexer
from tests.relay_machine.table import check
from tests.relay_machine.world import (
    Client,
    Log,
    ManualPool,
    SteppedHub,
    World,
    failing,
    fill,
    log_type,
    pair,
    wait_for,
)

# Small sizes, so that a few steps reach every bound.
SIZES = {
    "app.relay.backfill.TAIL_BYTES": 2_000,
    "app.relay.fan_out.TAIL_BYTES": 2_000,
    "app.relay.topics.TAIL_BYTES": 2_000,
    "app.relay.topics.SMALLEST_TAIL": 200,
    "app.relay.fan_out.PIECE": 1_500,
    "app.relay.sender.BLOCK": 900,
    "app.relay.sender.RENDERED_BLOCK": 500,
    "app.relay.sender.TURN": 2,
    "app.relay.topics.LINGER_SECONDS": 1.0,
}
TITLE = b'!data: {"type":"title","title":"Tides"}\n\n'
NUMBERS = st.integers(0, 1_000)
KINDS = st.sampled_from(["plain", "plain", "plain", "other form", "several logs"])
STEPS = st.sampled_from([0, 1, 1, 2, 4])
LOGS = st.sampled_from(["a", "a", "a", "b"])
FINAL = st.sampled_from(["drain", "end a", "end b", "delete a", "delete b"])
NAMES = st.sampled_from(["user 0", "user 1", "user 2", "key 0", "key 1", "key 2"])
TOKEN_SIZES = st.sampled_from([0, 10, 200, 700, 3_000])


class RelayMachine(RuleBasedStateMachine):
    """One hub, two logs, any number of clients."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        for name, value in SIZES.items():
            self._stack.enter_context(patch(name, value))
        self.world = World()
        self.now = 1_000.0
        self.clients: list[Client] = []
        # Names by the time of their last revocation.
        self.revoked: dict[str, float] = {}
        self.hub = hub = SteppedHub(
            log_type(self.world), "redis://nobody", "test", self._publish, clock=lambda: self.now
        )
        self.pools = [ManualPool(), ManualPool()]
        hub.reader.readings, hub.reader.chores = self.pools
        hub.subscriber.dial = self.world.dial
        hub.loop.open()
        self.errors: list[Exception] = []
        self._stack.enter_context(patch.object(hub.reports, "error", self._note_error))

    # Steps

    def step(self, count: int) -> None:
        """Run ``count`` rounds of the hub and check the table after each."""
        for _ in range(count):
            if self.world.speaker is not None:
                self.world.speaker.serve()
            self.hub.step(block=False)
            check(self.hub)
            unplanned = [error for error in self.errors if "planted" not in str(error)]
            if unplanned:
                raise AssertionError("the hub failed by itself") from unplanned[0]

    @initialize(older=st.integers(0, 20), kinds=st.lists(KINDS, min_size=1, max_size=4), where=NUMBERS)
    def begin(self, older: int, kinds: list[str], where: int) -> None:
        """Begin with a log of ``older`` events, a connected Redis, and a client of each of ``kinds``."""
        log = self.world.logs["a"]
        self.world.open_epoch(log, 1, published=False)
        for _ in range(older):
            self.world.append(log, log.next_token(100), published=False)
        self.step(1)
        self.pools[1].run(0)
        for index, kind in enumerate(kinds):
            self.open("a", where + index, kind, "unix", 2_048, inf, 1)
        for _ in range(6):
            self.finish_reads(0, 4, 1)

    @rule(seconds=st.sampled_from([0.05, 0.3, 0.6, 1.1, 5.1, 16.0, 61.0]), steps=STEPS)
    def let_time_pass(self, seconds: float, steps: int) -> None:
        self.now += seconds
        self.step(1 + steps)

    @rule(interval=st.sampled_from([0.0, SHORTEST_INTERVAL, LONGEST_INTERVAL]), steps=STEPS)
    def collect(self, interval: float, steps: int) -> None:
        """From now on the hub sends at once, or collects events for this long."""
        self.hub.fan_out.pacing.interval = interval
        self.step(steps)

    @rule(which=NUMBERS, count=st.integers(1, 4), steps=STEPS)
    def finish_reads(self, which: int, count: int, steps: int) -> None:
        for _ in range(count):
            self.pools[0].run(which)
        self.step(steps)

    @rule(which=NUMBERS, steps=STEPS)
    def finish_a_chore(self, which: int, steps: int) -> None:
        self.pools[1].run(which)
        self.step(steps)

    # Writers

    def _writable(self, key: str) -> Log | None:
        log = self.world.logs[key]
        return None if log.ended or log.deleted else log

    @rule(key=LOGS, sizes=st.lists(TOKEN_SIZES, min_size=1, max_size=8), heard=st.integers(0, 255), steps=STEPS)
    def write_tokens(self, key: str, sizes: list[int], heard: int, steps: int) -> None:
        """Append several events; ``heard`` has a bit for each whose message arrives."""
        if log := self._writable(key):
            if not log.entries:
                self.world.open_epoch(log, 1, published=True)
            for index, size in enumerate(sizes):
                self.world.append(log, log.next_token(size), published=heard >= 64 or bool(heard & 1 << index))
            self.step(steps)

    @rule(key=LOGS, before=st.integers(0, 3), size=TOKEN_SIZES, after=st.integers(0, 2), steps=STEPS)
    def write_tokens_around_a_notice(self, key: str, before: int, size: int, after: int, steps: int) -> None:
        if (log := self._writable(key)) and log.entries:
            for _ in range(before):
                self.world.append(log, log.next_token(size), published=True)
            self.world.say(log, TITLE)
            for _ in range(after):
                self.world.append(log, log.next_token(size), published=True)
            self.step(steps)

    @rule(key=LOGS, by=st.integers(1, 2), published=st.booleans(), steps=STEPS)
    def take_over(self, key: str, by: int, published: bool, steps: int) -> None:
        if (log := self._writable(key)) and log.end.epoch < 5:
            self.world.open_epoch(log, by, published=published)
            self.step(steps)

    @rule(key=LOGS, position=st.integers(1, 9), steps=STEPS)
    def queue(self, key: str, position: int, steps: int) -> None:
        self.world.positions[key] = position
        self.step(steps)

    @rule(key=LOGS, which=NUMBERS, again=st.booleans(), steps=STEPS)
    def publish_out_of_turn(self, key: str, which: int, again: bool, steps: int) -> None:
        """Publish an old message again, or one without an event."""
        log = self.world.logs[key]
        if again and log.entries:
            self.world.publish(log, log.entries[which % len(log.entries)])
        else:
            self.world.say(log, b"ding")
        self.step(steps)

    # Stores and Redis

    @rule(key=LOGS, lost=st.integers(0, 6), steps=STEPS)
    def lose_the_end(self, key: str, lost: int, steps: int) -> None:
        """Hide the newest events of a revision until they are sent again under their ids."""
        log = self.world.logs[key]
        if not log.ended:
            own = sum(entry.cursor.epoch == log.end.epoch for entry in log.entries)
            log.visible = len(log.entries) - min(lost, max(own - 1, 0))
            self.step(steps)

    @rule(key=LOGS, steps=STEPS)
    def send_again(self, key: str, steps: int) -> None:
        self.world.resend(self.world.logs[key])
        self.step(steps)

    @rule(down=st.booleans(), steps=STEPS)
    def stores_go_and_come(self, down: bool, steps: int) -> None:
        self.world.down = down
        self.step(steps)

    @rule(reachable=st.booleans(), steps=STEPS)
    def cut_redis(self, reachable: bool, steps: int) -> None:
        self.world.reachable = reachable
        if self.world.speaker is not None:
            self.world.speaker.cut()
        self.step(steps)

    # Clients

    @rule(
        key=LOGS,
        where=NUMBERS,
        kind=KINDS,
        family=st.sampled_from(["unix", "unix", "tcp"]),
        capacity=st.sampled_from([1_024, 4_096, 16_384, 65_536]),
        life=st.sampled_from([inf, inf, inf, 20.0]),
        late=st.sampled_from([0.0, 0.0, 0.0, 0.3, 20.0, KEPT_SECONDS + 10]),
        steps=STEPS,
    )
    def join(
        self, key: str, where: int, kind: str, family: str, capacity: int, life: float, late: float, steps: int
    ) -> None:
        """``late``: seconds since the client's credential was proved."""
        if len(self.clients) <= 40:
            self.open(key, where, kind, family, capacity, life, steps, late)

    def open(
        self, key: str, where: int, kind: str, family: str, capacity: int, life: float, steps: int, late: float = 0.0
    ) -> None:
        """Open a stream over a socket whose buffer has about ``capacity`` bytes."""
        log = self.world.logs[key]
        ours, theirs = pair(family, capacity)
        self._stack.callback(ours.close)
        followed = [(log, self._position(log, where))]
        other = self.world.logs["b" if key == "a" else "a"]
        if kind == "several logs":
            followed.append((other, self._position(other, where // 3)))
        proved_at = self.now - late
        client = Client(ours, followed, frozenset({f"user {where % 3}", f"key {where // 3 % 3}"}))
        client.late = late >= KEPT_SECONDS
        if any(self.revoked.get(name, -inf) >= proved_at for name in client.revocables):
            client.last = client.after
        self.clients.append(client)
        render = failing(lambda: client, sse.frame) if kind != "plain" else None
        self.hub.adopt(
            theirs,
            StreamRequest(
                key,
                client.after[key],
                expires_at=time.time() + life,
                on_close=client.closed.append,
                render=render,
                multiplexer=self._several(client, other) if kind == "several logs" else None,
                revocables=client.revocables,
                proved_at=proved_at,
            ),
            chunk(b"opening\n"),
        )
        self.step(steps)

    @rule(names=st.frozensets(NAMES, min_size=1, max_size=2), sure=st.integers(0, 2), steps=STEPS)
    def revoke(self, names: frozenset[str], sure: int, steps: int) -> None:
        """Revoke names: from the next round on, no later event reaches a client that depends on one of them."""
        if sure:
            return
        self.hub.revoker.revoke(names)
        self.revoked.update(dict.fromkeys(names, self.now))
        self.step(1)
        assert not any(names & one.request.revocables for one in self.hub.connections.open.values())
        for client in self.clients:
            if names & client.revocables and client.last is None:
                client.last = {key: log.end for key, log in self.world.logs.items()}
        self.step(steps)

    def _position(self, log: Log, where: int) -> Cursor:
        known = [START, *(entry.cursor for entry in log.entries)]
        if where % 10 == 9 and log.end.epoch and not log.ended:
            return Cursor(log.end.epoch, log.end.n + where % 6)
        return known[where % len(known)]

    def _several(self, client: Client, other: Log) -> Multiplexer:
        def show(key: str) -> Render:
            def render(cursor: Cursor, payload: bytes) -> bytes:
                return b"data: %b\nid: %b %d-%d\n\n" % (payload, key.encode(), *cursor)

            return failing(lambda: client, render)

        return Multiplexer(self.hub.log_type, show, lambda payload: None, [(other.key, client.after[other.key])])

    @precondition(lambda self: self.hub.connections.open)
    @rule(which=NUMBERS, seconds=st.sampled_from([0.0, 0.0, 16.0]), notices=st.integers(0, 2), tokens=st.integers(0, 2))
    def fill_a_socket(self, which: int, seconds: float, notices: int, tokens: int) -> None:
        """Fill a socket without the hub, then run rounds with a few messages for it."""
        connections = list(self.hub.connections.open.values())
        connection = connections[which % len(connections)]
        fill(connection)
        log = self._writable(connection.request.key)
        if log and log.entries:
            for _ in range(tokens):
                self.world.append(log, log.next_token(10), published=True)
            for _ in range(notices):
                self.world.say(log, TITLE)
        self.now += seconds
        self.step(2)

    @precondition(lambda self: self.clients)
    @rule(which=NUMBERS, size=st.sampled_from([1, 50, 700, 5_000, 100_000]), times=st.integers(1, 3), steps=STEPS)
    def receive(self, which: int, size: int, times: int, steps: int) -> None:
        client = self.clients[which % len(self.clients)]
        for _ in range(times):
            if not client.over:
                client.read(size)
        self.step(steps)

    @rule(every=st.integers(1, 3), steps=STEPS)
    def many_receive(self, every: int, steps: int) -> None:
        for client in self.clients[::every]:
            while not client.over and client.read(100_000):
                pass
        self.step(steps)

    @precondition(lambda self: self.clients)
    @rule(first=NUMBERS, count=st.integers(1, 3), steps=STEPS)
    def leave(self, first: int, count: int, steps: int) -> None:
        for index in range(count):
            client = self.clients[(first + index) % len(self.clients)]
            if not client.over:
                client.leave()
        self.step(steps)

    @precondition(lambda self: any(client.closed for client in self.clients))
    @rule()
    def forget_the_ended(self) -> None:
        """Drop clients whose stream has ended, so that their number stays small."""
        self.clients = [client for client in self.clients if not client.over or client.fails]

    @precondition(lambda self: self.clients)
    @precondition(lambda self: any(one.multiplexer or one.render for one in self.hub.connections.open.values()))
    @rule(which=NUMBERS, steps=STEPS)
    def fail(self, which: int, steps: int) -> None:
        """Make the output format of one client fail from now on; only that client may lose its stream."""
        self.clients[which % len(self.clients)].fails = True
        self.step(steps)

    @rule(
        what=st.sampled_from(["drain", "end a", "end b", "delete a", "delete b"]), sure=st.integers(0, 4), steps=STEPS
    )
    def something_final(self, what: str, sure: int, steps: int) -> None:
        """Drain the hub, or end or delete a log. It happens rarely, because few rules apply afterwards."""
        if sure:
            return
        name, _, key = what.partition(" ")
        if name == "drain":
            self.hub.drain()
        elif name == "delete":
            self.world.logs[key].deleted = True
        elif (log := self._writable(key)) and log.entries:
            self.world.finish(log, published=bool(steps))
        self.step(steps)

    # Invariants

    @invariant()
    def truth(self) -> None:
        """Every body is a prefix of its log, and a clean end is the end of the log."""
        for client in self.clients:
            for key, received in client.received.items():
                expected = self.world.logs[key].past(client.after[key])
                assert received == expected[: len(received)], f"{key}: events left out, repeated or changed"
            if client.complete:
                assert self.world.logs[client.own].ended, "a clean end is the end of the log"
                own = client.received[client.own]
                assert own == self.world.logs[client.own].past(client.after[client.own]), "a clean end has it all"
            assert len(client.closed) <= 1, "an end is reported once"
            if client.last is not None:
                beyond = [e for key, found in client.received.items() for e in found if e.cursor > client.last[key]]
                assert not beyond, "what is written after a revocation reaches nobody whose access it ended"
            elif not client.late:
                assert all(closed.reason != "revoked" for closed in client.closed), "only what is revoked is broken"
            assert client.fails or all(closed.reason != "failed" for closed in client.closed), "it had not failed"

        for connection in self.hub.connections.open.values():
            if connection.state is ConnectionState.BLOCKED:
                assert connection.since > self.hub.loop.now - STALL_SECONDS - 0.6, "nobody stalls for ever"

    # The end

    def teardown(self) -> None:
        try:
            self._heal()
            self._everything_arrives()
        finally:
            self.hub.end()
            for client in self.clients:
                client.sock.close()
            self._stack.close()
        for client in self.clients:
            assert len(client.closed) == 1, "every stream's end is reported"

    def _heal(self) -> None:
        self.world.down, self.world.reachable = False, True
        for log in self.world.logs.values():
            if not log.entries:
                self.world.open_epoch(log, 1, published=True)
            self.world.resend(log)
            if not log.ended:
                self.world.finish(log, published=True)

    def _everything_arrives(self) -> None:
        for _ in range(400):
            self.many_receive(1, 1)
            left = [client.sock for client in self.clients if not client.over]
            if not left:
                break
            # Bytes between two sockets take real time to arrive.
            wait_for(left, 0.001 if self.hub.connections.open else 0.2)
            for pool in self.pools:
                while pool.jobs:
                    pool.run(0)
            self.step(2)
            self.now += 0.26
        self.truth()
        for client in self.clients:
            # A stream that did not end with its log has another reason; a client that stayed received the whole log.
            assert client.over, f"everybody gets an end: {self._situation(client)}"
            reasons = [closed.reason for closed in client.closed]
            assert client.complete == (reasons == ["done"]) or client.left, reasons

    def _situation(self, client: Client) -> str:
        """The state of a client's stream, for the message of a failure."""
        places = [
            f"{one.state.name} at {one.cursor}, rest {len(one.rest)}, of {one.topic.key} at {one.topic.end}"
            f" (complete {one.topic.tail.complete}, from {one.topic.tail.start})"
            for one in self.hub.connections.open.values()
            if one.request.on_close == client.closed.append
        ]
        received = {key: len(entries) for key, entries in client.received.items()}
        return f"from {client.after}, received {received}, closed {client.closed}, {places}"

    def _note_error(self, event: str, action: str, error: Exception, **fields: object) -> None:
        self.errors.append(error)

    def _publish(self, channel: bytes, message: bytes) -> None:
        if self.world.speaker is not None and self.world.reachable:
            self.world.speaker.publish(channel, message)
