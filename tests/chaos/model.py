"""The protocol as a model: one generation, its stores, workers, readers and a cancel, under seeded faults.

Every actor is a generator; another actor may run at each ``yield``. PostgreSQL is a row with its transactions. Redis is
the log's twin in memory or a real one (``log``). Events, transcripts and joining are the production code. A bug from
``BUGS`` can be planted; a schedule that finds a broken promise raises Broken.

It mirrors worker/revision.py, worker/outbox.py, app/services/takeover.py, finishing.py, reading.py and generations.py,
and is to be changed with them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

from app.domain.cursor import START, Cursor
from app.domain.events import Done, Entry, Mark, Snapshot, Token, decode, encode, number
from app.domain.transcript import Transcript, contiguous, digest, merge
from app.eventlog.log import KEEP_TTL, PAGE, AppendResult
from app.eventlog.memory import MemoryLog

T = TypeVar("T")
Steps = Generator[None, None, T]

GID = "g"
TOKENS = 8
# In steps of the schedule.
LEASE, SELF_FENCE, HEARTBEAT, HESITATION = 40, 33, 8, 15
FAULTY_STEPS, CALM_STEPS = 180, 4000
TERMINAL = ("completed", "cancelled", "error")

BUGS = {
    "no fence": "appends of a replaced worker are taken",
    "automatic ids": "the log numbers what it is given",
    "done before commit": "the end is shown before it is true",
    "takeover without a new epoch": "two owners write one revision",
    "checkpoint without its epoch": "a replaced worker's text is saved as its successor's",
    "cancel not stored": "only the process that cancels knows of it",
    "pub/sub trusted": "what is heard is shown, whatever was missed",
    "takeover without the log": "who cannot read it goes on from the checkpoints while others could",
    "cancel from the checkpoints": "a request that cannot read the log ends the answer without it",
}


class Broken(Exception):
    """A promise was broken."""


class Away(Exception):
    """A store does not reply. The effect of the request is unknown."""


class Fenced(Exception):
    """Another claim is in force."""


class OutOfReach(Exception):
    """The log of an earlier worker cannot be read from here."""


class FaultyLog(MemoryLog):
    """The log with the planted bugs that concern a log."""

    bugs: frozenset[str] = frozenset()

    def append(
        self, generation_id: str, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
    ) -> AppendResult:
        state = self._states.get(generation_id)
        if state is not None and "no fence" in self.bugs and epoch < state.epoch:
            for payload in payloads:
                entry = Entry(Cursor(state.epoch, state.n + 1), payload)
                state.entries.append(entry)
                state.n += 1
                self._listener(generation_id, entry)
            return AppendResult("OK", first + len(payloads) - 1)
        if state is not None and "automatic ids" in self.bugs and epoch == state.epoch and payloads:
            return super().append(generation_id, epoch, state.n + 1, payloads, ttl_ms)
        return super().append(generation_id, epoch, first, payloads, ttl_ms)

    def length(self, generation_id: str) -> int | None:
        """The number of the log's entries; None without a log."""
        state = self._states.get(generation_id)
        return None if state is None else len(state.entries)


# Makes a log that passes new entries to a listener.
LogMaker = Callable[[Callable[[str, Entry], None]], Any]


@dataclass
class Row:
    """The generation's row in PostgreSQL."""

    status: str = "queued"
    epoch: int = 0
    lease_until: int = 0
    cancelled: bool = False
    final: Cursor | None = None
    content: str = ""
    archive: list[Entry] = field(default_factory=list)
    chunks: dict[Cursor, bytes] = field(default_factory=dict)


