"""Clients: people who send messages, read the answers in different ways, poll, cancel, and pry.

The clients use the public API only, and record everything that they see in a History.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.history import (
    BROKEN,
    CLEAN,
    LEFT,
    NO_CONTENT,
    REFUSED,
    Asked,
    Cancelling,
    Committed,
    Connection,
    Frame,
    History,
    Polling,
    Reading,
    Reply,
)
from tests.chaos.http import Address, EventParser, Exchange, Unanswered, call

API = "/api/v1"
TERMINAL = ("completed", "error", "cancelled")
USERS = ("alice", "bob")


def canary(user: str) -> str:
    """A word that appears in this user's messages only."""
    return f"canary-of-{user}-{sum(user.encode())}"


@dataclass(frozen=True)
class Plan:
    """The work of the clients. ``behaviour`` gives the fake upstream's behaviour for message number i."""

    generations: int = 12
    tokens: int = 240
    rate: float = 20.0
    ramp: float = 2.0  # seconds over which the messages are sent
    cancels: float = 0.1  # share of the generations
    cancellers: int = 1  # clients that cancel one generation at once
    cancel_within: tuple[float, float] = (1.0, 8.0)  # seconds after the message
    behaviour: Callable[[int], dict[str, Any]] = lambda i: {}
    kinds: tuple[str, ...] = ("stable", "reconnecting", "slow", "late")
    pollers: bool = True
    polls: tuple[float, float] = (0.3, 0.7)  # seconds from one poll to the next
    stays: tuple[float, float] = (0.3, 1.5)  # seconds until a reconnecting reader hangs up
    silence: float = 8.0  # seconds of silence after which a reader reconnects
    others: tuple[Callable[..., Reader], ...] = ()  # readers of other protocols, for each answer
    chat_client: Callable[..., Any] | None = None
    chats: float = 0.0  # share of the messages that are also sent as a chat completion
    feeds: Callable[..., Any] | None = None  # a reader of a user's feed
    models: Callable[[int], str | None] = lambda i: None  # the model of message number i


@dataclass
class Service:
    """The service for clients: addresses of the web groups or of their proxy, a token for each user, a query of
    committed statuses.

    ``streams``: addresses of the stream groups, where a deployment has some; the others serve the streams otherwise.
    """

    addresses: Sequence[Address]
    tokens: dict[str, str]
    committed: Callable[[str], str | None]
    model: str = "fake"
    streams: Sequence[Address] = ()

    def stream_address(self, turn: int) -> Address:
        """The address of a reader's connection; a reader counts its connections upwards."""
        addresses = self.streams or self.addresses
        return addresses[turn % len(addresses)]

    def headers(self, user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[user]}"}


