"""The event log of a generation in Redis: fenced appends, ordered reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from importlib import resources
from typing import Any, Literal, NamedTuple, Protocol

import redis

from app.domain.cursor import START, Cursor
from app.domain.errors import LogDown
from app.domain.events import NOTICE, Entry

Verdict = Literal["OK", "FENCED", "UNOPENED", "GAP", "LOST"]

# A running log outlives every pause of its worker; a finished one serves late readers before the archive does.
RUNNING_TTL_MS = 24 * 3600 * 1000
FINISHED_TTL_MS = 3600 * 1000
KEEP_TTL = 0
PAGE = 5000


class Answer(NamedTuple):
    """What the log said: a verdict, and the newest ``n`` of the revision, or the open epoch when refused."""

    verdict: Verdict
    top: int


class Keys(NamedTuple):
    """Where a generation lives in Redis; described in append.lua."""

    log: bytes
    meta: bytes
    channel: bytes


class Script(NamedTuple):
    """A Lua script and the digest Redis knows it by."""

    source: bytes
    digest: bytes

    @classmethod
    def load(cls, name: str) -> Script:
        """Read a script that lies beside this module."""
        return cls.of(resources.files("app.eventlog").joinpath(name).read_bytes())

    @classmethod
    def of(cls, source: bytes) -> Script:
        """A script from somewhere else."""
        return cls(source, sha1(source, usedforsecurity=False).hexdigest().encode())


APPEND = Script.load("append.lua")
OPEN = Script.load("open.lua")


def appending(keys: Keys, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL) -> tuple[Any, ...]:
    """The command of RedisLog.append, for who writes many at once."""
    return ("EVALSHA", APPEND.digest, 2, keys.log, keys.meta, keys.channel, epoch, first, ttl_ms, *payloads)


def adding(keys: Keys, epoch: int, n: int, payload: bytes) -> tuple[Any, ...]:
    """The command that adds just the next event, as append.lua allows it. Answered with the event's id; with nothing
    when there is no log, and with an error that ``is_out_of_step`` knows when the id cannot follow.
    """
    return ("XADD", keys.log, b"NOMKSTREAM", b"%d-%d" % (epoch, n), b"e", payload)


def is_out_of_step(reply: Any) -> bool:
    """Whether the answer to ``adding`` says that the log is not where its writer thought."""
    return reply is None or "equal or smaller" in str(reply)


def telling(keys: Keys, position: bytes, payload: bytes) -> tuple[Any, ...]:
    """The command that tells who listens of an event that has been added."""
    return ("PUBLISH", keys.channel, b"%b %b" % (position, payload))


class ShortWay:
    """``adding`` and ``telling`` for the writer of one revision, as they go over the wire."""

    __slots__ = ("_add", "_epoch", "_tell")

    def __init__(self, keys: Keys, epoch: int) -> None:
        self._epoch = epoch
        self._add = b"*6\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$10\r\nNOMKSTREAM\r\n" % (len(keys.log), keys.log)
        self._tell = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(keys.channel), keys.channel)

    def adding(self, n: int, payload: bytes) -> bytes:
        """See the function of this name."""
        position = b"%d-%d" % (self._epoch, n)
        parts = (self._add, len(position), position, len(payload), payload)
        return b"%b$%d\r\n%b\r\n$1\r\ne\r\n$%d\r\n%b\r\n" % parts

    def telling(self, position: bytes, payload: bytes) -> bytes:
        """See the function of this name."""
        return b"%b$%d\r\n%b %b\r\n" % (self._tell, len(position) + 1 + len(payload), position, payload)


class EventLog(Protocol):
    """What every log can do, in Redis and in memory alike. One suite tests both."""

    def open(self, generation_id: str, epoch: int) -> Answer: ...

    def append(
        self, generation_id: str, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
    ) -> Answer: ...

    def read(self, generation_id: str, after: Cursor = START, limit: int = PAGE) -> list[Entry]: ...

    def drop(self, generation_id: str) -> None: ...


class RedisLog:
    """The log on a Redis-compatible server. Every method raises LogDown when the server does not answer in time.

    ``client`` must not retry by itself: a lost reply would be an append made twice without our knowing.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace.encode()
        # Raw replies: redis-py would build a dictionary for every entry of a page.
        client.set_response_callback("XRANGE", _raw)

    def keys(self, generation_id: str) -> Keys:
        """The keys and the channel of a generation."""
        base = b"%b:{%b}:" % (self._namespace, generation_id.encode())
        return Keys(base + b"log", base + b"meta", base + b"live")

    def open(self, generation_id: str, epoch: int) -> Answer:
        """Open revision ``epoch``; earlier ones are fenced from here on. OK or FENCED."""
        keys = self.keys(generation_id)
        return self._run(OPEN, keys, [epoch, RUNNING_TTL_MS])

    def append(
        self, generation_id: str, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
    ) -> Answer:
        """Append ``payloads`` as events ``first``, ``first + 1``, … of revision ``epoch``. Safe to repeat."""
        keys = self.keys(generation_id)
        return self._run(APPEND, keys, [keys.channel, epoch, first, ttl_ms, *payloads])

    def read(self, generation_id: str, after: Cursor = START, limit: int = PAGE) -> list[Entry]:
        """Up to ``limit`` entries past ``after``, in order. Empty when there is nothing, or no log."""
        with answering():
            rows = self._client.execute_command(
                "XRANGE", self.keys(generation_id).log, f"({after}", "+", "COUNT", limit
            )
        return [Entry(parse_id(row[0]), row[1][1]) for row in rows]

    def drop(self, generation_id: str) -> None:
        """Remove the log. A writer still at work finds it LOST and has to prove its lease."""
        keys = self.keys(generation_id)
        with answering():
            self._client.delete(keys.log, keys.meta)

    def tell(self, generation_id: str, block: bytes) -> None:
        """Have those who follow a generation just now be sent this, beside its log."""
        with answering():
            self._client.publish(self.keys(generation_id).channel, NOTICE + block)

    def _run(self, script: Script, keys: Keys, args: Sequence[Any]) -> Answer:
        with answering():
            try:
                reply = self._client.execute_command("EVALSHA", script.digest, 2, keys.log, keys.meta, *args)
            except redis.exceptions.NoScriptError:
                reply = self._client.execute_command("EVAL", script.source, 2, keys.log, keys.meta, *args)
        return parse_answer(reply)


def parse_answer(reply: Any) -> Answer:
    """A script's reply as it comes over the wire."""
    return Answer(reply[0].decode(), int(reply[1]))


def parse_id(raw: bytes) -> Cursor:
    """A stream id as Redis writes it. It wrote it, so nothing is checked."""
    epoch, _, n = raw.partition(b"-")
    return Cursor(int(epoch), int(n))


@contextmanager
def answering() -> Iterator[None]:
    """Turn the client library's errors into ours."""
    try:
        yield
    except redis.RedisError as error:
        raise LogDown(f"Redis does not answer: {type(error).__name__}") from error


def _raw(reply: Any, **_: Any) -> Any:
    return reply