class World:
    """Stores, provider, clock, dice, and excuses."""

    def __init__(self, seed: int, bugs: frozenset[str], log: LogMaker) -> None:
        self.rng = random.Random(seed)
        self.bugs = bugs
        self.now = 0
        self.row = Row()
        self.log = log(self._hear)
        self.log.bugs = bugs
        self.messages = 1
        self.postgres_up = self.redis_up = True
        self.faulty = True
        self.calls: list[int] = []  # first index of each provider call
        self.readers: list[Reader] = []
        self.meanings: dict[Cursor, bytes] = {}
        self.cancel_promised = False
        self.writer_lost = False
        self.log_lost_at = -1  # the last step at which Redis lost entries
        self.out_of_reach = False  # no worker that came could read the log
        self.claims: dict[int, tuple[int, set[Cursor]]] = {}  # by epoch: step of the claim, stored positions
        self.seen: set[str] = set()  # coverage

    def _hear(self, generation_id: str, entry: Entry) -> None:
        for reader in self.readers:
            if not (self.faulty and self.rng.random() < 0.2):
                reader.inbox.append(entry)

    def chance(self, share: float) -> bool:
        return self.faulty and self.rng.random() < share

    # --- stores, as actors use them

    def postgres(self, transaction: Callable[[], T]) -> Steps[T]:
        """Run a transaction. Raises Away: before the transaction, or after it when only the reply is lost."""
        yield
        if not self.postgres_up:
            raise Away
        result = transaction()
        if self.chance(0.05):
            self.seen.add("ambiguous commit")
            raise Away
        return result

    def redis(self, command: Callable[[], T], cut_off: bool = False) -> Steps[T]:
        """Run a command or script. Raises Away before or after it, and always when ``cut_off`` while faults last."""
        yield
        if not self.redis_up or (cut_off and self.faulty):
            raise Away
        result = command()
        if self.chance(0.05):
            raise Away
        return result

    # --- transactions

    def claim(self, late: int) -> int | None:
        row = self.row
        if row.status == "queued" or (row.status == "running" and row.lease_until < self.now - late):
            if row.epoch and "takeover without a new epoch" in self.bugs:
                pass
            else:
                row.epoch += 1
            row.status, row.lease_until = "running", self.now + LEASE
            if row.epoch > 1:
                self.seen.add("takeover")
                self._note_claim()
            return row.epoch
        return None

    def claim_to_cancel(self) -> int | None:
        row = self.row
        if row.status in TERMINAL or (row.cancelled and row.lease_until >= self.now):
            return None
        row.epoch += 1
        row.status, row.lease_until = "running", self.now + LEASE
        row.cancelled |= "cancel not stored" not in self.bugs
        self.cancel_promised = True
        self._note_claim()
        return row.epoch

    def leave(self, epoch: int) -> None:
        if self.holds(epoch):
            self.row.lease_until = self.now - 1

    def holds(self, epoch: int) -> bool:
        return self.row.epoch == epoch and self.row.status == "running"

    def renew(self, epoch: int, entries: list[Entry]) -> bool:
        row = self.row
        if "checkpoint without its epoch" in self.bugs and row.status == "running":
            row.lease_until = self.now + LEASE
            row.chunks.update({Cursor(row.epoch, e.cursor.n): e.payload for e in entries})
            return True
        if not self.holds(epoch):
            return False
        row.lease_until = self.now + LEASE
        row.chunks.update({e.cursor: e.payload for e in entries})
        return True

    def advance(self, epoch: int) -> int | None:
        if not self.holds(epoch):
            return None
        self.row.epoch += 1
        self.row.lease_until = self.now + LEASE
        return self.row.epoch

    def finish(self, epoch: int, status: str, text: str, entries: list[Entry]) -> bool:
        row = self.row
        if row.final is not None and row.final.epoch == epoch:
            return True
        if not self.holds(epoch):
            return False
        row.status, row.final, row.content = status, entries[-1].cursor, text
        earlier = [Entry(c, p) for c, p in sorted(row.chunks.items()) if c.epoch < epoch]
        row.archive = contiguous([*earlier, *entries])
        return True

    def stored(self) -> list[Entry]:
        return self.row.archive or [Entry(c, p) for c, p in sorted(self.row.chunks.items())]

    # --- judging

    def _note_claim(self) -> None:
        self.writer_lost = True
        had = contiguous(merge(self.stored(), self.log.read(GID)))
        self.claims[self.row.epoch] = (self.now, {entry.cursor for entry in had})

    def may_take_back(self, cursor: Cursor, epoch: int) -> bool:
        """True when revision ``epoch`` may open with less than a reader at ``cursor`` has seen: no store has it."""
        claimed_at, had = self.claims.get(epoch, (0, set()))
        lost = self.log_lost_at >= 0 and (cursor not in had or self.log_lost_at >= claimed_at)
        return self.writer_lost and (self.out_of_reach or lost)

    def meaning(self, entry: Entry) -> None:
        known = self.meanings.setdefault(entry.cursor, entry.payload)
        if known != entry.payload:
            raise Broken(f"{entry.cursor} means {known!r} and {entry.payload!r}")