@dataclass
class Load:
    """One run of a plan."""

    service: Service
    plan: Plan
    history: History
    rng: random.Random
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _shown: set[str] = field(default_factory=set)
    _sent: int = 0
    feeds: list[Any] = field(default_factory=list)
    _following: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Start the clients; ``wait`` waits for their end."""
        if self.plan.feeds:
            self.feeds = [self.plan.feeds(self, user) for user in USERS]
            self.history.feeds += [feed.reading for feed in self.feeds]
            self._following = [asyncio.ensure_future(feed.run()) for feed in self.feeds]
        self._send(self.plan.generations, self.plan.ramp)

    def ask(self, count: int) -> None:
        """Send ``count`` messages beyond the plan at once."""
        self._send(count, 0)

    def _send(self, count: int, ramp: float) -> None:
        for number in range(self._sent, self._sent + count):
            self._spawn(self._life(number, ramp))
        self._sent += count

    async def wait(self, timeout: float) -> bool:
        """Wait for every client. Returns True when all received their ends in time; late clients give up."""
        until = time.monotonic() + timeout
        while pending := [task for task in self._tasks if not task.done()]:
            left = until - time.monotonic()
            if left <= 0:
                break
            await asyncio.wait(pending, timeout=left)
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return not pending

    async def wait_for_feeds(self, timeout: float = 20) -> None:
        """Wait until every reader of a feed has received every end, or gives up."""
        until = time.monotonic() + timeout
        while self.feeds and time.monotonic() < until and not all(feed.complete for feed in self.feeds):
            await asyncio.sleep(0.2)
        for task in self._following:
            task.cancel()
        for result in await asyncio.gather(*self._following, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def progress(self) -> int:
        """The number of events that all readers together have seen."""
        return sum(len(c.frames) for reading in self.history.readings for c in reading.connections)

    def newest(self, generation: str) -> tuple[int, int]:
        """The position of the last event that any reader of a generation has received; (0, 0) without one."""
        frames = (frame for r in self.history.readings if r.generation == generation for frame in r.frames())
        ids = (frame.id.partition("-") for frame in frames if frame.id)
        return max(((int(epoch), int(n)) for epoch, _, n in ids), default=(0, 0))

    @property
    def refused(self) -> bool:
        """True when at least one message got the reply 503."""
        return any(reply.status == 503 for asked in self.history.asked for reply in asked.replies)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    async def _life(self, number: int, ramp: float) -> None:
        plan, rng = self.plan, random.Random(f"{self.history.seed} {number}")
        await asyncio.sleep(rng.uniform(0, ramp))
        user = USERS[number % len(USERS)]
        asked = Asked(f"message-{self.history.run}-{number}", user, f"key-{self.history.run}-{number}")
        self.history.asked.append(asked)
        wishes = {"tokens": plan.tokens, "rate": plan.rate, **plan.behaviour(number)}
        asked.wishes = wishes
        await self._post(asked, wishes, rng)
        generation = asked.generation
        assert generation is not None
        for kind in plan.kinds:
            reader = Reader(self, generation, user, kind, random.Random(f"{asked.key} {kind}"))
            self.history.readings.append(reader.reading)
            self._spawn(reader.run())
        makers = (*plan.others, *((plan.chat_client,) if plan.chat_client and rng.random() < plan.chats else ()))
        for make in makers:
            other = make(self, asked, random.Random(f"{asked.key} {make.__name__}"))
            self.history.translations.append(other.reading)
            self._spawn(other.run())
        if plan.pollers:
            self._spawn(self._poll(generation, user, rng))
        self._spawn(self._pry(generation, USERS[(number + 1) % len(USERS)]))
        if rng.random() < plan.cancels:
            await asyncio.sleep(rng.uniform(*plan.cancel_within))
            await asyncio.gather(*(self.cancel(generation, user, rng) for _ in range(plan.cancellers)))

    async def _post(self, asked: Asked, wishes: dict[str, Any], rng: random.Random) -> None:
        body = {
            "message": f"{asked.tag} {canary(asked.user)} {json.dumps({'fake': wishes})}",
            "model": self.plan.models(int(asked.tag.rpartition("-")[2])) or self.service.model,
            "client_msg_id": asked.key,
        }
        while asked.generation is None:
            reply = await self._call(asked.user, "POST", "/generations", body, rng)
            asked.replies.append(reply)
            if reply.status in (200, 202):
                asked.generation = reply.body["generation"]["id"]
                asked.conversation = reply.body["conversation"]["id"]
            else:
                await asyncio.sleep(rng.uniform(0.2, 0.6))

    async def cancel(self, generation: str, user: str, rng: random.Random) -> None:
        """Cancel a generation, with repeated requests until a reply with 2xx."""
        cancelling = Cancelling(generation, user)
        self.history.cancellings.append(cancelling)
        while True:
            reply = await self._call(user, "POST", f"/generations/{generation}/cancel", None, rng)
            cancelling.replies.append(reply)
            if reply.status == 200:
                return
            await asyncio.sleep(rng.uniform(0.2, 0.6))

    async def _poll(self, generation: str, user: str, rng: random.Random) -> None:
        polling = Polling(f"poller of {generation[-6:]}", generation, user)
        self.history.pollings.append(polling)
        after = "0-0"
        while True:
            reply = await self._call(user, "GET", f"/generations/{generation}?after={after}&wait=1", None, rng)
            polling.replies.append(reply)
            if reply.status == 200:
                events = reply.body.get("events") or []
                after = events[-1]["id"] if events else after
                if reply.body["status"] in TERMINAL and events and events[-1]["type"] == "done":
                    return
                if reply.body["status"] in TERMINAL and not events:
                    return
            await asyncio.sleep(rng.uniform(*self.plan.polls))

    async def _pry(self, generation: str, stranger: str) -> None:
        rng = random.Random(f"{generation} {stranger}")
        for path in (f"/generations/{generation}", f"/generations/{generation}/stream"):
            for _ in range(20):
                reply = await self._call(stranger, "GET", path, None, rng)
                # 502 and 504 are a reverse proxy's "not now"; the rule `answers` says where it may say so.
                if reply.status not in (None, 502, 503, 504):
                    self.history.foreign.append(reply)
                    break
                await asyncio.sleep(0.5)

    async def _call(self, user: str, method: str, path: str, body: Any, rng: random.Random) -> Reply:
        address = rng.choice(self.service.addresses)
        try:
            status, answer = await call(address, method, API + path, self.service.headers(user), body)
        except Unanswered as error:
            return Reply(time.time(), None, str(error))
        return Reply(time.time(), status, answer)

    async def look_up_commit(self, generation: str) -> None:
        """Record the status in PostgreSQL; a reader has just been shown the end."""
        if generation in self._shown:
            return
        self._shown.add(generation)
        at = time.time()
        status = await asyncio.to_thread(self.service.committed, generation)
        self.history.committed.append(Committed(generation, at, status))

    async def fetch_all(self) -> None:
        """Fetch every generation and its message after the end."""
        rng = random.Random(0)
        for asked in self.history.asked:
            if asked.generation is None:
                continue
            for _ in range(40):
                reply = await self._call(asked.user, "GET", f"/generations/{asked.generation}", None, rng)
                if reply.status == 200:
                    break
                await asyncio.sleep(0.5)
            self.history.fetched[asked.generation] = reply.body
            if reply.status == 200:
                path = f"/conversations/{reply.body['conversation_id']}/messages"
                listed = await self._call(asked.user, "GET", path, None, rng)
                if listed.status == 200:
                    for item in listed.body["items"]:
                        if item["role"] == "assistant":
                            self.history.messages[asked.generation] = item["content"]

    async def read_again(self, kind: str, share: float = 1.0) -> None:
        """Start late readers after the end, from the start and from a random position."""
        tasks = []
        for asked in self.history.asked:
            if asked.generation is None or self.rng.random() > share:
                continue
            reader = Reader(self, asked.generation, asked.user, kind, random.Random(f"{asked.key} {kind}"))
            seen = [f.id for r in self.history.readings if r.generation == asked.generation for f in r.frames()]
            if kind.endswith("middle") and seen:
                reader.cursor = self.rng.choice(seen) or "0-0"
            self.history.readings.append(reader.reading)
            tasks.append(asyncio.ensure_future(reader.run()))
        done, pending = await asyncio.wait(tasks, timeout=40) if tasks else (set(), set())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()


class Reader:
    """A reader of one generation. It reconnects until it has received the end."""

    def __init__(self, load: Load, generation: str, user: str, kind: str, rng: random.Random) -> None:
        self.reading = Reading(f"{kind} reader of {generation[-6:]}", kind, generation, user)
        self.cursor = "0-0"
        self._load = load
        self._kind = kind
        self._rng = rng
        self._turn = rng.randrange(len(load.service.streams or load.service.addresses))
        self._done = False
        # Seconds until the reader hangs up; None: it reads to the end.
        self.stays: tuple[float, float] | None = load.plan.stays if kind == "reconnecting" else None

    async def run(self) -> None:
        if self._kind == "late":
            await asyncio.sleep(self._rng.uniform(2, 14))
        while not self.reading.finished:
            await self._connect()
            if not self.reading.finished:
                self._turn += 1
                await asyncio.sleep(self._rng.uniform(0.05, 0.25))
        if self._kind == "reconnecting":
            # The reader has everything already and must get 204.
            await self._connect()

    async def _connect(self) -> None:
        connection = Connection(time.time(), self.cursor)
        self.reading.connections.append(connection)
        service = self._load.service
        path, headers = self._request()
        try:
            exchange = await Exchange.begin(
                service.stream_address(self._turn),
                "GET",
                path,
                {**service.headers(self.reading.user), "Accept": "text/event-stream", **headers},
                receive_buffer=4096 if self._kind in ("slow", "stopped") else None,
            )
        except Unanswered:
            self._end(connection, REFUSED)
            return
        try:
            connection.status = exchange.head.status
            if exchange.head.status == 200:
                await self._follow(exchange, connection)
            else:
                self._end(connection, NO_CONTENT if exchange.head.status == 204 else str(exchange.head.status))
                # 204: correct for a reader that knows the end.
                self.reading.finished |= exchange.head.status == 204
        finally:
            exchange.close()

    def _request(self) -> tuple[str, dict[str, str]]:
        """Path and headers of the next connection."""
        headers = {} if self.cursor == "0-0" else {"Last-Event-ID": self.cursor}
        return f"{API}/generations/{self.reading.generation}/stream", headers

    def _is_end(self, payload: bytes) -> bool:
        return payload.startswith(b'{"type":"done"')

    async def _follow(self, exchange: Exchange, connection: Connection) -> None:
        parser = EventParser()
        leave_at = time.time() + self._rng.uniform(*self.stays) if self.stays else None
        stop_at = time.time() + self._rng.uniform(0.5, 3) if self._kind == "stopped" else None
        piece = 256 if self._kind == "slow" else 65536
        async for data in exchange.body(self._load.plan.silence, piece):
            now = time.time()
            for identity, payload in parser.feed(data):
                connection.frames.append(Frame(now, identity, payload))
                self.cursor = identity or self.cursor
                if self._is_end(payload):
                    self._done = True
                    await self._load.look_up_commit(self.reading.generation)
            if leave_at is not None and now > leave_at and not self._done:
                self._end(connection, LEFT)
                return
            if self._kind == "slow":
                await asyncio.sleep(self._rng.uniform(0, 0.15))
            if stop_at is not None and now > stop_at:
                stop_at = None
                await asyncio.sleep(12)
        self._end(connection, CLEAN if exchange.complete else BROKEN)
        self.reading.finished = self._done

    def _end(self, connection: Connection, how: str) -> None:
        connection.end, connection.ended = how, time.time()