@dataclass
class Draft:
    """A draft as in worker/draft.py."""

    epoch: int
    said: Transcript
    opened: bool
    proven: int
    saved_at: int
    payloads: list[bytes] = field(default_factory=list)
    acked: int = 0
    saved: int = 0

    def add(self, event: Any) -> None:
        self.said.add(Cursor(self.epoch, len(self.payloads)), event)
        self.payloads.append(encode(event))


class Writer:
    """The common part of worker and web: a takeover and an end. ``cut_off``: its way to Redis is a black hole."""

    def __init__(self, world: World, cut_off: bool = False) -> None:
        self.world = world
        self.cut_off = cut_off

    def redis(self, command: Callable[[], T]) -> Steps[T]:
        return self.world.redis(command, self.cut_off)

    def freeze(self, epoch: int, patience: int) -> Steps[tuple[Transcript, bool, bool]]:
        """Takeover.freeze. Returns the transcript, a flag of the open revision, a flag of the log that was read."""
        world = self.world
        opened, logged = False, None
        for _ in range(patience):
            try:
                if not opened:
                    answer = yield from self.redis(lambda: world.log.open(GID, epoch))
                    if answer.verdict != "OK":
                        raise Fenced
                    opened = True
                logged = yield from self.redis(lambda: world.log.read(GID))
                break
            except Away:
                continue
        earlier = [entry for entry in logged or () if entry.cursor.epoch < epoch]

        def keep() -> list[Entry]:
            if not world.holds(epoch):
                raise Fenced
            for entry in earlier:
                world.row.chunks.setdefault(entry.cursor, entry.payload)
            return world.stored()

        stored = yield from world.postgres(keep)
        said = Transcript.of(e for e in merge(stored, earlier) if e.cursor.epoch < epoch)
        return said, opened, logged is not None

    def insist(self, transaction: Callable[[], T]) -> Steps[T]:
        while True:
            try:
                return (yield from self.world.postgres(transaction))
            except Away:
                yield

    def cancel(self, epoch: int, patience: int, must_read: bool) -> Steps[bool]:
        """Generations.finish_cancel. Returns True when this call ended the generation."""
        world = self.world
        said, opened, read = yield from self.freeze(epoch, patience)
        if not read and epoch > 1 and must_read:
            return False
        snapshot = Snapshot(said.text, "cancel", said.attempt)
        done = Done("cancelled", "cancelled", None, digest(said.text))
        payloads = [encode(snapshot), encode(done)]
        if not (
            yield from world.postgres(lambda: world.finish(epoch, "cancelled", said.text, number(epoch, 0, payloads)))
        ):
            raise Fenced
        if opened:
            yield from self.redis(lambda: world.log.append(GID, epoch, 0, payloads))
        return True


class Worker(Writer):
    """Runner.run."""

    others_first = False
    proven = 0  # when the lease was last asked for, before a draft began

    def run(self) -> Steps[None]:
        """Run once, or again after other workers when the log could not be read the first time."""
        world = self.world
        try:
            epoch = yield from self.claim(0)
            if epoch is None:
                return
            try:
                self.others_first = epoch > 1 and "takeover without the log" not in world.bugs
                yield from self.bring_to_end(epoch)
                return
            except OutOfReach:
                world.seen.add("left")
                yield from self.insist(lambda: world.leave(epoch))
            until = world.now + HESITATION
            while world.now < until:
                yield
            epoch = yield from self.claim(HESITATION)
            if epoch is not None:
                self.others_first = False
                world.out_of_reach = True  # no worker could read the log: it counts as lost
                yield from self.bring_to_end(epoch)
        except (Fenced, Away):
            world.seen.add("fence")

    def claim(self, late: int) -> Steps[int | None]:
        self.proven = self.world.now
        return (yield from self.world.postgres(lambda: self.world.claim(late)))

    def bring_to_end(self, epoch: int) -> Steps[None]:
        world = self.world
        while True:
            if world.row.cancelled:
                if not (yield from self.repeat(lambda epoch=epoch: self.cancel(epoch, 5, self.others_first))):
                    raise OutOfReach
                return
            if (yield from self.revision(epoch)):
                return
            # The row is read again under the worker's own lease: after a lost reply the epoch has moved on.
            self.proven = world.now
            following = yield from self.insist(lambda epoch=epoch: world.advance(epoch))
            if following is None:
                raise Fenced
            epoch, self.others_first = following, False

    def repeat(self, work: Callable[[], Steps[T]]) -> Steps[T]:
        while True:
            try:
                return (yield from work())
            except Away:
                yield

    def revision(self, epoch: int) -> Steps[bool]:
        world = self.world
        said, opened, read = yield from self.repeat(lambda: self.freeze(epoch, 5))
        if not read and self.others_first:
            raise OutOfReach
        draft = Draft(epoch, said, opened, self.proven, self.proven)
        if said.mark:
            draft.add(Snapshot(said.text, "takeover", said.attempt))
            return (yield from self.end(draft))
        draft.add(Snapshot(said.text, "continue" if said.text else "start", said.attempt + 1))
        first = len(re.findall(r"k\d+\.\d+ ", said.text))
        call = len(world.calls)
        world.calls.append(first)
        for index in range(first, TOKENS):
            if index > first and world.chance(0.03):
                # The provider broke off. The next revision is built from the stores, which must hold this one.
                while draft.saved < len(draft.payloads):
                    yield from self.save(draft)
                    yield
                return False
            draft.add(Token(f"k{call}.{index} "))
            yield from self.send_some(draft)
        draft.add(Mark("stop", None))
        return (yield from self.end(draft))

    def send_some(self, draft: Draft) -> Steps[None]:
        """Let the outbox and the checkpointer send a random part of the draft."""
        world = self.world
        for _ in range(world.rng.randrange(0, 4)):
            yield
            if world.rng.random() < 0.6:
                yield from self.flush(draft)
            if world.rng.random() < 0.3 or world.now - draft.saved_at > HEARTBEAT:
                yield from self.save(draft)

    def flush(self, draft: Draft) -> Steps[None]:
        world, log = self.world, self.world.log
        if world.now - draft.proven > SELF_FENCE:
            return
        try:
            if not draft.opened:
                yield from self.reopen(draft)
            sent = draft.payloads[draft.acked :]
            answer = yield from self.redis(lambda: log.append(GID, draft.epoch, draft.acked, sent))
        except Away:
            return
        match answer.verdict:
            case "OK" | "GAP":
                draft.acked = answer.top + 1
                world.seen |= {"gap"} if answer.verdict == "GAP" else set()
            case "FENCED":
                raise Fenced
            case _:
                world.seen.add("lost")
                draft.opened, draft.acked = False, 0

    def reopen(self, draft: Draft) -> Steps[None]:
        world = self.world
        if not (yield from world.postgres(lambda: world.holds(draft.epoch))):
            raise Fenced
        answer = yield from self.redis(lambda: world.log.open(GID, draft.epoch))
        if answer.verdict != "OK":
            raise Fenced
        draft.opened, draft.acked = True, 0

    def save(self, draft: Draft) -> Steps[None]:
        world, began = self.world, self.world.now
        entries = number(draft.epoch, draft.saved, draft.payloads[draft.saved :])
        try:
            held = yield from world.postgres(lambda: world.renew(draft.epoch, entries))
        except Away:
            return
        if not held:
            raise Fenced
        draft.saved, draft.proven, draft.saved_at = len(draft.payloads), began, began

    def end(self, draft: Draft) -> Steps[bool]:
        world = self.world
        done = encode(Done("completed", "stop", None, digest(draft.said.text)))
        if "done before commit" in world.bugs:
            draft.payloads.append(done)
            yield from self.flush(draft)
            draft.payloads.pop()
        entries = number(draft.epoch, 0, [*draft.payloads, done])
        text = draft.said.text
        if not (yield from self.insist(lambda: world.finish(draft.epoch, "completed", text, entries))):
            raise Fenced
        draft.payloads.append(done)
        draft.proven = world.now
        for _ in range(5):
            yield from self.flush(draft)
        return True


class Canceller(Writer):
    """Generations.cancel, in a web process."""

    def run(self) -> Steps[None]:
        world = self.world
        try:
            epoch = yield from world.postgres(world.claim_to_cancel)
            if epoch is None:
                return
            if not (yield from self.cancel(epoch, 1, "cancel from the checkpoints" not in world.bugs)):
                world.seen.add("cancel left")
                yield from world.postgres(lambda: world.leave(epoch))
        except (Fenced, Away):
            pass


class Reader:
    """The relay and its client. The reader checks each entry as it arrives."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.inbox: list[Entry] = []
        self.cursor = START
        self.text = ""
        self.done = False

    def run(self) -> Steps[None]:
        world = self.world
        while not self.done:
            yield
            if self.inbox and world.rng.random() < 0.7:
                entry = self.inbox.pop(0)
                successor = entry.cursor == Cursor(self.cursor.epoch, self.cursor.n + 1)
                if successor or ("pub/sub trusted" in world.bugs and entry.cursor > self.cursor):
                    self.receive(entry)
            elif world.rng.random() < 0.25:
                for entry in self.page():
                    self.receive(entry)

    def page(self) -> list[Entry]:
        """LogReader.read."""
        world, after = self.world, self.cursor
        logged = world.log.read(GID, after) if world.redis_up else []
        if logged and _joins(after, logged[0].cursor):
            return contiguous(logged, after)
        if not world.postgres_up:
            return []
        if world.row.archive and not logged:
            world.seen.add("archive")
        return merge(world.stored(), logged, after=after)[:PAGE]

    def receive(self, entry: Entry) -> None:
        world = self.world
        if self.done:
            raise Broken(f"{entry.cursor} after done")
        if not self.cursor.precedes(entry.cursor):
            raise Broken(f"{entry.cursor} after {self.cursor}")
        world.meaning(entry)
        before, self.cursor = self.cursor, entry.cursor
        match decode(entry.payload):
            case Token(content):
                self.text += content
            case Snapshot() as snapshot:
                self._restart(snapshot, before)
            case Done() as done:
                self._finish(done)

    def _restart(self, snapshot: Snapshot, before: Cursor) -> None:
        excused = self.world.may_take_back(before, self.cursor.epoch)
        if not (excused or snapshot.text.startswith(self.text)):
            raise Broken(f"{self.cursor} takes back {self.text!r} to {snapshot.text!r}")
        self.text = snapshot.text

    def _finish(self, done: Done) -> None:
        row = self.world.row
        if row.final != self.cursor or row.status != done.status:
            raise Broken(f"done at {self.cursor}, but the row says {row.status} at {row.final}")
        if not self.text == row.content or digest(row.content) != done.sha256:
            raise Broken(f"streamed {self.text!r}, stored {row.content!r}")
        self.done = True


def run(seed: int, bugs: frozenset[str] = frozenset(), log: LogMaker = FaultyLog) -> set[str]:
    """Run one schedule. Returns its coverage. Raises Broken. Only the log in memory has planted bugs."""
    world = World(seed, bugs, log)
    world.readers = [Reader(world) for _ in range(2)]
    actors: list[Generator[None, None, None]] = [reader.run() for reader in world.readers]
    writers: list[Generator[None, None, None]] = []
    stopped: dict[Generator[None, None, None], int] = {}
    rng = world.rng
    cancel_at = rng.randrange(FAULTY_STEPS) if rng.random() < 0.3 else None
    late_at = rng.randrange(FAULTY_STEPS * 2)
    while True:
        world.now += 1
        if world.now == FAULTY_STEPS:
            world.faulty = False
            world.postgres_up = world.redis_up = True
            stopped.clear()
        if world.faulty:
            _strike(world, writers, stopped)
        if world.now == cancel_at:
            writers.append(Canceller(world).run())
        if world.now == late_at:
            world.readers.append(Reader(world))
            actors.append(world.readers[-1].run())
        _ring(world, writers)
        ready = [w for w in writers if stopped.get(w, 0) <= world.now] if stopped else writers
        place = int(rng.random() * (len(ready) + len(actors)))
        if ready or actors:
            actor = ready[place] if place < len(ready) else actors[place - len(ready)]
            try:
                next(actor)
            except StopIteration:
                (writers if actor in writers else actors).remove(actor)
        if not actors and world.now > late_at and not world.faulty and world.row.status in TERMINAL:
            break
        if world.now > FAULTY_STEPS + CALM_STEPS:
            raise Broken(f"not over: {world.row.status}, readers at {[str(r.cursor) for r in world.readers]}")
    _judge(world)
    return world.seen


def _strike(world: World, writers: list[Generator[None, None, None]], stopped: dict[Any, int]) -> None:
    """Cause a random fault, or none."""
    rng = world.rng
    dice = rng.random()
    if dice < 0.012 and writers:
        writers.remove(rng.choice(writers))
    elif dice < 0.022 and writers:
        # A zombie: it wakes up long after the takeover, and continues.
        stopped[rng.choice(writers)] = world.now + rng.randrange(LEASE // 2, LEASE * 2)
    elif dice < 0.030 and (length := world.log.length(GID)) is not None:
        world.log.forget(GID, rng.randrange(length + 1))
        world.log_lost_at = world.now
    elif dice < 0.036:
        world.log.unlink([GID])
        world.log_lost_at = world.now
    elif dice < 0.046:
        world.redis_up = not world.redis_up
    elif dice < 0.056:
        world.postgres_up = not world.postgres_up
    elif dice < 0.066:
        world.messages = rng.choice((0, 2, 3))
    elif world.chance(0.03):
        world.redis_up = world.postgres_up = True


def _ring(world: World, writers: list[Generator[None, None, None]]) -> None:
    """Deliver Celery's messages, and run the sweeper, which needs no message."""
    if world.messages:
        world.messages -= 1
        writers.append(Worker(world, world.chance(0.3)).run())
    row = world.row
    due = row.status == "queued" or (row.status == "running" and row.lease_until < world.now)
    if due and world.postgres_up and world.now % 10 == 0 and len(writers) < 4:
        writers.append(Worker(world, world.chance(0.3)).run())


def _judge(world: World) -> None:
    """Check the promises at the end. Raises Broken."""
    row = world.row
    for entry in [*row.archive, *[Entry(c, p) for c, p in row.chunks.items()], *world.log.read(GID)]:
        world.meaning(entry)
    found = [(int(call), int(index)) for call, index in re.findall(r"k(\d+)\.(\d+) ", row.content)]
    if [index for _, index in found] != list(range(len(found))):
        raise Broken(f"the text is no chain: {row.content!r}")
    for (call, index), (following, _) in pairwise(found):
        if following != call and (following < call or world.calls[following] != index + 1):
            raise Broken(f"call {following} does not continue call {call}: {row.content!r}")
    if row.status == "completed" and len(found) != TOKENS:
        raise Broken(f"completed with {len(found)} tokens")
    if world.cancel_promised and row.status != "cancelled":
        raise Broken(f"a cancel was acknowledged, and it ended as {row.status}")


def _joins(after: Cursor, first: Cursor) -> bool:
    return first == Cursor(after.epoch, after.n + 1) or (after.epoch == 0 and first == Cursor(1, 0))
